// SPDX-License-Identifier: Apache-2.0

//go:build root

package bpf

import (
	"net"
	"net/netip"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// listenerSocket opens a listener on loopback and returns its descriptor and socket cookie.
func listenerSocket(t *testing.T, network, address string) (fd int, cookie uint64) {
	t.Helper()
	config := net.ListenConfig{}
	config.SetMultipathTCP(false) // a sockmap takes no MPTCP listener
	listener, err := config.Listen(t.Context(), network, address)
	require(t, err)
	t.Cleanup(func() { listener.Close() })
	raw, err := listener.(*net.TCPListener).SyscallConn()
	require(t, err)
	require(t, raw.Control(func(descriptor uintptr) {
		fd = int(descriptor)
		cookie, err = unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_COOKIE)
	}))
	require(t, err)
	return fd, cookie
}

func arrivalAt(protocol uint32, to string) *verdictArrival {
	address := netip.MustParseAddrPort(to)
	arrival := &verdictArrival{Family: unix.AF_INET6, Protocol: protocol, LocalPort: uint32(address.Port())}
	encoded := encodeAddress(address.Addr())
	arrival.LocalIp6 = verdictAddress(encoded)
	if address.Addr().Is4() {
		arrival.Family, arrival.LocalIp4, arrival.LocalIp6 = unix.AF_INET, encoded.Word[3], verdictAddress{}
	}
	return arrival
}

const (
	drop = 0 // SK_DROP
	pass = 1 // SK_PASS
)

func TestArrivalIsSteered(t *testing.T) {
	steer, err := LoadSteer()
	require(t, err)
	defer func() { require(t, steer.Close()) }()
	fd4, tcp4 := listenerSocket(t, "tcp4", "127.0.0.1:0")
	fd6, tcp6 := listenerSocket(t, "tcp6", "[::1]:0")
	session := testSession()
	require(t, steer.configure(session.Own4, session.Own6, fd4, fd6))
	for _, test := range []struct {
		protocol uint32
		to       string
		verdict  uint32
		socket   uint64 // 0: whoever listens there
	}{
		{tcp, "203.0.113.1:443", pass, tcp4},
		{tcp, "198.18.0.1:981", pass, tcp4},
		{tcp, "255.255.255.255:1", pass, tcp4},
		{tcp, "[2001:db8::1]:443", pass, tcp6},
		{tcp, "[fe80::1]:443", pass, tcp6},
		{tcp, "127.0.0.1:8080", pass, 0},
		{tcp, "127.5.5.5:8080", pass, 0},
		{tcp, "[::1]:8080", pass, 0},
		{tcp, "198.18.255.1:8080", pass, 0},
		{tcp, "[fd70:6861:6e74:ffff::1]:8080", pass, 0},
		{tcp, "203.0.113.1:53", pass, 0},
		{tcp, "[2001:db8::1]:53", pass, 0},
		{udp, "203.0.113.1:53", pass, 0},
		{udp, "[2001:db8::1]:53", pass, 0},
		{udp, "127.0.0.1:5000", pass, 0},
		{udp, "198.18.255.1:5000", pass, 0},
		{udp, "203.0.113.1:443", drop, 0},
		{udp, "[2001:db8::1]:443", drop, 0},
		{udp, "198.18.0.1:443", drop, 0},
	} {
		t.Run(test.to, func(t *testing.T) {
			arrival := arrivalAt(test.protocol, test.to)
			got, err := steer.objects.Steer.Run(&ebpf.RunOptions{Context: arrival, ContextOut: arrival})
			require(t, err)
			if got != test.verdict || arrival.Cookie != test.socket {
				t.Errorf("protocol %d: verdict %d, socket %d; want %d, %d", test.protocol, got, arrival.Cookie, test.verdict, test.socket)
			}
		})
	}
}

func TestSteerWithoutListenersDrops(t *testing.T) {
	steer, err := LoadSteer()
	require(t, err)
	defer func() { require(t, steer.Close()) }()
	fd4, _ := listenerSocket(t, "tcp4", "127.0.0.1:0")
	require(t, steer.configure(testSession().Own4, netip.Addr{}, fd4, -1))
	got, err := steer.objects.Steer.Run(&ebpf.RunOptions{Context: arrivalAt(tcp, "[2001:db8::1]:443")})
	require(t, err)
	if got != drop {
		t.Errorf("native IPv6 on a host without: verdict %d", got)
	}
}
