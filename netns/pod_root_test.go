// SPDX-License-Identifier: Apache-2.0

//go:build root

package netns_test

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/phantom-ns/phantom-ns/netns"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// bare makes a namespace as a runtime does, with lo down, and mounts it where
// the returned path says.
func bare(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "net")
	must(t, os.WriteFile(path, nil, 0))
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	const self = "/proc/thread-self/ns/net"
	home, err := unix.Open(self, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	must(t, err)
	defer unix.Close(home)
	must(t, unix.Unshare(unix.CLONE_NEWNET))
	err = unix.Mount(self, path, "", unix.MS_BIND, "")
	must(t, errors.Join(err, unix.Setns(home, unix.CLONE_NEWNET)))
	t.Cleanup(func() { must(t, unix.Unmount(path, unix.MNT_DETACH)) })
	return path
}

func opened(t *testing.T, path string) *netns.Namespace {
	t.Helper()
	ns, err := netns.Open(path)
	must(t, err)
	t.Cleanup(func() { must(t, ns.Close()) })
	return ns
}

// pod is a namespace with a pair to another one, which stands for the host and
// its network.
type pod struct {
	*netns.Namespace
	outside *netns.Namespace
}

var (
	podAddr4     = netip.MustParsePrefix("203.0.113.10/24")
	podAddr6     = netip.MustParsePrefix("2001:db8:1::10/64")
	outsideAddr4 = netip.MustParsePrefix("203.0.113.1/24")
	outsideAddr6 = netip.MustParsePrefix("2001:db8:1::1/64")
)

// kinds are the ways in which runtimes connect a pod; the thread's namespace
// becomes what such a host's is.
var kinds = map[string]func(pod *netns.Namespace) error{
	"ptp": func(pod *netns.Namespace) error { return pair("host0", "eth0", pod) },
	"bridge": func(pod *netns.Namespace) error {
		bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "host0"}}
		if err := errors.Join(netlink.LinkAdd(bridge), pair("port0", "eth0", pod)); err != nil {
			return err
		}
		port, err := netlink.LinkByName("port0")
		if err != nil {
			return err
		}
		return errors.Join(netlink.LinkSetMaster(port, bridge), netlink.LinkSetUp(port))
	},
	"macvlan": func(pod *netns.Namespace) error {
		parent, err := newParent()
		if err != nil {
			return err
		}
		return netlink.LinkAdd(&netlink.Macvlan{
			LinkAttrs: netlink.LinkAttrs{Name: "eth0", ParentIndex: parent, Namespace: netlink.NsFd(pod.FD())},
			Mode:      netlink.MACVLAN_MODE_BRIDGE,
		})
	},
	"ipvlan": func(pod *netns.Namespace) error {
		parent, err := newParent()
		if err != nil {
			return err
		}
		return netlink.LinkAdd(&netlink.IPVlan{
			LinkAttrs: netlink.LinkAttrs{Name: "eth0", ParentIndex: parent, Namespace: netlink.NsFd(pod.FD())},
			Mode:      netlink.IPVLAN_MODE_L2,
		})
	},
}

// newParent makes the link that others share. Its other end is the network.
func newParent() (int, error) {
	err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "host0"}, PeerName: "parent0"})
	if err != nil {
		return 0, err
	}
	parent, err := netlink.LinkByName("parent0")
	if err != nil {
		return 0, err
	}
	// The host itself says nothing by it.
	err = os.WriteFile("/proc/sys/net/ipv6/conf/parent0/disable_ipv6", []byte("1"), 0)
	return parent.Attrs().Index, errors.Join(err, netlink.LinkSetUp(parent))
}

// unknown are the kinds that this kernel is built without.
func unknown(t *testing.T) map[string]bool {
	t.Helper()
	unknown := make(map[string]bool)
	inside(t, opened(t, bare(t)), func() error {
		parent, err := newParent()
		if err != nil {
			return err
		}
		err = netlink.LinkAdd(&netlink.IPVlan{LinkAttrs: netlink.LinkAttrs{Name: "eth0", ParentIndex: parent}})
		if unknown["ipvlan"] = errors.Is(err, unix.EOPNOTSUPP); unknown["ipvlan"] {
			return nil
		}
		return err
	})
	return unknown
}

// pair makes one with its second end in another namespace.
func pair(name, peer string, in *netns.Namespace) error {
	return netlink.LinkAdd(&netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: peer, PeerNamespace: netlink.NsFd(in.FD()),
	})
}

func newPod(t *testing.T) *pod { return newPodOf(t, "ptp") }

