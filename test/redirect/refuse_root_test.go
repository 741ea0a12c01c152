// SPDX-License-Identifier: Apache-2.0

//go:build root

package redirect

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/phantom-ns/phantom-ns/bpf"
	"golang.org/x/sys/unix"
)

// outcome is what an attempt must lead to: the errno, and the denial if there must be one.
type outcome struct {
	errno  string
	reason bpf.Reason
	dst    string
}

var outcomes = map[string]outcome{
	"mptcp":                       {"EPROTONOSUPPORT", bpf.ReasonPass, ""},
	"mptcp6":                      {"EPROTONOSUPPORT", bpf.ReasonPass, ""},
	"sctp":                        {"EPROTONOSUPPORT", bpf.ReasonPass, ""}, // whether it is told depends on the kernel:
	"udplite":                     {"EPROTONOSUPPORT", bpf.ReasonPass, ""}, // one that has none of these refuses by itself
	"ping":                        {"EPROTONOSUPPORT", bpf.ReasonProtocol, ""},
	"ping6":                       {"EPROTONOSUPPORT", bpf.ReasonProtocol, ""},
	"raw":                         {"EPROTONOSUPPORT", bpf.ReasonProtocol, ""},
	"tcp declared":                {"ok", bpf.ReasonPass, ""},
	"tcp undeclared":              {"ECONNREFUSED", bpf.ReasonUndeclared, "203.0.113.1:443"},
	"tcp undeclared v6":           {"ECONNREFUSED", bpf.ReasonUndeclared, "[2001:db9::1]:443"},
	"tcp undeclared mapped":       {"ECONNREFUSED", bpf.ReasonUndeclared, "203.0.113.1:443"},
	"tcp listener":                {"ECONNREFUSED", bpf.ReasonListener, "127.0.0.1:981"},
	"tcp listener other loopback": {"ECONNREFUSED", bpf.ReasonListener, "127.9.9.9:981"},
	"tcp listener unspecified":    {"ECONNREFUSED", bpf.ReasonListener, "0.0.0.0:981"},
	"tcp listener unspecified v6": {"ECONNREFUSED", bpf.ReasonListener, "[::]:981"},
	"tcp listener v6":             {"ECONNREFUSED", bpf.ReasonListener, "[::1]:981"},
	"tcp listener mapped":         {"ECONNREFUSED", bpf.ReasonListener, "127.0.0.1:981"},
	"tcp listener own":            {"ECONNREFUSED", bpf.ReasonListener, "198.18.255.1:981"},
	"tcp own server":              {"ok", bpf.ReasonPass, ""},
	"tcp device":                  {"ENETUNREACH", bpf.ReasonDevice, "10.1.2.3:443"},
	"tcp device lo":               {"ok", bpf.ReasonPass, ""},
	"udp connect":                 {"ok", bpf.ReasonPass, ""},
	"udp connected send":          {"EPERM", bpf.ReasonUDP, "203.0.113.1:443"},
	"udp connected send v6":       {"EPERM", bpf.ReasonUDP, "[2001:db9::1]:443"},
	"udp connected send dns":      {"ok", bpf.ReasonPass, ""},
	"udp send":                    {"ECONNREFUSED", bpf.ReasonUDP, "203.0.113.1:443"},
	"udp send declared":           {"ECONNREFUSED", bpf.ReasonUDP, "10.1.2.3:443"},
	"udp send v6":                 {"ECONNREFUSED", bpf.ReasonUDP, "[2001:db9::1]:443"},
	"udp send mapped":             {"ECONNREFUSED", bpf.ReasonUDP, "203.0.113.1:443"},
	"udp send loopback":           {"ok", bpf.ReasonPass, ""},
	"udp send dns":                {"ok", bpf.ReasonPass, ""},
	"udp send by device":          {"EPERM", bpf.ReasonInterface, "203.0.113.1:53"},
	"udp send with source route":  {"EPERM", bpf.ReasonPacket, "none"},
	"reconnect to loopback":       {"ok", bpf.ReasonPass, ""},
}

// Each refusal is immediate, has its own errno, and is told with who and whereto, in order.
func TestEverythingElseIsRefused(t *testing.T) {
	w := newWorld(t, "10.0.0.0/8", "2001:db8::/32")
	w.addDevice()
	w.allowPing()
	newAcceptor(w)
	denials := must(w.object.Denials())(t)
	deadline := time.AfterFunc(time.Minute, func() { denials.Close() }) // ends a Read that waits for what was not told
	defer deadline.Stop()
	defer denials.Close()
	cmd := w.stage("redirect: refuse")
	lines := strings.Split(strings.TrimSpace(w.output(cmd)), "\n")
	if len(lines) != len(outcomes) {
		t.Errorf("%d attempts, %d outcomes", len(lines), len(outcomes))
	}
	for _, line := range lines {
		name, got, _ := strings.Cut(line, ": ")
		t.Run(name, func(t *testing.T) {
			want, ok := outcomes[name]
			if !ok {
				t.Fatalf("%s: no outcome is declared", line)
			}
			if got != want.errno && !(w.object.Legacy() && want.errno != "ok" && got == "EPERM") {
				t.Errorf("got %s, want %s", got, want.errno)
			}
			if want.reason == bpf.ReasonPass {
				return
			}
			denial := w.nextDenial(denials)
			if denial.Reason != want.reason || denial.PID != uint32(cmd.Process.Pid) || denial.Netns != w.cookie {
				t.Errorf("told %+v, want reason %s of process %d", denial, want.reason, cmd.Process.Pid)
			}
			if to, err := netip.ParseAddrPort(want.dst); err == nil && denial.Dst != to {
				t.Errorf("told destination %s, want %s", denial.Dst, to)
			}
		})
	}
}

// nextDenial skips what a kernel with MPTCP, SCTP or UDP-Lite tells and one without does not.
func (w *world) nextDenial(denials *bpf.Reader) bpf.Denial {
	w.t.Helper()
	for {
		denial := must(denials.Read())(w.t)
		if !slices.Contains([]uint16{unix.IPPROTO_SCTP, unix.IPPROTO_UDPLITE, unix.IPPROTO_MPTCP}, denial.Proto) {
			return denial
		}
	}
}

// addDevice gives the namespace a device that is up, for as long as the test runs.
func (w *world) addDevice() {
	w.t.Helper()
	check(w.t, w.ns.Do(func() error {
		device, err := os.OpenFile("/dev/net/tun", os.O_RDWR, 0)
		if err != nil {
			return err
		}
		w.t.Cleanup(func() { device.Close() })
		request, err := unix.NewIfreq(tun)
		if err != nil {
			return err
		}
		request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		if err := unix.IoctlIfreq(int(device.Fd()), unix.TUNSETIFF, request); err != nil {
			return fmt.Errorf("make %s: %w", tun, err)
		}
		return raise(request)
	}))
}

func raise(request *unix.Ifreq) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	request.SetUint16(unix.IFF_UP)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, request)
}

// allowPing lets the kernel make ping sockets, so that the refusal is ours.
func (w *world) allowPing() {
	w.t.Helper()
	check(w.t, w.ns.Do(func() error {
		return os.WriteFile("/proc/sys/net/ipv4/ping_group_range", []byte("0 2147483647"), 0)
	}))
}
