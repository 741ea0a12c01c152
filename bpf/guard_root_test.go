// SPDX-License-Identifier: Apache-2.0

//go:build root

package bpf

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// patience ends a test that would wait for ever.
const patience = 20 * time.Second

const (
	host4 = "10.9.0.1"
	host6 = "fd09::1"
)

// pod is a namespace with a link to this thread's, which is a host's.
type pod struct {
	*rig
	dir  string
	host *net.Interface
	mac  net.HardwareAddr // of the pod's end
}

// newPod moves the test's thread, which ends with it, to a namespace of its own.
func newPod(t *testing.T) *pod {
	t.Helper()
	r, dir := newNodeRig(t)
	runtime.LockOSThread() // never unlocked
	require(t, unix.Unshare(unix.CLONE_NEWNET))
	require(t, raiseLoopback())
	require(t, netlink.LinkAdd(&netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: "host0"}, PeerName: "eth0", PeerNamespace: netlink.NsFd(r.ns.Fd()),
	}))
	require(t, configure("host0", "", host4+"/24", host6+"/64"))
	p := &pod{rig: r, dir: dir}
	r.inside(func() error {
		// No address of the kernel's own choice, which the session would have to know (IN6_ADDR_GEN_MODE_NONE).
		if err := os.WriteFile("/proc/sys/net/ipv6/conf/eth0/addr_gen_mode", []byte("1"), 0o644); err != nil {
			return err
		}
		if err := configure("eth0", host4, pod4+"/24", pod6+"/64"); err != nil {
			return err
		}
		link, err := net.InterfaceByName("eth0")
		if err == nil {
			p.mac = link.HardwareAddr
		}
		return err
	})
	var err error
	p.host, err = net.InterfaceByName("host0")
	require(t, err)
	p.openNode(dir)
	t.Cleanup(func() { require(t, p.object.RemoveNode()) })
	require(t, p.object.AddSession(p.cookie, podSession()))
	return p
}

func configure(name, gateway string, addresses ...string) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	for _, text := range addresses {
		address, err := netlink.ParseAddr(text)
		if err != nil {
			return err
		}
		address.Flags = unix.IFA_F_NODAD
		if err := netlink.AddrAdd(link, address); err != nil {
			return fmt.Errorf("%s: %w", text, err)
		}
	}
	if err := netlink.LinkSetUp(link); err != nil || gateway == "" {
		return err
	}
	return netlink.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Gw: net.ParseIP(gateway)})
}

// escape is what root in the pod sends by a packet socket, past all hooks: frames to the host's port 9999, one a line.
func escape() string {
	link, err := net.InterfaceByName("eth0")
	if err != nil {
		return err.Error()
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err.Error()
	}
	to, err := net.ParseMAC(os.Args[1])
	if err != nil {
		return err.Error()
	}
	for _, data := range escapes() {
		copy(data, to)
		copy(data[6:], link.HardwareAddr)
		at := &unix.SockaddrLinklayer{Ifindex: link.Index, Halen: 6}
		if err := unix.Sendto(fd, data, 0, at); err != nil {
			return err.Error()
		}
	}
	return "sent"
}

// escapes are datagrams to the host, each of which it would take, and frames that it would answer or believe.
func escapes() [][]byte {
	plain := packet{from: pod4, to: host4, protocol: udp, ports: [2]uint16{5000, 9999}}
	spoofed, optioned := plain, plain
	spoofed.from = "10.9.0.77"
	optioned.options = []byte{1, 1, 1, 1} // no operation
	return [][]byte{
		plain.bytes(), spoofed.bytes(), optioned.bytes(),
		frame(unix.ETH_P_8021Q, append([]byte{0, 0, 8, 0}, plain.bytes()[14:]...)), // priority tag: the host takes it
		arp(2, host4, host4),
	}
}

