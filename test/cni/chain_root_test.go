// SPDX-License-Identifier: Apache-2.0

//go:build root

package cni

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	current "github.com/containernetworking/cni/pkg/types/100"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/phantom-ns/phantom-ns/test/rig"
)

// families are the mixes of K4, with the ranges that host-local gives from.
var families = map[string][]string{
	"IPv4":       {"10.91.0.0/24"},
	"IPv6":       {"fd91::/64"},
	"dual stack": {"10.92.0.0/24", "fd92::/64"},
}

// ranges writes ipam's part for a mix.
func (n *node) ranges(subnets []string) string {
	var ranges, routes []string
	for _, s := range subnets {
		ranges = append(ranges, fmt.Sprintf(`[{"subnet":%q}]`, s))
		all := "0.0.0.0/0"
		if strings.Contains(s, ":") {
			all = "::/0"
		}
		routes = append(routes, fmt.Sprintf(`{"dst":%q}`, all))
	}
	return fmt.Sprintf(`"ipam":{"type":"host-local","dataDir":%q,"ranges":[%s],"routes":[%s]}`,
		filepath.Join(n.scratch, "ipam"), strings.Join(ranges, ","), strings.Join(routes, ","))
}

// first returns the plugin that makes the interface. Each chain has a bridge of
// its own, as its addresses are.
func (n *node) first(kind string, subnets []string) string {
	more := map[string]string{
		"bridge":  `"bridge":"cni` + fmt.Sprint(len(subnets)) + subnets[0][2:4] + `","isGateway":true,`,
		"ptp":     "",
		"macvlan": `"master":"uplink0",`,
		"ipvlan":  `"master":"uplink0",`,
	}
	return `{"type":"` + kind + `",` + more[kind] + n.ranges(subnets) + `}`
}

// uplink gives the world an Ethernet link, which macvlan needs.
func (n *node) uplink(t *testing.T) {
	t.Helper()
	err := n.Do(func() error {
		pair := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "uplink0"}, PeerName: "uplink1"}
		if err := netlink.LinkAdd(pair); err != nil {
			return err
		}
		for _, name := range []string{"uplink0", "uplink1"} {
			link, err := netlink.LinkByName(name)
			if err != nil {
				return err
			}
			if err := netlink.LinkSetUp(link); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatalf("make uplink: %v", err)
	}
}

// K4: after bridge and ptp, in every mix of families: the swap works, the
// result is the plugin's before, inbound connections are answered, and what
// goes elsewhere is refused at once.
func TestK4Chained(t *testing.T) {
	n := newNode(t)
	for _, kind := range []string{"bridge", "ptp"} {
		for mix, subnets := range families {
			t.Run(kind+" "+mix, func(t *testing.T) {
				l := n.list(t, "1.0.0", strings.ReplaceAll(kind+mix, " ", ""), n.first(kind, subnets), n.ours(underWeb))
				c := n.newContainer(t)
				r := c.mustAdd(t, l)
				addresses := addressesOf(t, r, len(subnets))
				if err := c.check(l); err != nil {
					t.Errorf("CHECK: %v", err)
				}
				if got := c.swaps(t); got != "swapped" {
					t.Errorf("swap: %s", got)
				}
				for _, a := range addresses {
					c.answers(t, a)
				}
				if got, exit := c.run(t, "curl", "-sS", "--max-time", "10", "http://203.0.113.99/"); exit != 7 {
					t.Errorf("elsewhere: exit %d: %s", exit, got)
				}
			})
		}
	}
}

// addressesOf returns the container's addresses in a result.
func addressesOf(t *testing.T, r any, want int) []netip.Addr {
	t.Helper()
	result, ok := r.(*current.Result)
	if !ok {
		t.Fatalf("result is %T", r)
	}
	var all []netip.Addr
	for _, ip := range result.IPs {
		a, _ := netip.AddrFromSlice(ip.Address.IP)
		all = append(all, a.Unmap())
	}
	if len(all) != want {
		t.Fatalf("%d addresses, want %d: %v", len(all), want, all)
	}
	return all
}

// answers proves that the node reaches a server of the container's, as a
// kubelet's probe does, and gets its answer.
func (c *container) answers(t *testing.T, a netip.Addr) {
	t.Helper()
	var l net.Listener
	err := c.n.Do(func() (err error) {
		return inside(c.NetNS, func() error {
			l, err = new(net.ListenConfig).Listen(context.Background(), "tcp", netip.AddrPortFrom(a, 8080).String())
			return err
		})
	})
	if err != nil {
		t.Fatalf("listen in the container: %v", err)
	}
	defer l.Close()
	go func() {
		if conn, err := l.Accept(); err == nil {
			conn.Write([]byte("ready"))
			conn.Close()
		}
	}()
	cmd := exec.Command("curl", "-sS", "--max-time", "10", "telnet://"+netip.AddrPortFrom(a, 8080).String())
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := c.n.Do(cmd.Start); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil || out.String() != "ready" {
		t.Errorf("probe of %s: %v, %q", a, err, &out)
	}
}

