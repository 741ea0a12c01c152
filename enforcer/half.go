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
	peers     *bpf.Peers // nil: the kernel has no such programs
	peersGone error      // why not
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
	if err = errors.Join(h.programs.Attach(agent), h.attachPeers(agent)); err != nil {
		return err
	}
	h.denials, err = h.programs.Denials()
	return err
}

// kernelFields keeps what the programs of peers have to know of the kernel until
// another one boots. It is no session's, so it stands beside the sessions.
const kernelFields = "/run/phantom-ns-kernel.json"

// attachPeers adds the guard of unix sockets where the kernel offers it. Without,
// the mounts and the filter of system calls stand.
func (h *kernelHalf) attachPeers(agent *os.File) error {
	peers, err := bpf.LoadPeers(h.programs, h.cookie, kernelFields)
	if err == nil {
		h.peers = peers
		err = peers.Attach(agent)
	}
	if errors.Is(err, bpf.ErrNotSupported) {
		h.peersGone = err
		return h.dropPeers()
	}
	return err
}

func (h *kernelHalf) dropPeers() error {
	if h.peers == nil {
		return nil
	}
	err := h.peers.Close()
	h.peers = nil
	return err
}

// errPeersUncalled is what becomes of the guard where lsm= does not name bpf.
var errPeersUncalled = errors.New("the kernel takes the programs and does not call them: lsm= does not name bpf")

// checkPeers is asked when init has made its sockets, all of which the guard must
// have seen. It returns why there is none, or nil.
func (h *kernelHalf) checkPeers() (gone, err error) {
	if h.peers == nil {
		return h.peersGone, nil
	}
	called, err := h.peers.InForce()
	if called || err != nil {
		return nil, err
	}
	h.peersGone = errPeersUncalled
	return h.peersGone, h.dropPeers()
}

func (h *kernelHalf) makeNamespace() (err error) {
	if h.namespace, err = netns.New(); err != nil {
		return err
	}
	h.cookie, err = h.namespace.Cookie()
	return err
}

// admit makes the namespace known to the programs. Before it every socket in
// the cgroup is refused. The paths are those at which unix sockets of others' may
// be reached.
func (h *kernelHalf) admit(spec *policy.Session, exposed []string) error {
	rules, err := policy.Compile(spec)
	if err != nil {
		return err
	}
	if h.peers != nil {
		if err := h.peers.Expose(exposed); err != nil {
			return err
		}
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
	errs = append(errs, h.dropPeers())
	if h.steer != nil {
		errs = append(errs, h.steer.Close())
	}
	if h.programs != nil {
		errs = append(errs, h.programs.Close())
	}
	return errors.Join(append(errs, h.namespace.Close())...)
}
