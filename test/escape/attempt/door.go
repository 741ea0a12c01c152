// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net"
	"strings"
	"unsafe"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// doorWays are the kernel's other doors to a network, or to other processes'
// sockets (R6).
var doorWays = map[string]way{
	"bpf_map":       bpfMap,
	"bpf_prog":      refused(unix.SYS_BPF, unix.BPF_PROG_LOAD, pointer(&attribute), 128),
	"bpf_id":        refused(unix.SYS_BPF, unix.BPF_LINK_GET_NEXT_ID, pointer(&attribute), 128),
	"perf":          perf,
	"userfaultfd":   refused(unix.SYS_USERFAULTFD, unix.O_CLOEXEC),
	"tun":           openedFile("/dev/net/tun"),
	"tun_made":      madeDevice("/tmp/tun", 10, 200),
	"tap_device":    openedFile("/dev/tap0"),
	"vhost_vsock":   openedFile("/dev/vhost-vsock"),
	"ppp":           openedFile("/dev/ppp"),
	"links":         links,
	"add_address":   addAddress,
	"add_route":     addRoute,
	"del_route":     delRoute,
	"add_dummy":     addLink(&netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Name: "out0"}}),
	"add_veth":      addLink(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "out0"}, PeerName: "out1"}),
	"add_wireguard": addLink(&netlink.Wireguard{LinkAttrs: netlink.LinkAttrs{Name: "wg0"}}),
	"add_rule":      addRule,
	"add_neighbour": addNeighbour,
	"lo_down":       loDown,
	"move_link":     moveLink,
	"ioctl_lo":      ioctlInterface(unix.SIOCSIFFLAGS, "lo"),
	"ioctl_bridge":  ioctlInterface(unix.SIOCBRADDBR, "br0"),
	"socket_netns":  socketNamespace,
	"igmp_join":     igmpJoin,
}

var attribute [128]byte // union bpf_attr

func pointer[T any](p *T) uintptr { return uintptr(unsafe.Pointer(p)) }

// refused makes a call that must not succeed.
func refused(number uintptr, args ...uintptr) way {
	return func() string {
		var s steps
		s.did("call", call(number, args...))
		return s.String()
	}
}

func bpfMap() string {
	// An array of one u32.
	attribute[0], attribute[4], attribute[8], attribute[12] = unix.BPF_MAP_TYPE_ARRAY, 4, 4, 1
	return refused(unix.SYS_BPF, unix.BPF_MAP_CREATE, pointer(&attribute), uintptr(len(attribute)))()
}

func perf() string {
	var s steps
	attr := unix.PerfEventAttr{Type: unix.PERF_TYPE_SOFTWARE, Config: unix.PERF_COUNT_SW_CPU_CLOCK, Bits: unix.PerfBitExcludeKernel}
	_, err := unix.PerfEventOpen(&attr, 0, -1, -1, 0)
	s.did("self", err)
	_, err = unix.PerfEventOpen(&attr, 1, -1, -1, 0)
	s.did("init", err)
	return s.String()
}

// madeDevice makes a device file and opens it.
func madeDevice(path string, major, minor uint32) way {
	return func() string {
		var s steps
		if s.did("mknod", unix.Mknod(path, unix.S_IFCHR|0o666, int(unix.Mkdev(major, minor)))) {
			fd, err := unix.Open(path, unix.O_RDWR, 0)
			s.did("open", err)
			unix.Close(fd)
		}
		return s.String()
	}
}

// links lists the interfaces that the session has.
func links() string {
	all, err := net.Interfaces()
	if err != nil {
		return word(err)
	}
	var names []string
	for _, i := range all {
		names = append(names, i.Name)
	}
	return strings.Join(names, ",")
}

var everywhere = &net.IPNet{IP: net.IPv4zero, Mask: net.CIDRMask(0, 32)}

// loopback is the one interface, lo.
func loopback() netlink.Link {
	link, err := netlink.LinkByIndex(1)
	if err != nil {
		fail(err)
	}
	return link
}

func addAddress() string {
	address, err := netlink.ParseAddr("203.0.113.9/24")
	if err != nil {
		return word(err)
	}
	return word(netlink.AddrAdd(loopback(), address))
}

func addRoute() string {
	return word(netlink.RouteAdd(&netlink.Route{LinkIndex: 1, Dst: everywhere}))
}

// delRoute tries to take the AnyIP route away.
func delRoute() string {
	route := &netlink.Route{LinkIndex: 1, Dst: everywhere, Table: unix.RT_TABLE_LOCAL, Type: unix.RTN_LOCAL, Scope: unix.RT_SCOPE_HOST}
	return word(netlink.RouteDel(route))
}

func addLink(link netlink.Link) way {
	return func() string { return word(netlink.LinkAdd(link)) }
}

func addRule() string {
	rule := netlink.NewRule()
	rule.Priority, rule.Table = 1, 100
	return word(netlink.RuleAdd(rule))
}

func addNeighbour() string {
	return word(netlink.NeighAdd(&netlink.Neigh{
		LinkIndex: 1, IP: net.IPv4(192, 0, 2, 7), State: netlink.NUD_PERMANENT,
		HardwareAddr: net.HardwareAddr{2, 0, 0, 0, 0, 1},
	}))
}

func loDown() string { return word(netlink.LinkSetDown(loopback())) }

// moveLink tries to fetch a host's link by the pid that its namespace has.
func moveLink() string { return word(netlink.LinkSetNsPid(loopback(), 1)) }

func ioctlInterface(request uint, name string) way {
	return func() string {
		ifreq, err := unix.NewIfreq(name)
		if err != nil {
			return word(err)
		}
		var s steps
		s.did("ioctl", unix.IoctlIfreq(socket(unix.AF_INET, unix.SOCK_DGRAM), request, ifreq))
		return s.String()
	}
}

// socketNamespace asks a socket for its network namespace (SIOCGSKNS).
func socketNamespace() string {
	var s steps
	_, err := unix.IoctlRetInt(socket(unix.AF_INET, unix.SOCK_DGRAM), unix.SIOCGSKNS)
	s.did("ioctl", err)
	return s.String()
}

// igmpJoin makes the kernel send a report of its own.
func igmpJoin() string {
	var s steps
	fd := socket(unix.AF_INET, unix.SOCK_DGRAM)
	group := &unix.IPMreqn{Multiaddr: [4]byte{224, 1, 2, 3}, Ifindex: 1}
	s.did("join", unix.SetsockoptIPMreqn(fd, unix.SOL_IP, unix.IP_ADD_MEMBERSHIP, group))
	return s.String()
}

// openedFile opens a file that must not be there.
func openedFile(path string) way {
	return func() string {
		var s steps
		fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		s.did("open", err)
		unix.Close(fd)
		return s.String()
	}
}

// had names the numbers in [from, to) that can be had, in one word.
func had(from, to int, can func(int) bool) string {
	var all []string
	for number := from; number < to; number++ {
		if can(number) {
			all = append(all, fmt.Sprint(number))
		}
	}
	if all == nil {
		return "none"
	}
	return strings.Join(all, ",")
}
