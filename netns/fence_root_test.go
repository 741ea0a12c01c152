// SPDX-License-Identifier: Apache-2.0

//go:build root

package netns_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/phantom-ns/phantom-ns/netns"
)

// listenIn opens a server's socket inside a namespace; serveTCP and serveUDP
// answer each question with a name.
func listenTCP(t *testing.T, ns *netns.Namespace, name, address string) {
	t.Helper()
	var l net.Listener
	inside(t, ns, func() (err error) {
		l, err = net.Listen("tcp", address)
		return err
	})
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			conn.Write([]byte(name))
			conn.Close()
		}
	}()
}

func listenUDP(t *testing.T, ns *netns.Namespace, name, address string) {
	t.Helper()
	var l net.PacketConn
	inside(t, ns, func() (err error) {
		l, err = net.ListenPacket("udp", address)
		return err
	})
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			_, from, err := l.ReadFrom(make([]byte, 16))
			if err != nil {
				return
			}
			l.WriteTo([]byte(name), from)
		}
	}()
}

// ask says who answered at an address, or the error.
func ask(t *testing.T, ns *netns.Namespace, network, address string) string {
	t.Helper()
	var text string
	inside(t, ns, func() error {
		conn, err := net.Dial(network, address)
		if err != nil {
			text = errnoName(err)
			return nil
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(10 * time.Second))
		if tcp, ok := conn.(*net.TCPConn); ok {
			tcp.SetLinger(0) // nothing is sent after Close
		}
		if network == "udp" {
			if _, err = conn.Write([]byte("?")); err != nil {
				text = errnoName(err)
				return nil
			}
		}
		data := make([]byte, 64)
		n, err := conn.Read(data)
		text = string(data[:n])
		if err != nil && !errors.Is(err, io.EOF) {
			text = errnoName(err)
		}
		return nil
	})
	return text
}

func expect(t *testing.T, ns *netns.Namespace, network, address, want string) {
	t.Helper()
	if got := ask(t, ns, network, address); got != want {
		t.Errorf("%s %s: %q, want %q", network, address, got, want)
	}
}

// tap sees what arrives outside, but for what the kernel says to find its
// neighbours.
type tap struct {
	t      *testing.T
	fd     int
	parent int // of a macvlan: what arrives there is the network's
}

func newTap(t *testing.T, ns *netns.Namespace) *tap {
	t.Helper()
	w := &tap{t: t}
	inside(t, ns, func() (err error) {
		w.parent = index("parent0")
		w.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.ETH_P_ALL<<8)
		return err
	})
	t.Cleanup(func() { unix.Close(w.fd) })
	return w
}

// seen are the packets since the last call.
func (w *tap) seen() []string {
	w.t.Helper()
	var all []string
	data := make([]byte, 1<<16)
	for {
		n, from, err := unix.Recvfrom(w.fd, data, 0)
		if errors.Is(err, unix.EAGAIN) {
			return all
		}
		must(w.t, err)
		link, ok := from.(*unix.SockaddrLinklayer)
		if !ok || link.Pkttype == unix.PACKET_OUTGOING || link.Ifindex == w.parent {
			continue
		}
		if text := describe(link.Protocol>>8|link.Protocol<<8, data[:n]); text != "" {
			all = append(all, text)
		}
	}
}

func describe(ethertype uint16, data []byte) string {
	neighbour := ethertype == unix.ETH_P_ARP ||
		ethertype == unix.ETH_P_IPV6 && len(data) > 40 && data[6] == unix.IPPROTO_ICMPV6 && data[7] == 255 && data[40] >= 133 && data[40] <= 136
	if neighbour {
		return ""
	}
	return fmt.Sprintf("%#04x %x", ethertype, data)
}

// pinging lets everyone make ping sockets, as most distributions do.
func (p *pod) pinging(t *testing.T) {
	t.Helper()
	for _, ns := range []*netns.Namespace{p.Namespace, p.outside} {
		inside(t, ns, func() error { return os.WriteFile("/proc/sys/net/ipv4/ping_group_range", []byte("0 2147483647"), 0) })
	}
}

