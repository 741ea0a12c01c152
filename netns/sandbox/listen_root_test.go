// SPDX-License-Identifier: Apache-2.0

//go:build root

package sandbox

import (
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// The sockets are served outside, in the test's own network namespace, while
// the agent is inside.
func TestListenersServeOutside(t *testing.T) {
	r := newRig(t)
	r.config.Spec.Forward = []uint16{5432}
	r.launch.Path = self(t)
	addresses := []string{"127.0.0.1:981", "127.0.0.1:5432", "1.2.3.4:53"}
	if r.config.Spec.IPv6 {
		addresses = append(addresses, "[::1]:981", "[::1]:5432", "[2001:db8::1]:53")
	}
	must(t, r.start(append([]string{"agent:connect"}, addresses...)...))
	l := r.listeners
	files := append([]*os.File{l.TCP4, l.DNSTCP4}, l.Forward[5432]...)
	if r.config.Spec.IPv6 {
		files = append(files, l.TCP6, l.DNSTCP6)
	}
	for _, file := range files {
		listener, err := net.FileListener(file)
		must(t, err)
		defer listener.Close()
		go func() {
			conn, err := listener.Accept()
			if err != nil {
				t.Error(err)
				return
			}
			conn.Write([]byte(conn.LocalAddr().String()))
			conn.Close()
		}()
	}
	_, err := r.child.Wait()
	must(t, err)
	var want strings.Builder
	for _, a := range addresses {
		want.WriteString(a + " " + a + " <nil>\n")
	}
	if got := r.output.end(); got != want.String() {
		t.Errorf("wrote %q, want %q", got, want.String())
	}
}

// Whatever resolver is asked, it is the one that answers.
func TestDNSAnswersFromAskedAddress(t *testing.T) {
	r := newRig(t)
	r.launch.Path = self(t)
	addresses := []string{"8.8.8.8:53", "127.0.0.53:53"}
	if r.config.Spec.IPv6 {
		addresses = append(addresses, "[2001:4860:4860::8888]:53", "[::1]:53")
	}
	must(t, r.start(append([]string{"agent:ask"}, addresses...)...))
	go echo(t, r.listeners.DNS4)
	if r.config.Spec.IPv6 {
		go echo(t, r.listeners.DNS6)
	}
	_, err := r.child.Wait()
	must(t, err)
	want := strings.Join(addresses, " question\n") + " question\n"
	if got := r.output.end(); got != want {
		t.Errorf("wrote %q, want %q", got, want)
	}
}

// echo answers each datagram from the address that it was sent to.
func echo(t *testing.T, file *os.File) {
	conn, err := net.FilePacketConn(file)
	if err != nil {
		t.Error(err)
		return
	}
	defer conn.Close()
	udp := conn.(*net.UDPConn)
	context := t.Context()
	go func() { <-context.Done(); conn.Close() }()
	data, control := make([]byte, 512), make([]byte, 512)
	for {
		n, controlLen, _, from, err := udp.ReadMsgUDPAddrPort(data, control)
		if err != nil {
			return
		}
		if _, _, err := udp.WriteMsgUDPAddrPort(data[:n], control[:controlLen], from); err != nil {
			t.Error(err)
		}
	}
}

func TestSocketsAreSet(t *testing.T) {
	r := newRig(t)
	must(t, r.start("true"))
	for name, c := range map[string]struct {
		file    *os.File
		address string
		options []option
	}{
		"tcp4": {r.listeners.TCP4, "127.0.0.1:981", []option{{unix.SOL_SOCKET, unix.SO_PROTOCOL, unix.IPPROTO_TCP}, {unix.IPPROTO_TCP, unix.TCP_FASTOPEN, backlog}}},
		"tcp6": {r.listeners.TCP6, "[::1]:981", []option{{unix.SOL_SOCKET, unix.SO_PROTOCOL, unix.IPPROTO_TCP}, {unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1}}},
		"dns4": {r.listeners.DNS4, "0.0.0.0:53", []option{{unix.IPPROTO_IP, unix.IP_PKTINFO, 1}}},
		"dns6": {r.listeners.DNS6, "[::]:53", []option{{unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1}, {unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1}, {unix.IPPROTO_IPV6, unix.IPV6_FREEBIND, 1}}},
	} {
		if c.file == nil {
			if r.config.Spec.IPv6 {
				t.Errorf("%s is missing", name)
			}
			continue
		}
		must(t, withFD(c.file, func(fd int) error {
			address, err := unix.Getsockname(fd)
			if err != nil || addrPort(address).String() != c.address {
				t.Errorf("%s is bound to %v, %v", name, addrPort(address), err)
			}
			if nonblock, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0); nonblock&unix.O_NONBLOCK == 0 {
				t.Errorf("%s blocks: %v", name, err)
			}
			for _, o := range c.options {
				if got, err := unix.GetsockoptInt(fd, o.level, o.name); got != o.value {
					t.Errorf("%s: option %d/%d is %d, %v, want %d", name, o.level, o.name, got, err, o.value)
				}
			}
			return nil
		}))
	}
}

func addrPort(sa unix.Sockaddr) netip.AddrPort {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr), uint16(sa.Port))
	}
	return netip.AddrPort{}
}

// Without IPv6 nothing of it is opened, and nothing is missed.
func TestWithoutIPv6(t *testing.T) {
	r := newRig(t)
	r.config.Spec.IPv6 = false
	must(t, r.start("true"))
	if l := r.listeners; l.TCP6 != nil || l.DNS6 != nil || l.DNSTCP6 != nil || l.TCP4 == nil {
		t.Errorf("listeners are %+v", l)
	}
}
