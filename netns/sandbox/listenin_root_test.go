// SPDX-License-Identifier: Apache-2.0

//go:build root

package sandbox

import (
	"errors"
	"net"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/phantom-ns/phantom-ns/netns"
)

func listenIn(t *testing.T, ns *netns.Namespace, spec ListenSpec) *Listeners {
	t.Helper()
	l, err := Listen(ns, spec)
	must(t, err)
	t.Cleanup(func() { must(t, l.Close()) })
	return l
}

func newNamespace(t *testing.T) *netns.Namespace {
	t.Helper()
	ns, err := netns.New()
	must(t, err)
	t.Cleanup(func() { must(t, ns.Close()) })
	return ns
}

// What a session's sockets are bound to, in a sealed namespace and in one that
// has links.
func TestListen(t *testing.T) {
	for name, c := range map[string]struct {
		spec ListenSpec
		dns4 string
		dns6 string
	}{
		"sealed": {ListenSpec{Forward: []uint16{5432}}, "0.0.0.0:53", "[::]:53"},
		"pod":    {ListenSpec{Pod: true, Forward: []uint16{5432}}, "127.0.0.1:982", "[::1]:982"},
	} {
		t.Run(name, func(t *testing.T) {
			ns := newNamespace(t)
			l := listenIn(t, ns, c.spec)
			want := map[*os.File]string{
				l.TCP4: "127.0.0.1:981", l.DNS4: c.dns4, l.DNSTCP4: c.dns4, l.Forward[5432][0]: "127.0.0.1:5432",
			}
			if ns.HasIPv6() {
				want[l.TCP6], want[l.DNS6], want[l.DNSTCP6], want[l.Forward[5432][1]] = "[::1]:981", c.dns6, c.dns6, "[::1]:5432"
			}
			cookie, err := ns.Cookie()
			must(t, err)
			for file, address := range want {
				must(t, withFD(file, func(fd int) error {
					bound, err := unix.Getsockname(fd)
					if got := addrPort(bound).String(); got != address {
						t.Errorf("%s is bound to %s, want %s", file.Name(), got, address)
					}
					born, errCookie := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
					if born != cookie && !errors.Is(errCookie, unix.ENOPROTOOPT) {
						t.Errorf("%s was born in %d, want %d", file.Name(), born, cookie)
					}
					if protocol, _ := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PROTOCOL); protocol != unix.IPPROTO_TCP && protocol != unix.IPPROTO_UDP {
						t.Errorf("%s is of protocol %d", file.Name(), protocol)
					}
					return err
				}))
			}
			if !ns.HasIPv6() && (l.TCP6 != nil || len(l.Forward[5432]) != 1) {
				t.Errorf("listeners are %+v", l)
			}
		})
	}
}

// A program inside that has a port already is told of, and nothing stays open.
func TestListenFindsPortTaken(t *testing.T) {
	for name, c := range map[string]struct {
		network, address string
		want             string
	}{
		"listener": {"tcp", "0.0.0.0:981", "sandbox: listen: open tcp4:981: a program inside has this port: address already in use"},
		"stub":     {"udp", "127.0.0.1:982", "sandbox: listen: open dns4:982: a program inside has this port: address already in use"},
	} {
		t.Run(name, func(t *testing.T) {
			ns := newNamespace(t)
			must(t, ns.Do(func() error {
				if c.network == "udp" {
					conn, err := net.ListenPacket(c.network, c.address)
					t.Cleanup(func() { conn.Close() })
					return err
				}
				l, err := net.Listen(c.network, c.address)
				t.Cleanup(func() { l.Close() })
				return err
			}))
			if _, err := Listen(ns, ListenSpec{Pod: true}); !errors.Is(err, unix.EADDRINUSE) || err.Error() != c.want {
				t.Errorf("listen: %v, want %v", err, c.want)
			}
		})
	}
	ns := newNamespace(t)
	must(t, listenIn(t, ns, ListenSpec{Pod: true}).Close())
	must(t, listenIn(t, ns, ListenSpec{Pod: true}).Close()) // again, as after a restart
}

// The server's side of TCP Fast Open is added to what the namespace was set to.
func TestListenKeepsFastOpen(t *testing.T) {
	for before, want := range map[string]string{"0": "2\n", "1": "3\n", "1027": "1027\n"} {
		ns := newNamespace(t)
		must(t, ns.Do(func() error { return os.WriteFile(fastOpen, []byte(before), 0) }))
		listenIn(t, ns, ListenSpec{Pod: true})
		must(t, ns.Do(func() error {
			after, err := os.ReadFile(fastOpen)
			if string(after) != want {
				t.Errorf("%s became %q, want %q", before, after, want)
			}
			return err
		}))
	}
}
