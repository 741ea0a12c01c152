// SPDX-License-Identifier: Apache-2.0

package enforcer

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"

	"github.com/phantom-ns/phantom-ns/bpf"
	"github.com/phantom-ns/phantom-ns/netns"
	"github.com/phantom-ns/phantom-ns/netns/sandbox"
	"github.com/phantom-ns/phantom-ns/proxy/dns"
	"github.com/phantom-ns/phantom-ns/proxy/policy"
)

// kernelHalf is what holds the agent in the kernel: the programs on its cgroup
// and its namespace, and the namespace itself.
type kernelHalf struct {
	programs  *bpf.Object
	steer     *bpf.Steer
	denials   *bpf.Reader
	namespace *netns.Namespace
	cookie    uint64
	err       error
}

// loadKernelHalf loads and attaches the programs and makes the namespace. It
// starts no process, so it runs beside the start of the proxy; the result
// carries its error, and what was made up to then.
func loadKernelHalf(agent *os.File) <-chan *kernelHalf {
	done := make(chan *kernelHalf, 1)
	go func() {
		h := &kernelHalf{}
		h.err = h.load(agent)
		done <- h
	}()
	return done
}

// load does its two independent parts side by side: each waits for the kernel
// most of its time.
func (h *kernelHalf) load(agent *os.File) error {
	var errs [2]error
	var wg sync.WaitGroup
	wg.Go(func() {
		if errs[0] = h.makeNamespace(); errs[0] == nil {
			errs[0] = h.attach(agent)
		}
	})
	wg.Go(func() { h.steer, errs[1] = bpf.LoadSteer() })
	wg.Wait()
	return errors.Join(errs[:]...)
}

func (h *kernelHalf) attach(agent *os.File) (err error) {
	if h.programs, err = bpf.Load(bpf.Options{First: h.cookie}); err != nil {
		return err
	}
	if err = h.programs.Attach(agent); err != nil {
		return err
	}
	h.denials, err = h.programs.Denials()
	return err
}

func (h *kernelHalf) makeNamespace() (err error) {
	if h.namespace, err = netns.New(); err != nil {
		return err
	}
	h.cookie, err = h.namespace.Cookie()
	return err
}

// admit makes the namespace known to the programs. Before it every socket in
// the cgroup is refused.
func (h *kernelHalf) admit(spec *policy.Session) error {
	rules, err := policy.Compile(spec)
	if err != nil {
		return err
	}
	return h.programs.AddSession(h.cookie, bpf.Session{
		Port:      sandbox.ListenerPort,
		Listener4: netip.AddrFrom4([4]byte{127, 0, 0, 1}), Listener6: netip.IPv6Loopback(),
		Own4: netns.OwnAddr4, Own6: netns.OwnAddr6,
		Synthetic4: dns.Prefix4, Synthetic6: dns.Prefix6,
		Declared: rules.Declared(),
	})
}

// steerTo attaches the second layer, which sends connections that no hook saw
// to the same listeners.
func (h *kernelHalf) steerTo(l *sandbox.Listeners) error {
	tcp4, err := Descriptor(l.TCP4)
	if err != nil {
		return err
	}
	tcp6, err := Descriptor(l.TCP6)
	if err != nil {
		return err
	}
	return h.steer.Attach(h.namespace.FD(), netns.OwnAddr4, netns.OwnAddr6, tcp4, tcp6)
}

// Descriptor returns f's number without File.Fd, which would make the shared
// socket blocking; -1 where there is no file.
func Descriptor(f *os.File) (int, error) {
	if f == nil {
		return -1, nil
	}
	raw, err := f.SyscallConn()
	if err != nil {
		return -1, fmt.Errorf("look at socket: %w", err)
	}
	number := -1
	if err := raw.Control(func(fd uintptr) { number = int(fd) }); err != nil {
		return -1, fmt.Errorf("look at socket: %w", err)
	}
	return number, nil
}

// Close takes the programs away. By then no process of the agent is left.
func (h *kernelHalf) Close() error {
	var errs []error
	if h.denials != nil {
		errs = append(errs, h.denials.Close())
	}
	if h.steer != nil {
		errs = append(errs, h.steer.Close())
	}
	if h.programs != nil {
		errs = append(errs, h.programs.Close())
	}
	return errors.Join(append(errs, h.namespace.Close())...)
}
