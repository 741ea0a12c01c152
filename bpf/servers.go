// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/ringbuf"
)

// Servers tells when programs of one cgroup begin to listen on a few TCP ports, at whatever address, and when they end. It
// has no part in the redirect, and refuses nothing.
type Servers struct {
	objects serversObjects
	changes *ringbuf.Reader
	link    link.Link // the only reference; collected means closed
}

// WatchServers begins to watch ports, of which there is one at least, in a cgroup (v2) and its subtree. What listened there
// before is not seen.
func WatchServers(cgroupDir *os.File, ports ...uint16) (*Servers, error) {
	s := &Servers{}
	err := s.load(ports)
	if err == nil {
		s.changes, err = ringbuf.NewReader(s.objects.Changes)
	}
	if err == nil {
		s.link, err = attachHook(hook{serversProgCountServers, s.objects.CountServers, ebpf.AttachCGroupSockOps}, cgroupDir)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("watch servers: %w", err), s.Close())
	}
	return s, nil
}

func (s *Servers) load(ports []uint16) error {
	if err := raiseMemlock(); err != nil {
		return err
	}
	spec, err := loadServers()
	if err != nil {
		return err
	}
	spec.Maps["servers"].MaxEntries = uint32(len(ports))
	if err := spec.LoadAndAssign(&s.objects, nil); err != nil {
		return cmp.Or(check(floorFeatures), err)
	}
	for _, port := range ports {
		if err := s.objects.Servers.Put(uint32(port), uint32(0)); err != nil {
			return fmt.Errorf("store port %d: %w", port, err)
		}
	}
	return nil
}

// Next waits for a server that comes or goes, and says whether one listens on its port now. The same may be said twice.
// After Close it returns [ErrClosed].
func (s *Servers) Next() (port uint16, listening bool, err error) {
	record, err := s.changes.Read()
	if err != nil {
		return 0, false, fmt.Errorf("await server: %w", err)
	}
	var key, number uint32
	if _, err := binary.Decode(record.RawSample, binary.NativeEndian, &key); err != nil {
		return 0, false, fmt.Errorf("decode port of %d bytes: %w", len(record.RawSample), err)
	}
	if err := s.objects.Servers.Lookup(key, &number); err != nil {
		return 0, false, fmt.Errorf("count servers of port %d: %w", key, err)
	}
	return uint16(key), number > 0, nil
}

// Close ends a waiting Next, and unloads the program.
func (s *Servers) Close() error {
	var errs []error
	if s.link != nil {
		errs = append(errs, s.link.Close())
	}
	if s.changes != nil {
		errs = append(errs, s.changes.Close())
	}
	return errors.Join(append(errs, s.objects.Close())...)
}
