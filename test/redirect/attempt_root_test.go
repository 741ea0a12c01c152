// SPDX-License-Identifier: Apache-2.0

//go:build root

package redirect

import (
	"errors"
	"fmt"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// tun is a device in the namespace that is not lo. The sealed namespace has none; a session must not depend on that.
const tun = "tun0"

// attempts are what the refused process tries, by name; the parent knows what must come of each.
var attempts = []struct {
	name string
	try  func() error
}{
	{"mptcp", socket(unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_MPTCP)},
	{"mptcp6", socket(unix.AF_INET6, unix.SOCK_STREAM, unix.IPPROTO_MPTCP)},
	{"sctp", socket(unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_SCTP)},
	{"udplite", socket(unix.AF_INET, unix.SOCK_DGRAM, unix.IPPROTO_UDPLITE)},
	{"ping", socket(unix.AF_INET, unix.SOCK_DGRAM, unix.IPPROTO_ICMP)},
	{"ping6", socket(unix.AF_INET6, unix.SOCK_DGRAM, unix.IPPROTO_ICMPV6)},
	{"raw", socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_UDP)},
	{"tcp declared", connect("10.1.2.3:443")},
	{"tcp undeclared", connect("203.0.113.1:443")},
	{"tcp undeclared v6", connect("[2001:db9::1]:443")},
	{"tcp undeclared mapped", connect("[::ffff:203.0.113.1]:443")},
	{"tcp listener", connect("127.0.0.1:981")},
	{"tcp listener other loopback", connect("127.9.9.9:981")},
	{"tcp listener unspecified", connect("0.0.0.0:981")},
	{"tcp listener unspecified v6", connect("[::]:981")},
	{"tcp listener v6", connect("[::1]:981")},
	{"tcp listener mapped", connect("[::ffff:127.0.0.1]:981")},
	{"tcp listener own", connect("198.18.255.1:981")},
	{"tcp own server", ownServer},
	{"tcp device", connectFrom(tun, "10.1.2.3:443")},
	{"tcp device lo", connectFrom("lo", "10.1.2.3:443")},
	{"udp connect", connectDatagram("203.0.113.1:443")},
	{"udp connected send", sendConnected("203.0.113.1:443")},
	{"udp connected send v6", sendConnected("[2001:db9::1]:443")},
	{"udp connected send dns", sendConnected("203.0.113.1:53")},
	{"udp send", send("203.0.113.1:443", nil)},
	{"udp send declared", send("10.1.2.3:443", nil)},
	{"udp send v6", send("[2001:db9::1]:443", nil)},
	{"udp send mapped", send("[::ffff:203.0.113.1]:443", nil)},
	{"udp send loopback", send("127.0.0.1:9", nil)},
	{"udp send dns", send("203.0.113.1:53", nil)},
	{"udp send by device", send("203.0.113.1:53", byDevice)},
	{"udp send with source route", send("127.0.0.1:9", withSourceRoute)},
	{"reconnect to loopback", reconnect},
}

// refuseStage tries everything and prints one line for each attempt.
func refuseStage() error {
	for _, attempt := range attempts {
		result := "ok"
		var errno unix.Errno
		if err := attempt.try(); errors.As(err, &errno) {
			result = unix.ErrnoName(errno)
		} else if err != nil {
			result = err.Error()
		}
		fmt.Printf("%s: %s\n", attempt.name, result)
	}
	return nil
}

func socket(family, kind, protocol int) func() error {
	return func() error {
		fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC, protocol)
		if err == nil {
			unix.Close(fd)
		}
		return err
	}
}

// with makes a socket for the destination's family, and closes it after use.
func with(to string, kind int, use func(fd int, to unix.Sockaddr) error) error {
	address := netip.MustParseAddrPort(to)
	family := unix.AF_INET6
	var name unix.Sockaddr = &unix.SockaddrInet6{Port: int(address.Port()), Addr: address.Addr().As16()}
	if address.Addr().Is4() {
		family = unix.AF_INET
		name = &unix.SockaddrInet4{Port: int(address.Port()), Addr: address.Addr().As4()}
	}
	fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return use(fd, name)
}

