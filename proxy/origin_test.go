// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

// answer is what BPF answers for a destination.
func answer(dst netip.AddrPort, comm string) []byte {
	b := make([]byte, originSize)
	if addr := dst.Addr(); addr.Is4() {
		binary.NativeEndian.PutUint16(b, unix.AF_INET)
		copy(b[sockaddr4Bytes:], addr.AsSlice())
	} else {
		binary.NativeEndian.PutUint16(b, unix.AF_INET6)
		copy(b[sockaddr6Bytes:], addr.AsSlice())
	}
	binary.BigEndian.PutUint16(b[sockaddrPort:], dst.Port())
	binary.NativeEndian.PutUint32(b[originPID:], 7)
	binary.NativeEndian.PutUint32(b[originUID:], 1000)
	copy(b[originComm:], comm)
	return b
}

func TestParseOrigin(t *testing.T) {
	for _, dst := range []string{"198.18.0.1:443", "[fd70:6861:6e74::1]:443"} {
		want := netip.MustParseAddrPort(dst)
		o, err := parseOrigin(answer(want, "curl"))
		if err != nil || o != (Origin{Dst: want, PID: 7, UID: 1000, Comm: "curl"}) {
			t.Errorf("%s: %+v, %v", dst, o, err)
		}
	}
	mapped, err := parseOrigin(answer(netip.MustParseAddrPort("[::ffff:198.18.0.1]:443"), "sixteen bytes ab"))
	if err != nil || mapped.Dst.Addr() != netip.MustParseAddr("198.18.0.1") || mapped.Comm != "sixteen bytes ab" {
		t.Errorf("mapped: %+v, %v", mapped, err)
	}
	for name, b := range map[string][]byte{
		"zero":        make([]byte, originSize),
		"no port":     answer(netip.MustParseAddrPort("1.2.3.4:0"), ""),
		"unspecified": answer(netip.MustParseAddrPort("0.0.0.0:5"), ""),
	} {
		if o, err := parseOrigin(b); !errors.Is(err, ErrNoOrigin) {
			t.Errorf("%s: %+v, %v", name, o, err)
		}
	}
}

// TestKernelOriginStraight: a connection straight to a listener on loopback or
// on an own address has no origin; one whose local address is another's has
// come by the second layer.
func TestKernelOriginStraight(t *testing.T) {
	client, server, err := tcpPair()
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	defer server.Close()
	if o, err := KernelOrigin()(server); !errors.Is(err, ErrNoOrigin) {
		t.Errorf("loopback: %+v, %v", o, err)
	}
	dst := netip.MustParseAddrPort("198.18.0.1:443")
	conn := localConn{server, net.TCPAddrFromAddrPort(dst)}
	if o, err := KernelOrigin()(conn); err != nil || o != (Origin{Dst: dst}) {
		t.Errorf("second layer: %+v, %v", o, err)
	}
	if o, err := KernelOrigin(dst.Addr())(conn); !errors.Is(err, ErrNoOrigin) {
		t.Errorf("own address: %+v, %v", o, err)
	}
	if o, err := KernelOrigin()(&net.UnixConn{}); !errors.Is(err, ErrNoOrigin) {
		t.Errorf("unix socket: %+v, %v", o, err)
	}
}

// localConn has another local address.
type localConn struct {
	*net.TCPConn
	local net.Addr
}

func (c localConn) LocalAddr() net.Addr { return c.local }