func newPodOf(t *testing.T, kind string) *pod {
	t.Helper()
	p := &pod{Namespace: opened(t, bare(t)), outside: opened(t, bare(t))}
	inside(t, p.outside, func() error { return kinds[kind](p.Namespace) })
	connect(t, p.outside, "host0", outsideAddr4, outsideAddr6)
	connect(t, p.Namespace, "eth0", podAddr4, podAddr6)
	return p
}

// connect sets lo and a link of a namespace up, with addresses.
func connect(t *testing.T, ns *netns.Namespace, name string, addrs ...netip.Prefix) {
	t.Helper()
	inside(t, ns, func() error {
		link, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		lo, err := netlink.LinkByIndex(1)
		if err != nil {
			return err
		}
		errs := []error{
			// A link-local address can be used at once.
			os.WriteFile("/proc/sys/net/ipv6/conf/"+name+"/accept_dad", []byte("0"), 0),
			netlink.LinkSetUp(lo), netlink.LinkSetUp(link),
		}
		for _, a := range addrs {
			errs = append(errs, netlink.AddrAdd(link, &netlink.Addr{
				IPNet: &net.IPNet{IP: a.Addr().AsSlice(), Mask: net.CIDRMask(a.Bits(), a.Addr().BitLen())},
				Flags: unix.IFA_F_NODAD,
			}))
		}
		return errors.Join(errs...)
	})
}

func TestOpenPins(t *testing.T) {
	path := bare(t)
	first := opened(t, path)
	must(t, unix.Unmount(path, unix.MNT_DETACH))
	must(t, unix.Mount(bare(t), path, "", unix.MS_BIND, ""))
	second := opened(t, path)
	var a, b unix.Stat_t
	inside(t, first, func() error { return unix.Stat("/proc/thread-self/ns/net", &a) })
	inside(t, second, func() error { return unix.Stat("/proc/thread-self/ns/net", &b) })
	if a.Ino == b.Ino {
		t.Errorf("both are %d", a.Ino)
	}
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	must(t, os.Chmod(dir, 0o755))
	in := func(name string) string { return filepath.Join(dir, name) }
	ns := bare(t)
	must(t, os.Mkdir(in("open"), 0o777))
	must(t, os.Chmod(in("open"), 0o777))
	must(t, os.Mkdir(in("theirs"), 0o755))
	must(t, os.Chown(in("theirs"), 12345, 12345))
	must(t, errors.Join(
		unix.Mkfifo(in("fifo"), 0o666), os.WriteFile(in("file"), nil, 0o644),
		os.Symlink(ns, in("link")), os.Symlink(ns, in("planted")), os.Lchown(in("planted"), 12345, 12345),
		os.Symlink(ns, in("open/link")), os.Symlink(ns, in("theirs/link")),
		os.Symlink("loop", in("loop")), os.Symlink("../"+filepath.Base(dir)+"/link", in("twice")),
		os.Symlink("/proc/self/ns/net", in("host")), os.Symlink("/dev/zero", in("device")),
	))
	long := "/run/" + string(make([]byte, unix.PathMax))
	pid1 := netns.ErrHostNetwork
	if _, err := os.Readlink("/proc/1/ns/net"); err != nil {
		pid1 = unix.EACCES // a machine that keeps even root from tracing PID 1
	}
	for path, want := range map[string]error{
		ns: nil, in("link"): nil, in("twice"): nil,
		in("fifo"): netns.ErrNotNamespace, in("file"): netns.ErrNotNamespace, dir: netns.ErrNotNamespace,
		in("device"): netns.ErrNotNamespace, "/dev/zero": netns.ErrNotNamespace, "/": netns.ErrNotNamespace,
		"/proc/self/ns/mnt": netns.ErrNotNamespace, "/proc/self/ns/pid": netns.ErrNotNamespace,
		"/proc/self/ns/net": netns.ErrHostNetwork, "/proc/1/ns/net": pid1,
		"/proc/thread-self/ns/net": netns.ErrHostNetwork, in("host"): netns.ErrHostNetwork,
		in("planted"): unix.EPERM, in("open/link"): unix.EPERM, in("theirs/link"): unix.EPERM,
		in("loop"): unix.ELOOP, "/proc/self/root" + ns: unix.ELOOP, "/proc/self/cwd/x": unix.ELOOP,
		in("none"): unix.ENOENT, in("file") + "/x": unix.ENOTDIR,
		"": unix.EINVAL, "run/netns/x": unix.EINVAL, "/run/netns/\x00": unix.EINVAL, long: unix.ENAMETOOLONG,
	} {
		found, err := netns.Open(path)
		if !errors.Is(err, want) || (err == nil) != (want == nil) {
			t.Errorf("open %.80q: %v, want %v", path, err, want)
		}
		if err == nil {
			must(t, found.Close())
		}
	}
}