func connect(to string) func() error {
	return func() error { return with(to, unix.SOCK_STREAM, unix.Connect) }
}

func connectFrom(device, to string) func() error {
	return func() error {
		return with(to, unix.SOCK_STREAM, func(fd int, to unix.Sockaddr) error {
			if err := unix.BindToDevice(fd, device); err != nil {
				return fmt.Errorf("bind to device: %v", err)
			}
			return unix.Connect(fd, to)
		})
	}
}

func connectDatagram(to string) func() error {
	return func() error { return with(to, unix.SOCK_DGRAM, unix.Connect) }
}

func sendConnected(to string) func() error {
	return func() error {
		return with(to, unix.SOCK_DGRAM, func(fd int, to unix.Sockaddr) error {
			if err := unix.Connect(fd, to); err != nil {
				return fmt.Errorf("connect: %v", err)
			}
			return unix.Send(fd, []byte("out"), 0)
		})
	}
}

func send(to string, prepare func(fd int) ([]byte, error)) func() error {
	return func() error {
		return with(to, unix.SOCK_DGRAM, func(fd int, to unix.Sockaddr) error {
			var control []byte
			if prepare != nil {
				var err error
				if control, err = prepare(fd); err != nil {
					return fmt.Errorf("prepare: %v", err)
				}
			}
			return unix.Sendmsg(fd, []byte("out"), control, to, 0)
		})
	}
}

// byDevice asks for a device by control message, which no socket address hook can see.
func byDevice(fd int) ([]byte, error) {
	request, err := unix.NewIfreq(tun)
	if err != nil {
		return nil, err
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, request); err != nil {
		return nil, err
	}
	return unix.PktInfo4(&unix.Inet4Pktinfo{Ifindex: int32(request.Uint32())}), nil
}

// withSourceRoute makes a packet whose header says 203.0.113.1 though the socket says loopback (LSRR, RFC 791).
func withSourceRoute(fd int) ([]byte, error) {
	return nil, unix.SetsockoptString(fd, unix.IPPROTO_IP, unix.IP_OPTIONS, "\x83\x07\x04\xcb\x00\x71\x01\x00")
}

// ownServer connects to a server of its own, which must see and be seen as it is.
func ownServer() error {
	return with("127.0.0.1:7777", unix.SOCK_STREAM, func(server int, at unix.Sockaddr) error {
		if err := errors.Join(unix.Bind(server, at), unix.Listen(server, 1)); err != nil {
			return err
		}
		return with("127.0.0.1:7777", unix.SOCK_STREAM, func(fd int, to unix.Sockaddr) error {
			if err := unix.Connect(fd, to); err != nil {
				return err
			}
			return expectPeer(fd, "127.0.0.1:7777")
		})
	})
}

// reconnect uses one socket twice. What the first connect() left in the socket must not outlive the second.
func reconnect() error {
	return with("127.0.0.1:7778", unix.SOCK_STREAM, func(server int, at unix.Sockaddr) error {
		if err := errors.Join(unix.Bind(server, at), unix.Listen(server, 1)); err != nil {
			return err
		}
		return with("10.1.2.3:443", unix.SOCK_STREAM, func(fd int, first unix.Sockaddr) error {
			if err := unix.Connect(fd, first); err != nil {
				return err
			}
			if err := expectPeer(fd, "10.1.2.3:443"); err != nil {
				return err
			}
			if err := disconnect(fd); err != nil {
				return fmt.Errorf("disconnect: %v", err)
			}
			if err := unix.Connect(fd, at); err != nil {
				return err
			}
			return expectPeer(fd, "127.0.0.1:7778")
		})
	})
}

func expectPeer(fd int, want string) error {
	name, err := unix.Getpeername(fd)
	if err != nil {
		return err
	}
	if got := addrPort(name).String(); got != want {
		return fmt.Errorf("peer is %s", got)
	}
	return nil
}

// disconnect is connect(AF_UNSPEC), which x/sys/unix has no type for.
func disconnect(fd int) error {
	unspecified := unix.RawSockaddr{Family: unix.AF_UNSPEC}
	_, _, errno := unix.Syscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(&unspecified)), unsafe.Sizeof(unspecified))
	if errno != 0 {
		return errno
	}
	return nil
}
