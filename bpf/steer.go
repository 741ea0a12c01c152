// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"

	"github.com/cilium/ebpf/link"
)

// Steer is the second layer: an sk_lookup program in a network namespace whose AnyIP routes deliver every address to
// itself. TCP that nothing rewrote arrives at the session's listener, where getsockname() is the destination; loopback,
// own addresses and port 53 are left alone; other UDP is dropped, so that the sender's next call fails with ECONNREFUSED.
//
// One Steer serves one namespace: sk_lookup cannot tell which it runs in.
type Steer struct {
	objects steerObjects
	link    *link.NetNsLink // the only reference; collected means closed
}

// LoadSteer puts the program into the kernel. Below 5.9 the error is [ErrNotSupported] and names the feature.
func LoadSteer() (*Steer, error) {
	if err := raiseMemlock(); err != nil {
		return nil, fmt.Errorf("load steer: %w", err)
	}
	s := &Steer{}
	spec, err := loadSteer()
	if err != nil {
		return nil, fmt.Errorf("load steer: %w", err)
	}
	// A sockmap with types is refused and made again without: to free the first
	// takes two RCU grace periods, more than all else here.
	spec.Maps["listeners"].Key, spec.Maps["listeners"].Value = nil, nil
	if err := spec.LoadAndAssign(&s.objects, nil); err != nil {
		return nil, fmt.Errorf("load steer: %w", cmp.Or(check(steerFeatures), err))
	}
	return s, nil
}

// Attach begins steering in the namespace to the listening sockets tcp4 and tcp6. A tcp6 of -1 says that the host has no
// IPv6; native IPv6 is then refused. The kernel holds what it needs: the descriptors may be closed afterwards, and a
// listener whose last descriptor closes leaves the program by itself, which then drops.
func (s *Steer) Attach(nsFD int, own4, own6 netip.Addr, tcp4, tcp6 int) error {
	if s.link != nil {
		return errors.New("attach steer: already attached")
	}
	if err := s.configure(own4, own6, tcp4, tcp6); err != nil {
		return fmt.Errorf("attach steer: %w", err)
	}
	l, err := link.AttachNetNs(nsFD, s.objects.Steer)
	if err != nil {
		return fmt.Errorf("attach steer: %w", err)
	}
	s.link = l
	return nil
}

func (s *Steer) configure(own4, own6 netip.Addr, tcp4, tcp6 int) error {
	own := steerOwnAddresses{Own4: steerAddress(encodeOptional(own4)), Own6: steerAddress(encodeOptional(own6))}
	if err := s.objects.Own.Put(uint32(0), &own); err != nil {
		return fmt.Errorf("store own addresses: %w", err)
	}
	for key, fd := range []int{tcp4, tcp6} {
		if fd < 0 {
			continue
		}
		if err := s.objects.Listeners.Put(uint32(key), uint64(fd)); err != nil {
			return fmt.Errorf("store listener %d: %w", key, err)
		}
	}
	return nil
}

// encodeOptional leaves an absent address zero, which no packet is sent to.
func encodeOptional(address netip.Addr) redirectAddress {
	if !address.IsValid() {
		return redirectAddress{}
	}
	return encodeAddress(address)
}

// Close stops steering and unloads the program.
func (s *Steer) Close() error {
	var err error
	if s.link != nil {
		err = s.link.Close()
		s.link = nil
	}
	return errors.Join(err, s.objects.Close())
}