// K6: root with every capability in the pod sends past the hooks, and nothing arrives; servers in it are reached; the
// process that guards it may come and go. Both ways to attach are held to it.
func TestGuardedPod(t *testing.T) {
	if !hasNodes(t) {
		return
	}
	for name, guard := range map[string]func(*pod){"tcx": (*pod).guardByLink, "clsact": (*pod).guardByFilter} {
		t.Run(name, func(t *testing.T) {
			p := newPod(t)
			if name == "tcx" && !p.hasLinks() {
				return
			}
			witness, err := net.ListenPacket("udp4", host4+":9999")
			require(t, err)
			defer witness.Close()
			p.start("bpf: serve")
			p.escapes()
			// Plain, forged, with options, with a priority tag: without a guard all are received.
			for _, from := range []string{pod4, "10.9.0.77", pod4, pod4} {
				require(t, receiveFrom(witness, from+":5000"))
			}
			guard(p)
			p.nothingEscapes(witness, 1)
			p.serversAnswer()
			p.closeNode()
			p.serversAnswer()
			p.nothingEscapesUncounted(witness)
			p.openNode(p.dir)
			require(t, p.object.CheckSession(p.cookie))
			p.nothingEscapes(witness, 3)
			p.serversAnswer()
		})
	}
}

func (p *pod) guardByLink() {
	p.t.Helper()
	require(p.t, p.object.Guard(p.cookie, p.host.Index, p.mac))
	require(p.t, p.object.Guard(p.cookie, p.host.Index, p.mac)) // again
	require(p.t, p.object.CheckGuard(p.cookie, p.host.Index))
	if err := p.object.CheckGuard(p.cookie+1, p.host.Index); err == nil {
		p.t.Error("guarded for another")
	}
}

// hasLinks says whether this kernel has links to devices. One without must say so.
func (p *pod) hasLinks() bool {
	p.t.Helper()
	missing := check(fenceFeatures)
	if !errors.Is(missing, ErrNotSupported) {
		require(p.t, missing)
		return true
	}
	var lacks *FeatureError
	if err := p.object.Guard(p.cookie, p.host.Index, p.mac); !errors.Is(err, ErrNotSupported) || !errors.As(err, &lacks) {
		p.t.Errorf("guard: %v, want %v", err, missing)
	}
	return false
}

func (p *pod) guardIsGone(want bool) {
	p.t.Helper()
	if err := p.object.CheckGuard(p.cookie, p.host.Index); (err != nil) != want {
		p.t.Errorf("check guard: %v", err)
	}
}

func (p *pod) guardByFilter() {
	p.t.Helper()
	from, to, err := p.object.GuardPrograms(p.cookie, p.host.Index, p.mac)
	require(p.t, err)
	require(p.t, netlink.QdiscAdd(&netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{
		LinkIndex: p.host.Index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT,
	}}))
	for parent, fd := range map[uint32]int{netlink.HANDLE_MIN_INGRESS: from, netlink.HANDLE_MIN_EGRESS: to} {
		require(p.t, netlink.FilterAdd(&netlink.BpfFilter{
			FilterAttrs: netlink.FilterAttrs{
				LinkIndex: p.host.Index, Parent: parent, Handle: 1, Protocol: unix.ETH_P_ALL, Priority: 1,
			},
			Fd: fd, DirectAction: true,
		}))
	}
}

func (p *pod) escapes() {
	p.t.Helper()
	if got, _ := p.act("bpf: escape", p.host.HardwareAddr.String()); got != "sent" {
		p.t.Fatalf("escape: %s", got)
	}
}

// nothingEscapes sends all escapes; times is how often they have been sent under guard by then.
func (p *pod) nothingEscapes(witness net.PacketConn, times uint64) {
	p.t.Helper()
	p.nothingEscapesUncounted(witness)
	counts, err := p.object.Counts(p.cookie)
	require(p.t, err)
	want := map[Reason]uint64{ReasonUnsolicited: times, ReasonSpoofed: 2 * times, ReasonPacket: times, ReasonFrame: times}
	for reason, n := range want {
		if counts[reason] != n {
			p.t.Errorf("%v: counted %d, want %d", reason, counts[reason], n)
		}
	}
}

