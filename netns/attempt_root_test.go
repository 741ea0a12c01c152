// SPDX-License-Identifier: Apache-2.0

//go:build root

package netns_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/phantom-ns/phantom-ns/netns"
)

// attempts is the name under which the test binary runs itself again as a
// program of a container, inside the namespace.
const attempts = "attempts"

func TestMain(m *testing.M) {
	if os.Args[0] == attempts {
		if os.Getuid() == 0 {
			giveUp()
		}
		for _, a := range ways() {
			fmt.Println(a.name, errnoName(a.do()))
		}
		return
	}
	os.Exit(m.Run())
}

// giveUp leaves this thread, which does everything, uid 0 and the one right that
// containers have by default and that opens sockets.
func giveUp() {
	runtime.LockOSThread()
	data := [2]unix.CapUserData{{Effective: 1 << unix.CAP_NET_RAW, Permitted: 1 << unix.CAP_NET_RAW}}
	if err := unix.Capset(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &data[0]); err != nil {
		panic(err)
	}
}

// attempt is one way to send a packet out.
type attempt struct {
	name   string
	user   string // what a user without any right is answered
	raw    string // what root with CAP_NET_RAW alone is answered
	counts string // the counter that counts it: of raw alone with a +
	do     func() error
}

var (
	outside4 = &unix.SockaddrInet4{Port: 9999, Addr: outsideAddr4.Addr().As4()}
	outside6 = &unix.SockaddrInet6{Port: 9999, Addr: outsideAddr6.Addr().As16()}
)

var waysOut = []attempt{
	{"tcp4", "ECONNREFUSED", "ECONNREFUSED", "tcp", func() error { return dial(unix.AF_INET, outside4) }},
	{"tcp6", "ECONNREFUSED", "ECONNREFUSED", "tcp", func() error { return dial(unix.AF_INET6, outside6) }},
	{"fastopen", "ECONNREFUSED", "ECONNREFUSED", "tcp", fastOpen},
	{"udp4", "EPERM", "EPERM", "udp", func() error { return send(unix.AF_INET, unix.SOCK_DGRAM, 0, outside4) }},
	{"udp6", "EPERM", "EPERM", "udp", func() error { return send(unix.AF_INET6, unix.SOCK_DGRAM, 0, outside6) }},
	{"udp4 by device", "EPERM", "EPERM", "udp", func() error {
		return send(unix.AF_INET, unix.SOCK_DGRAM, 0, outside4, option{unix.SOL_SOCKET, unix.SO_BINDTOIFINDEX, index("eth0")})
	}},
	{"broadcast", "EPERM", "EPERM", "udp", func() error {
		return send(unix.AF_INET, unix.SOCK_DGRAM, 0, &unix.SockaddrInet4{Port: 9999, Addr: [4]byte{203, 0, 113, 255}},
			option{unix.SOL_SOCKET, unix.SO_BROADCAST, 1})
	}},
	{"multicast4", "EPERM", "EPERM", "udp", func() error {
		return send(unix.AF_INET, unix.SOCK_DGRAM, 0, &unix.SockaddrInet4{Port: 5353, Addr: [4]byte{224, 0, 0, 251}},
			option{unix.IPPROTO_IP, unix.IP_MULTICAST_LOOP, 0})
	}},
	{"multicast6", "EPERM", "EPERM", "udp", func() error {
		return send(unix.AF_INET6, unix.SOCK_DGRAM, 0, &unix.SockaddrInet6{Port: 5353, ZoneId: uint32(index("eth0")), Addr: [16]byte{0xff, 0x02, 15: 0xfb}},
			option{unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_LOOP, 0})
	}},
	{"udplite", "EPERM", "EPERM", "other", func() error { return send(unix.AF_INET, unix.SOCK_DGRAM, unix.IPPROTO_UDPLITE, outside4) }},
	{"ping4", "EPERM", "EPERM", "icmp", func() error { return send(unix.AF_INET, unix.SOCK_DGRAM, unix.IPPROTO_ICMP, outside4) }},
	// ping_v6_sendmsg drops the error; the socket has the ICMP message's.
	{"ping6", "<nil>", "<nil>", "icmp", func() error { return send(unix.AF_INET6, unix.SOCK_DGRAM, unix.IPPROTO_ICMPV6, outside6) }},
	{"raw icmp", "EPERM", "EPERM", "+icmp", func() error { return send(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP, outside4) }},
	{"raw protocol", "EPERM", "EPERM", "+other", func() error { return send(unix.AF_INET, unix.SOCK_RAW, 253, outside4) }},
	{"raw header", "EPERM", "EPERM", "+udp", func() error {
		return sendBytes(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_RAW, outside4, spoofed())
	}},
	{"raw fragment", "EPERM", "EPERM", "+udp", func() error {
		fragment := spoofed()
		fragment[6], fragment[7] = 0, 1 // the second one
		return sendBytes(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_RAW, outside4, fragment, option{unix.IPPROTO_IP, unix.IP_NODEFRAG, 1})
	}},
	// A router would carry it anywhere, with any option in it.
	{"raw neighbour solicitation", "EPERM", "EPERM", "+icmp", func() error {
		return sendBytes(unix.AF_INET6, unix.SOCK_RAW, unix.IPPROTO_ICMPV6, &unix.SockaddrInet6{Addr: outside6.Addr},
			append([]byte{135, 0, 0, 0, 0, 0, 0, 0}, make([]byte, 16)...), option{unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, 255})
	}},
	{"raw reply of nothing", "EPERM", "EPERM", "+icmp", func() error {
		return sendBytes(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP, outside4, make([]byte, 64)) // type 0
	}},
}

