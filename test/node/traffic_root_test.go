// SPDX-License-Identifier: Apache-2.0

//go:build root

package node

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/phantom-ns/phantom-ns/enforcer/node/api"
	"github.com/phantom-ns/phantom-ns/test/rig"
)

// The bridge of these tests: the node's address, and that of somebody who is
// nobody's pod and to whom nothing may be sent.
const (
	bridge       = "br0"
	nodeAddress  = "10.99.0.1"
	strangerHost = "10.99.0.66"
)

// stranger is a namespace on the bridge in which every frame is counted.
type stranger struct {
	*pod
	tap    int
	served map[uint16]bool // TCP ports of containers' servers that he has asked
}

// newStranger makes the bridge and him, with a server on TCP port 80 that
// nobody may reach.
func (b *bed) newStranger() *stranger {
	b.Helper()
	err := b.world.Do(func() error {
		br := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: bridge}}
		if err := netlink.LinkAdd(br); err != nil {
			return err
		}
		address, err := netlink.ParseAddr(nodeAddress + "/24")
		if err == nil {
			err = netlink.AddrAdd(br, address)
		}
		if err == nil {
			err = netlink.LinkSetUp(br)
		}
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	s := &stranger{pod: b.newPod("web"), tap: -1, served: map[uint16]bool{}}
	s.plug(strangerHost)
	err = s.do(func() error {
		l, err := net.Listen("tcp4", strangerHost+":80")
		if err != nil {
			return err
		}
		b.Cleanup(func() { l.Close() })
		const all = unix.ETH_P_ALL << 8 // in network byte order
		s.tap, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, all)
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { unix.Close(s.tap) })
	return s
}

// heard returns the frames since it was asked last, less what finds neighbours.
func (s *stranger) heard() (frames []string) {
	s.Helper()
	buffer := make([]byte, 9000)
	for {
		n, from, err := unix.Recvfrom(s.tap, buffer, 0)
		if err == unix.EAGAIN {
			return frames
		}
		if err != nil {
			s.Fatalf("tap: %v", err)
		}
		if ll := from.(*unix.SockaddrLinklayer); ll.Pkttype != unix.PACKET_OUTGOING && !findsNeighbours(buffer[:n]) && !s.isAnswer(buffer[:n]) {
			frames = append(frames, fmt.Sprintf("%x", buffer[:min(n, 60)]))
		}
	}
}

// heardNothing fails the test where a frame has reached him since he was asked
// last.
func (s *stranger) heardNothing(when string) {
	s.Helper()
	if frames := s.heard(); len(frames) != 0 {
		s.Errorf("%s: the stranger heard %d frames: %v", when, len(frames), frames[:min(3, len(frames))])
	}
}

// isAnswer tells what a server sends that he has asked.
func (s *stranger) isAnswer(frame []byte) bool {
	return len(frame) > 38 && frame[12] == 0x08 && frame[13] == 0 && frame[14] == 0x45 && frame[23] == unix.IPPROTO_TCP &&
		s.served[uint16(frame[34])<<8|uint16(frame[35])]
}

// findsNeighbours tells ARP and what ICMPv6 has in its place (RFC 4861), and
// multicast reports (RFC 3810).
func findsNeighbours(frame []byte) bool {
	if len(frame) < 14 {
		return false
	}
	switch uint16(frame[12])<<8 | uint16(frame[13]) {
	case unix.ETH_P_ARP:
		return true
	case unix.ETH_P_IP: // IGMP, of the bridge itself
		return len(frame) > 34 && frame[23] == unix.IPPROTO_IGMP && net.IP(frame[26:30]).String() == nodeAddress
	case unix.ETH_P_IPV6:
		// Next header ICMPv6, or hop-by-hop before it.
		return len(frame) > 54 && (frame[20] == 58 && frame[54] >= 133 && frame[54] <= 136 || frame[20] == 0 && frame[54] == 58)
	}
	return false
}

// plug puts a namespace on the bridge, as a CNI plugin does.
func (p *pod) plug(address string) {
	p.Helper()
	p.Sealed, p.address = false, address
	inner := p.link()
	err := p.do(func() error { return configure(inner, p.Interface, address) })
	if err == nil {
		// The bridge forwards once it was told of the carrier, which may wait
		// for a second; asking for the link tells it (linkwatch_sync_dev, 6.8).
		err = p.world.Do(func() error { _, err := netlink.LinkByName(p.outer()); return err })
	}
	if err != nil {
		p.Fatalf("plug %s in: %v", p.Container, err)
	}
}