// nothingEscapesUncounted asks the pod for an answer afterwards: the link keeps the order, so had anything come out, it
// would be received first.
func (p *pod) nothingEscapesUncounted(witness net.PacketConn) {
	p.t.Helper()
	p.escapes()
	_, err := witness.WriteTo([]byte("answer me"), net.UDPAddrFromAddrPort(netip.MustParseAddrPort(pod4+":80")))
	require(p.t, err)
	require(p.t, receiveFrom(witness, pod4+":80"))
	neighbours, err := netlink.NeighList(p.host.Index, unix.AF_INET)
	require(p.t, err)
	for _, n := range neighbours {
		if n.IP.String() != pod4 {
			p.t.Errorf("the host learnt %v", n)
		}
	}
}

func receiveFrom(witness net.PacketConn, want string) error {
	if err := witness.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	_, from, err := witness.ReadFrom(make([]byte, 2048))
	if err == nil && from.String() != want {
		err = fmt.Errorf("received from %v, want %s", from, want)
	}
	return err
}

// A guard goes with its device, and what is left of it is swept.
func TestGuardGoesWithItsDevice(t *testing.T) {
	if !hasNodes(t) {
		return
	}
	p := newPod(t)
	if !p.hasLinks() {
		return
	}
	p.guardByLink()
	p.guardIsGone(false)
	link, err := netlink.LinkByName("host0")
	require(t, err)
	require(t, netlink.LinkDel(link))
	p.guardIsGone(true)
	p.closeNode()
	p.openNode(p.dir)
	p.guardIsGone(true)
	require(t, p.object.Unguard(p.cookie))
	require(t, p.object.Unguard(p.cookie))
	pins, err := p.object.node.guards()
	require(t, err)
	if n, err := count(p.object.fence.Guards); len(pins) != 0 || n != 0 || err != nil {
		t.Errorf("%d pins and %d devices left: %v", len(pins), n, err)
	}
}

// The sockets of a pod: its own calls fail fast, told with their process, and answers leave.
func TestPodSockets(t *testing.T) {
	if !hasNodes(t) {
		return
	}
	p := newPod(t)
	p.guardByFilter()
	p.start("bpf: serve")
	for act, want := range map[string]string{
		"bpf: connect": "ECONNREFUSED", "bpf: send": "ECONNREFUSED", "bpf: send by link": "ENETUNREACH",
		"bpf: send connected": "EPERM", "bpf: send query": "EPERM", // nftables would have sent that to the stub
	} {
		if got, _ := p.act(act); got != want {
			t.Errorf("%s: %s, want %s", act, got, want)
		}
	}
	p.serversAnswer()
	counts, err := p.object.Counts(p.cookie)
	require(t, err)
	for reason, want := range map[Reason]uint64{
		ReasonUndeclared: 1, ReasonUDP: 1, ReasonDevice: 1, ReasonInterface: 2, ReasonUnsolicited: 0, ReasonSpoofed: 0,
	} {
		if counts[reason] != want {
			t.Errorf("%v: counted %d, want %d", reason, counts[reason], want)
		}
	}
}

// sendConnected asks nobody until the packet is about to leave.
func sendConnected() error {
	c, err := net.Dial("udp4", "203.0.113.1:443")
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = c.Write([]byte("hello"))
	return err
}

// sendOut sends a datagram to where nobody asked from, bound to a device if there is one.
func sendOut(device string, port int) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if device != "" {
		if err := unix.BindToDevice(fd, device); err != nil {
			return err
		}
	}
	return unix.Sendto(fd, []byte("hello"), 0, &unix.SockaddrInet4{Port: port, Addr: [4]byte{203, 0, 113, 1}})
}