// R5, R11, K6: whatever a program of a container sends, nothing leaves, and it is
// told at once.
func TestFenceRefuses(t *testing.T) {
	unknown := unknown(t)
	for _, c := range []struct {
		kind   string
		asRoot bool // with CAP_NET_RAW
	}{{"ptp", false}, {"ptp", true}, {"bridge", false}, {"macvlan", true}, {"ipvlan", true}} {
		if unknown[c.kind] {
			continue
		}
		t.Run(fmt.Sprintf("%s as root %v", c.kind, c.asRoot), func(t *testing.T) { refuses(t, newPodOf(t, c.kind), c.asRoot) })
	}
}

func refuses(t *testing.T, p *pod, asRoot bool) {
	p.pinging(t)
	listenTCP(t, p.outside, "outside", ":9999")
	listenUDP(t, p.outside, "outside", ":9999")
	for _, network := range []string{"tcp", "udp"} { // the canary: there is a way
		expect(t, p.Namespace, network, "203.0.113.1:9999", "outside")
		expect(t, p.Namespace, network, "[2001:db8:1::1]:9999", "outside")
	}
	inside(t, p.Namespace, addDefaultRoutes)
	must(t, p.Fence())
	w := newTap(t, p.outside)
	w.seen()
	attemptAll(t, p.Namespace, asRoot)
	if out := w.seen(); len(out) > 0 {
		t.Errorf("%d packets left:\n%s", len(out), strings.Join(out, "\n"))
	}
	checkCounts(t, p.Namespace, asRoot)
	must(t, p.CheckFence())
}

func checkCounts(t *testing.T, ns *netns.Namespace, asRoot bool) {
	t.Helper()
	want := map[string]uint64{}
	for _, a := range ways() {
		if class, rawOnly := strings.CutPrefix(a.counts, "+"); asRoot || !rawOnly {
			want[class]++
		}
	}
	c := counted(t, ns)
	for _, class := range []string{"tcp", "udp", "icmp", "other"} {
		// The kernel's own reports of groups (MLD) are among icmp.
		if got := c["refused-"+class]; got != want[class] && (class != "icmp" || got < want[class]) {
			t.Errorf("%d packets in %s, want %d", got, class, want[class])
		}
	}
	if len(c) != 9 || c["forwarded"]+c["diverted"] != 0 {
		t.Errorf("counters are %v", c)
	}
}

// The servers of a container answer who asks from outside.
func TestFenceLetsServersAnswer(t *testing.T) {
	unknown := unknown(t)
	for kind := range kinds {
		if unknown[kind] {
			continue
		}
		t.Run(kind, func(t *testing.T) { answers(t, newPodOf(t, kind)) })
	}
}

func answers(t *testing.T, p *pod) {
	p.pinging(t)
	must(t, p.Fence())
	listenTCP(t, p.Namespace, "pod", ":8080")
	listenUDP(t, p.Namespace, "pod", ":8080")
	listenUDP(t, p.Namespace, "pod's dns", ":53")
	for _, network := range []string{"tcp", "udp"} {
		for _, address := range []string{"203.0.113.10:8080", "[2001:db8:1::10]:8080"} {
			expect(t, p.outside, network, address, "pod")
			expect(t, p.Namespace, network, address, "pod") // and from inside
		}
		expect(t, p.Namespace, network, "127.0.0.1:8080", "pod")
		// A port without a server says so.
		expect(t, p.outside, network, "203.0.113.10:8081", "ECONNREFUSED")
		expect(t, p.outside, network, "[2001:db8:1::10]:8081", "ECONNREFUSED")
	}
	expect(t, p.outside, "udp", "203.0.113.10:53", "pod's dns")
	expect(t, p.outside, "udp", "[2001:db8:1::10]:53", "pod's dns")
	ping(t, p.outside, unix.AF_INET, &unix.SockaddrInet4{Addr: podAddr4.Addr().As4()})
	ping(t, p.outside, unix.AF_INET6, &unix.SockaddrInet6{Addr: podAddr6.Addr().As16()})
	c := counted(t, p.Namespace)
	if c["replies"] == 0 || c["neighbours"] == 0 || c["refused-tcp"]+c["refused-udp"] != 0 {
		t.Errorf("counters are %v", c)
	}
}