// link makes a link between the namespace and the bridge, and returns what its
// end inside is called.
func (p *pod) link() (inner string) {
	p.Helper()
	outer, inner := p.outer(), "i"+p.Container
	err := p.world.Do(func() error {
		br, err := netlink.LinkByName(bridge)
		if err != nil {
			return err
		}
		err = netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: outer, MasterIndex: br.Attrs().Index}, PeerName: inner})
		if err != nil {
			return err
		}
		there, err := unix.Open(p.Namespace, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(there)
		for _, name := range []string{outer, inner} {
			link, err := netlink.LinkByName(name)
			if err != nil {
				return err
			}
			if err := netlink.LinkSetUp(link); err != nil {
				return err
			}
			if name == inner {
				err = netlink.LinkSetNsFd(link, there)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		p.Fatalf("link %s: %v", p.Container, err)
	}
	return inner
}

// outer is the link's end on the bridge.
func (p *pod) outer() string { return "v" + p.Container + p.Interface }

func configure(link, name, address string) error {
	lo, err := netlink.LinkByName("lo")
	if err == nil {
		err = netlink.LinkSetUp(lo)
	}
	if err != nil {
		return err
	}
	l, err := netlink.LinkByName(link)
	if err != nil {
		return err
	}
	prefix, err := netlink.ParseAddr(address + "/24")
	if err != nil {
		return err
	}
	for _, step := range []func() error{
		func() error { return netlink.LinkSetDown(l) },
		func() error { return netlink.LinkSetName(l, name) },
		func() error { return netlink.LinkSetUp(l) },
		func() error { return netlink.AddrAdd(l, prefix) },
		func() error {
			return netlink.RouteReplace(&netlink.Route{LinkIndex: l.Attrs().Index, Gw: net.ParseIP(nodeAddress)})
		},
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// traffic is a container that asks the upstream again and again, and tries to
// reach the stranger beside it.
type traffic struct {
	*pod
	process *rig.Process
	once    sync.Once

	mu      sync.Mutex
	printed sync.Cond
	all     []string // its lines
	ended   bool
}

// script prints a line for each request: what curl was answered and how it
// ended. What must not be prints ESCAPED.
const script = `while :; do
  code=$(curl -s --max-time 30 --cacert "$1" -H "Authorization: Bearer $2" -w '%{http_code}' -o /dev/null "https://$3/v1/models")
  echo "$code $?"
  if (exec 3<>"/dev/tcp/$4/80") 2>/dev/null; then echo ESCAPED; fi
  (echo out >"/dev/udp/$4/9") 2>/dev/null
done`

func (p *pod) startTraffic() *traffic {
	p.Helper()
	r, w := io.Pipe()
	t := &traffic{pod: p}
	t.printed.L = &t.mu
	go t.read(r)
	bundle := filepath.Join(p.node.Dir, "shared", p.Policy, "bundle.pem")
	t.process = p.world.Program(rig.Session{Root: true, Dir: "/", Stdout: w, Timeout: 3 * time.Minute}, "nsenter", "--net="+p.Namespace, "--",
		"bash", "-c", script, "traffic", bundle, p.environment(p.Policy)["OPENAI_API_KEY"], host, strangerHost)
	p.Cleanup(t.end)
	return t
}

// read keeps what the loop prints, as it prints it.
func (t *traffic) read(r io.Reader) {
	for lines := bufio.NewScanner(r); lines.Scan(); {
		t.mu.Lock()
		t.all = append(t.all, lines.Text())
		t.mu.Unlock()
		t.printed.Broadcast()
	}
	t.mu.Lock()
	t.ended = true
	t.mu.Unlock()
	t.printed.Broadcast()
}

// next waits for so many lines that are not printed yet, and returns them.
func (t *traffic) next(n int) []string {
	t.Helper()
	t.mu.Lock()
	defer t.mu.Unlock()
	from := len(t.all)
	for len(t.all) < from+n {
		if t.ended {
			t.Fatalf("traffic of %s ended: %v", t.Container, t.all)
		}
		t.printed.Wait()
	}
	return slices.Clone(t.all[from : from+n])
}

// until waits for a line.
func (t *traffic) until(want string) {
	t.Helper()
	for range 1000 {
		if t.next(1)[0] == want {
			return
		}
	}
	t.Fatalf("%s: never %q", t.Container, want)
}

// end ends the loop and everything in it.
func (t *traffic) end() {
	t.once.Do(func() {
		t.process.Process.Signal(syscall.SIGKILL)
		t.process.Wait()
		t.mu.Lock()
		defer t.mu.Unlock()
		if slices.Contains(t.all, "ESCAPED") {
			t.Errorf("%s reached the stranger", t.Container)
		}
	})
}

// stands fails the test unless the attachment is whole.
func (p *pod) stands() {
	p.Helper()
	if err := p.client.Check(p.Context(), p.Attachment); err != nil {
		p.Errorf("check of %s: %v", p.Container, err)
	}
}

// session is the attachment as the daemon lists it.
func (p *pod) session() api.Attachment {
	p.Helper()
	listed, err := p.client.List(p.Context())
	if err != nil {
		p.Fatal(err)
	}
	for _, a := range listed {
		if a.Key() == p.Key() {
			return a
		}
	}
	p.Fatalf("%s is not attached", p.Container)
	return api.Attachment{}
}