// ways are those that this kernel has: Linux 7.2 has no UDP-Lite.
func ways() []attempt {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, unix.IPPROTO_UDPLITE)
	if err == nil {
		unix.Close(fd)
	}
	return slices.DeleteFunc(slices.Clone(waysOut), func(a attempt) bool {
		return a.name == "udplite" && errors.Is(err, unix.EPROTONOSUPPORT)
	})
}

type option struct{ level, name, value int }

func socketOf(family, kind, protocol int, options ...option) (int, error) {
	fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC, protocol)
	if err != nil {
		return -1, err
	}
	for _, o := range options {
		if err := unix.SetsockoptInt(fd, o.level, o.name, o.value); err != nil {
			unix.Close(fd)
			return -1, fmt.Errorf("option %d/%d: %w", o.level, o.name, err)
		}
	}
	return fd, nil
}

func dial(family int, to unix.Sockaddr) error {
	fd, err := socketOf(family, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Connect(fd, to)
}

func fastOpen() error {
	fd, err := socketOf(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Sendto(fd, []byte("secret"), unix.MSG_FASTOPEN|unix.MSG_NOSIGNAL, outside4)
}

// send sends an echo request, which any other protocol may carry, too.
func send(family, kind, protocol int, to unix.Sockaddr, options ...option) error {
	request := []byte{8, 0, 0, 0, 0, 1, 0, 1}
	if family == unix.AF_INET6 {
		request[0] = 128
	}
	return sendBytes(family, kind, protocol, to, request, options...)
}

func sendBytes(family, kind, protocol int, to unix.Sockaddr, data []byte, options ...option) error {
	fd, err := socketOf(family, kind, protocol, options...)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Sendto(fd, data, 0, to)
}

// spoofed is a whole datagram from an address that is not the pod's.
func spoofed() []byte {
	data := make([]byte, 28)
	data[0], data[8], data[9] = 0x45, 64, unix.IPPROTO_UDP
	copy(data[12:], []byte{203, 0, 113, 77})
	copy(data[16:], outside4.Addr[:])
	binary.BigEndian.PutUint16(data[20:], 1234)
	binary.BigEndian.PutUint16(data[22:], 9999)
	binary.BigEndian.PutUint16(data[24:], 8)
	return data
}

func errnoName(err error) string {
	var errno unix.Errno
	if err == nil || !errors.As(err, &errno) {
		return fmt.Sprint(err)
	}
	return unix.ErrnoName(errno)
}

// attemptAll runs all attempts inside as a program of a container and compares
// what they were answered.
func attemptAll(t *testing.T, ns *netns.Namespace, asRoot bool) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = []string{attempts}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if !asRoot {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 31001, Gid: 31001}}
	}
	inside(t, ns, cmd.Start)
	err := cmd.Wait()
	got := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	tried := ways()
	if err != nil || len(got) != len(tried) {
		t.Fatalf("%v: %s", err, &out)
	}
	for i, a := range tried {
		want := a.user
		if asRoot {
			want = a.raw
		}
		if got[i] != a.name+" "+want {
			t.Errorf("%s, want %s", got[i], want)
		}
	}
}