func ping(t *testing.T, ns *netns.Namespace, family int, to unix.Sockaddr) {
	t.Helper()
	inside(t, ns, func() error {
		protocol, request, reply := unix.IPPROTO_ICMP, byte(8), byte(0)
		if family == unix.AF_INET6 {
			protocol, request, reply = unix.IPPROTO_ICMPV6, 128, 129
		}
		fd, err := socketOf(family, unix.SOCK_DGRAM, protocol)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		data := []byte{request, 0, 0, 0, 0, 1, 0, 1}
		err = errors.Join(unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 10}), unix.Sendto(fd, data, 0, to))
		if err != nil {
			return err
		}
		if _, _, err = unix.Recvfrom(fd, data, 0); err == nil && data[0] != reply {
			err = fmt.Errorf("type %d", data[0])
		}
		return err
	})
}

// What asks port 53 of anyone else is answered by the stub, and from the address
// that was asked; the container's own servers on that port are asked as before.
func TestFenceSendsQuestionsToStub(t *testing.T) {
	p := newPod(t)
	must(t, p.Fence())
	for _, address := range []string{"127.0.0.1:982", "[::1]:982"} {
		listenTCP(t, p.Namespace, "stub", address)
		listenUDP(t, p.Namespace, "stub", address)
	}
	for _, address := range []string{"127.0.0.1:53", "203.0.113.10:53", "[::1]:53", "[2001:db8:1::10]:53", "127.0.0.11:53"} {
		listenTCP(t, p.Namespace, "own", address)
		listenUDP(t, p.Namespace, "own", address)
	}
	listenUDP(t, p.outside, "outside", ":53")
	listenTCP(t, p.outside, "outside", ":53")
	inside(t, p.Namespace, addDefaultRoutes)
	for _, network := range []string{"udp", "tcp"} {
		for address, want := range map[string]string{
			"203.0.113.1:53": "stub", "8.8.8.8:53": "stub", "[2001:db8:1::1]:53": "stub", "[2001:4860:4860::8888]:53": "stub",
			"127.0.0.1:53": "own", "203.0.113.10:53": "own", "[::1]:53": "own", "[2001:db8:1::10]:53": "own",
			"127.0.0.11:53": "stub", // Docker's
		} {
			expect(t, p.Namespace, network, address, want)
		}
	}
	if n := counted(t, p.Namespace)["questions"]; n != 10 {
		t.Errorf("%d questions, want 10", n)
	}
}

func addDefaultRoutes() error {
	var errs []error
	for _, via := range []netip.Addr{outsideAddr4.Addr(), outsideAddr6.Addr()} {
		errs = append(errs, netlink.RouteAdd(&netlink.Route{Gw: via.AsSlice()}))
	}
	return errors.Join(errs...)
}

// A report of a group holds 28 bits of its choice: whoever joins one, the kernel
// says nothing of it outside.
func TestFenceHidesGroups(t *testing.T) {
	p := newPod(t)
	must(t, p.Fence())
	w := newTap(t, p.outside)
	before := counted(t, p.Namespace)["refused-other"]
	inside(t, p.Namespace, func() error {
		four, err := socketOf(unix.AF_INET, unix.SOCK_DGRAM, 0)
		if err != nil {
			return err
		}
		t.Cleanup(func() { unix.Close(four) })
		return unix.SetsockoptIPMreqn(four, unix.IPPROTO_IP, unix.IP_ADD_MEMBERSHIP,
			&unix.IPMreqn{Multiaddr: [4]byte{239, 1, 2, 3}, Ifindex: int32(index("eth0"))})
	})
	for counted(t, p.Namespace)["refused-other"] == before { // the kernel's timer sends it
		must(t, t.Context().Err())
	}
	if out := w.seen(); len(out) > 0 {
		t.Errorf("left:\n%s", strings.Join(out, "\n"))
	}
}

// What THREATS.md says of the fence: frames pass it. The filter on the host's end
// of the link is for them.
func TestFenceDoesNotSeeFrames(t *testing.T) {
	p := newPod(t)
	must(t, p.Fence())
	w := newTap(t, p.outside)
	inside(t, p.Namespace, func() error {
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return unix.Sendto(fd, spoofed(), 0, &unix.SockaddrLinklayer{
			Protocol: unix.ETH_P_IP>>8 | unix.ETH_P_IP&0xff<<8, Ifindex: index("eth0"), Halen: 6, Addr: [8]byte{255, 255, 255, 255, 255, 255},
		})
	})
	if out := w.seen(); len(out) != 1 {
		t.Errorf("saw %v", out)
	}
}