// After macvlan and ipvlan there is no link of the host's to fence: refused,
// unless the configuration accepts that.
func TestK4UnfencedIsRefusedUnlessAccepted(t *testing.T) {
	n := newNode(t)
	n.uplink(t)
	for _, kind := range n.overUplink(t) {
		t.Run(kind, func(t *testing.T) { n.unfenced(t, kind) })
	}
}

func (n *node) unfenced(t *testing.T, kind string) {
	subnets := []string{"10.93.0.0/24", "fd93::/64"}
	refused := n.list(t, "1.0.0", kind, n.first(kind, subnets), n.ours(underWeb))
	c := n.newContainer(t)
	_, err := c.add(refused)
	wantCode(t, "ADD", err, 101)
	if err := c.del(refused); err != nil {
		t.Errorf("DEL after the refusal: %v", err)
	}

	accepted := n.list(t, "1.0.0", kind+"2", n.first(kind, subnets), n.ours(underWeb+`,"unfencedLink":"accept"`))
	c = n.newContainer(t)
	c.mustAdd(t, accepted)
	if got := c.swaps(t); got != "swapped" {
		t.Errorf("swap: %s", got)
	}
	if got, exit := c.run(t, "curl", "-sS", "--max-time", "10", "http://203.0.113.99/"); exit != 7 {
		t.Errorf("elsewhere: exit %d: %s", exit, got)
	}
}

// overUplink are the kinds that this kernel is built with.
func (n *node) overUplink(t *testing.T) []string {
	t.Helper()
	kinds := []string{"macvlan"}
	err := n.Do(func() error {
		parent, err := netlink.LinkByName("uplink0")
		if err != nil {
			return err
		}
		link := &netlink.IPVlan{LinkAttrs: netlink.LinkAttrs{Name: "trial0", ParentIndex: parent.Attrs().Index}}
		if err := netlink.LinkAdd(link); errors.Is(err, unix.EOPNOTSUPP) {
			return nil
		} else if err != nil {
			return err
		}
		kinds = append(kinds, "ipvlan")
		return netlink.LinkDel(link)
	})
	if err != nil {
		t.Fatalf("try ipvlan: %v", err)
	}
	return kinds
}

// frame sends a broadcast frame with a datagram to a stranger, past every hook
// of sockets and every rule inside.
const frame = `import socket
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
s.bind(("eth0", 0))
s.send(b"\xff" * 6 + bytes([2, 0, 0, 0, 0, 1]) + bytes.fromhex("0800" "4500001c0000000040113a6801020304cb007163" "0009000900080000"))`

// What a container's root sends to strangers is heard on no link of the node
// but its own end of the container's.
func TestK4NothingLeavesTheNode(t *testing.T) {
	n := newNode(t)
	l := n.list(t, "1.0.0", "bridge", n.first("bridge", families["dual stack"]), n.ours(underWeb))
	c := n.newContainer(t)
	c.mustAdd(t, l)
	ends := n.pairs(t)
	tap := n.Tap(func(p rig.Packet) bool { return ends[p.Interface] || withinNode(p) })
	if got := c.swaps(t); got != "swapped" {
		t.Errorf("swap: %s", got)
	}
	for _, try := range []struct {
		words []string
		exit  int
	}{
		{[]string{"curl", "-sS", "--max-time", "5", "http://203.0.113.99/"}, 7},
		{[]string{"curl", "-sS", "--max-time", "5", "http://[2001:db8:1::99]/"}, 7},
		{[]string{"bash", "-c", "echo x >/dev/udp/203.0.113.99/9"}, 1},
		{[]string{"bash", "-c", "echo x >/dev/udp/203.0.113.99/53"}, 0}, // to the stub
		{[]string{"python3", "-c", "import socket; socket.socket(2, socket.SOCK_RAW, 1).sendto(bytes(8), ('203.0.113.99', 0))"}, 1},
		{[]string{"python3", "-c", frame}, 0},
	} {
		if out, exit := c.run(t, try.words...); exit != try.exit {
			t.Errorf("%q: exit %d, want %d: %s", try.words, exit, try.exit, out)
		}
	}
	for _, p := range tap.Stop() {
		t.Errorf("left: %v", p)
	}
	n.hearsOthers(t)
}

// hearsOthers proves that the tap would have heard it: the same frame of a
// container that is nobody's.
func (n *node) hearsOthers(t *testing.T) {
	t.Helper()
	c := n.newContainer(t)
	c.mustAdd(t, n.list(t, "1.0.0", "bridge", n.first("bridge", families["dual stack"])))
	ends := n.pairs(t)
	tap := n.Tap(func(p rig.Packet) bool { return ends[p.Interface] || withinNode(p) })
	c.run(t, "python3", "-c", frame)
	if len(tap.Stop()) == 0 {
		t.Error("the tap is deaf")
	}
}

// pairs returns the links of the world that are an end of a pair.
func (n *node) pairs(t *testing.T) map[int]bool {
	t.Helper()
	ends := map[int]bool{}
	err := n.Do(func() error {
		links, err := netlink.LinkList()
		for _, l := range links {
			ends[l.Attrs().Index] = l.Type() == "veth"
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return ends
}