func TestSealRuntimesNamespace(t *testing.T) {
	ns := opened(t, bare(t))
	for range 2 { // again, as after a restart
		must(t, ns.Seal("eth0"))
	}
	needIPv6(t, ns)
	inside(t, ns, func() error {
		addrs, err := netlink.AddrList(nil, netlink.FAMILY_ALL)
		if n := len(addrs); n != 4 {
			t.Errorf("%d addresses: %v", n, addrs)
		}
		return errors.Join(err,
			arrives(t, netip.MustParseAddrPort("8.8.8.8:443")), arrives(t, netip.MustParseAddrPort("[2001:4860:4860::8888]:443")))
	})
}

func TestSealRefuses(t *testing.T) {
	for name, fill := range map[string]func() error{
		"link": func() error { return netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0"}}) },
		"address": func() error {
			lo, err := netlink.LinkByIndex(1)
			if err != nil {
				return err
			}
			return netlink.AddrAdd(lo, &netlink.Addr{IPNet: &net.IPNet{IP: net.IPv4(203, 0, 113, 9).To4(), Mask: net.CIDRMask(32, 32)}})
		},
	} {
		t.Run(name, func(t *testing.T) {
			ns := opened(t, bare(t))
			inside(t, ns, fill)
			if err := ns.Seal("eth0"); !errors.Is(err, netns.ErrNotEmpty) {
				t.Errorf("seal: %v, want %v", err, netns.ErrNotEmpty)
			}
		})
	}
}

// The test's own namespace is the host of these links.
func TestUplinks(t *testing.T) {
	outside := opened(t, bare(t))
	ns, third := opened(t, bare(t)), opened(t, bare(t))
	var want []netns.Uplink
	inside(t, outside, func() error {
		return errors.Join(
			netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0"}}),
			pair("heth0", "eth0", ns), pair("heth1", "eth1", ns),
			netlink.LinkAdd(&netlink.Macvlan{
				LinkAttrs: netlink.LinkAttrs{Name: "mac0", ParentIndex: index("heth1"), Namespace: netlink.NsFd(ns.FD())},
				Mode:      netlink.MACVLAN_MODE_BRIDGE,
			}))
	})
	inside(t, third, func() error { return pair("far0", "third0", ns) })
	connect(t, ns, "eth0", podAddr4, podAddr6)
	connect(t, ns, "eth1", netip.MustParsePrefix("2001:db8:2::10/128"))
	inside(t, ns, func() error {
		return errors.Join(netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0"}}),
			pair("in0", "in1", ns))
	})
	var got []netns.Uplink
	inside(t, outside, func() error {
		want = []netns.Uplink{
			{Name: "br0", Kind: "bridge"},
			{Name: "eth0", Kind: "veth", HostIndex: index("heth0"), Addresses: []netip.Prefix{podAddr4, podAddr6}},
			{Name: "eth1", Kind: "veth", HostIndex: index("heth1"), Addresses: []netip.Prefix{netip.MustParsePrefix("2001:db8:2::10/128")}},
			{Name: "in0", Kind: "veth"}, {Name: "in1", Kind: "veth"},
			{Name: "mac0", Kind: "macvlan"},
			{Name: "third0", Kind: "veth"},
		}
		var err error
		got, err = ns.Uplinks()
		return err
	})
	slices.SortFunc(got, func(a, b netns.Uplink) int { return slices.Compare([]byte(a.Name), []byte(b.Name)) })
	for i, w := range want {
		if i >= len(got) {
			t.Fatalf("no %+v", w)
		}
		g := got[i]
		g.Addresses = slices.DeleteFunc(g.Addresses, func(p netip.Prefix) bool { return p.Addr().IsLinkLocalUnicast() })
		if g.Name != w.Name || g.Kind != w.Kind || g.HostIndex != w.HostIndex || g.Index == 0 || !slices.Equal(g.Addresses, w.Addresses) {
			t.Errorf("link is %+v, want %+v", g, w)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d links: %+v", len(got), got)
	}
}

// index of a link of the thread's namespace; 0 is none's.
func index(name string) int {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return 0
	}
	return link.Attrs().Index
}

func TestFenceIsChecked(t *testing.T) {
	p := newPod(t)
	if err := p.CheckFence(); !errors.Is(err, netns.ErrFenceChanged) {
		t.Errorf("check without fence: %v", err)
	}
	for range 2 {
		must(t, p.Fence())
		must(t, p.CheckFence())
	}
	must(t, p.Unfence())
	must(t, p.Unfence())
	if err := p.CheckFence(); !errors.Is(err, netns.ErrFenceChanged) {
		t.Errorf("check after unfence: %v", err)
	}
}
