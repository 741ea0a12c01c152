// SPDX-License-Identifier: Apache-2.0

//go:build root

package node

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/phantom-ns/phantom-ns/enforcer/node/api"
	"github.com/phantom-ns/phantom-ns/netns"
	"github.com/phantom-ns/phantom-ns/test/rig"
)

// K6: root inside, with NET_ADMIN and NET_RAW, takes the fence away that is
// inside, adds what it likes, and sends frames of its own making. The stranger
// hears nothing, and the container's own server answers as before.
func TestK6RootInsideSendsNothing(t *testing.T) {
	b := newBed(t)
	out := b.newStranger()
	p := b.newPod("web")
	p.plug("10.99.0.2")
	p.attach()
	p.swaps()
	p.answers(out)
	p.sendEverything()
	out.heardNothing("before")
	p.unfence()
	if err := p.do(addEverything); err != nil {
		t.Fatal(err)
	}
	if err := b.client.Check(t.Context(), p.Attachment); api.Code(err) != api.CodeBroken {
		t.Errorf("check after the fence was removed: %v", err)
	}
	p.sendEverything()
	out.heardNothing("attached")
	p.answers(out)
	b.node.Stop()
	b.node.Start() // puts the fence back
	p.sendEverything()
	out.heardNothing("after a restart")
	p.detach()
	b.isEmpty()
}

// unfence takes the filter away that is inside.
func (p *pod) unfence() {
	p.Helper()
	err := p.world.Do(func() error {
		ns, err := netns.Open(p.Namespace)
		if err != nil {
			return err
		}
		defer ns.Close()
		return ns.Unfence()
	})
	if err != nil {
		p.Fatal(err)
	}
}

// addEverything is what NET_ADMIN can do in its own namespace.
func addEverything() error {
	link, err := netlink.LinkByName("eth0")
	if err != nil {
		return err
	}
	second, err := netlink.ParseAddr("10.99.0.77/24")
	if err != nil {
		return err
	}
	_, all, err := net.ParseCIDR("0.0.0.0/1")
	if err != nil {
		return err
	}
	return errors.Join(
		netlink.AddrAdd(link, second),
		netlink.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Dst: all, Gw: net.ParseIP(strangerHost)}),
		netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "more0"}, PeerName: "more1"}),
		netlink.LinkAdd(&netlink.Macvlan{LinkAttrs: netlink.LinkAttrs{Name: "more2", ParentIndex: link.Attrs().Index}, Mode: netlink.MACVLAN_MODE_BRIDGE}),
	)
}

// sendEverything tries what a root process has: sockets of each kind, and whole
// frames. That a call is refused is as good.
func (p *pod) sendEverything() {
	p.Helper()
	err := p.do(func() error {
		for _, network := range []string{"tcp4", "udp4", "ip4:icmp", "ip4:89"} {
			address := strangerHost
			if network == "tcp4" || network == "udp4" {
				address += ":80"
			}
			conn, err := net.DialTimeout(network, address, time.Second)
			if err != nil {
				continue
			}
			if network == "tcp4" {
				p.Errorf("tcp: connected to the stranger")
			}
			_, _ = conn.Write(make([]byte, 64))
			conn.Close()
		}
		return sendFrames(p.Interface, p.address)
	})
	if err != nil {
		p.Errorf("send: %v", err)
	}
}

// sendFrames writes frames to the link: of the container's own address, of
// others', tagged, and of protocols of nobody.
func sendFrames(name, own string) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	to := &unix.SockaddrLinklayer{Ifindex: link.Attrs().Index, Halen: 6, Addr: [8]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}}
	for _, source := range []string{own, "10.99.0.77", "203.0.113.9", nodeAddress} {
		for _, ethertype := range []uint16{unix.ETH_P_IP, unix.ETH_P_8021Q, unix.ETH_P_8021AD, unix.ETH_P_IPV6, 0x88b5} {
			frame := append([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, link.Attrs().HardwareAddr...)
			frame = binary.BigEndian.AppendUint16(frame, ethertype)
			if ethertype == unix.ETH_P_8021Q || ethertype == unix.ETH_P_8021AD {
				frame = binary.BigEndian.AppendUint16(append(frame, 0, 1), unix.ETH_P_IP)
			}
			if err := unix.Sendto(fd, append(frame, datagram(source)...), 0, to); err != nil {
				return err
			}
		}
	}
	return nil
}

// datagram is UDP to the stranger.
func datagram(source string) []byte {
	packet := []byte{0x45, 0, 0, 32, 0, 0, 0, 0, 64, unix.IPPROTO_UDP, 0, 0}
	packet = append(append(packet, net.ParseIP(source).To4()...), net.ParseIP(strangerHost).To4()...)
	var sum uint32
	for i := 0; i < len(packet); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(packet[i:]))
	}
	binary.BigEndian.PutUint16(packet[10:], ^uint16(sum+sum>>16))
	return append(packet, 0, 9, 0, 9, 0, 12, 0, 0, 'o', 'u', 't', '!')
}

// answers lets the stranger ask a server of the container's, which it may.
func (p *pod) answers(s *stranger) {
	p.Helper()
	var l net.Listener
	if err := p.do(func() (err error) { l, err = net.Listen("tcp4", p.address+":0"); return err }); err != nil {
		p.Fatal(err)
	}
	defer l.Close()
	go func() {
		if conn, err := l.Accept(); err == nil {
			io.WriteString(conn, "hello")
			conn.Close()
		}
	}()
	s.served[uint16(l.Addr().(*net.TCPAddr).Port)] = true
	var conn net.Conn
	err := s.do(func() (err error) { conn, err = net.DialTimeout("tcp4", l.Addr().String(), 5*time.Second); return err })
	if err != nil {
		p.Errorf("the container's server: %v", err)
		return
	}
	defer conn.Close()
	if text, err := io.ReadAll(conn); string(text) != "hello" {
		p.Errorf("the container's server answered %q, %v", text, err)
	}
}

// A link without an end on the host is refused, unless that was accepted.
func TestALinkThatCannotBeFencedIsRefused(t *testing.T) {
	b := newBed(t)
	b.newStranger()
	p := b.newPod("web")
	p.plugMacvlan("10.99.0.3")
	if _, err := b.client.Attach(t.Context(), p.Attachment); api.Code(err) != api.CodeUnfenced {
		t.Errorf("got %v", err)
	}
	b.isEmpty()
	p.Unfenced = true
	p.attach()
	p.swaps()
	p.stands()
	b.node.Stop()
	b.node.Start()
	p.swaps()
	p.stands()
	p.detach()
	b.isEmpty()
	p.isDown() // what may still live inside is not let out
}

// Only root asks; a member of the group has another socket.
func TestOnlyRootAsks(t *testing.T) {
	b := newBed(t)
	for _, dir := range []string{b.node.Dir, filepath.Join(b.node.Dir, "run")} {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(b.node.Socket(), 0o666); err != nil {
		t.Fatal(err)
	}
	user := &syscall.Credential{Uid: rig.UID, Gid: rig.GID}
	for _, path := range []string{"status", "attachments", "policies"} {
		r := b.world.Program(rig.Session{Dir: "/", As: user}, "curl", "-sS", "--unix-socket", b.node.Socket(), "http://node/v1/"+path).Wait()
		if want := `{"code":"denied","message":"only root may ask","hint":"run it with sudo"}` + "\n"; r.Stdout != want {
			t.Errorf("%s: %v", path, r)
		}
	}
}
