// SPDX-License-Identifier: Apache-2.0

//go:build root

package cni

import (
	"fmt"
	"net"
	"slices"
	"testing"

	current "github.com/containernetworking/cni/pkg/types/100"
	"github.com/vishvananda/netlink"

	"github.com/phantom-ns/phantom-ns/enforcer/node/api"
)

const loopback = `{"type":"loopback"}`

// As the only plugin, and beside loopback: the container has an interface of
// the name that was asked for and an address, as far as runtimes look, one way
// to the proxy, and none out.
func TestSealed(t *testing.T) {
	n := newNode(t)
	for name, plugins := range map[string][]string{
		"alone":           {n.ours(underWeb)},
		"after loopback":  {loopback, n.ours(underWeb)},
		"before loopback": {n.ours(underWeb), loopback},
	} {
		for _, version := range []string{"0.3.1", "0.4.0", "1.0.0"} {
			t.Run(name+" "+version, func(t *testing.T) {
				c := n.newContainer(t)
				l := n.list(t, version, "sealed", plugins...)
				made := c.mustAdd(t, l)
				r, err := current.NewResultFromResult(made)
				if err != nil || made.Version() != version {
					t.Fatalf("result of version %s: %v", made.Version(), err)
				}
				if got, want := found(r, "eth0"), "198.18.255.1/32 fd70:6861:6e74:ffff::1/128"; got != want {
					t.Errorf("addresses %q, want %q", got, want)
				}
				if version != "0.3.1" {
					if err := c.check(l); err != nil {
						t.Errorf("CHECK: %v", err)
					}
				}
				if got := c.swaps(t); got != "swapped" {
					t.Errorf("swap: %s", got)
				}
				c.leadsNowhere(t)
			})
		}
	}
}

// found renders the addresses of an interface in a result.
func found(r *current.Result, name string) string {
	var out string
	for _, ip := range r.IPs {
		if ip.Interface != nil && r.Interfaces[*ip.Interface].Name == name {
			if out != "" {
				out += " "
			}
			out += ip.Address.String()
		}
	}
	return out
}

// leadsNowhere proves that the container's links are lo and the two ends of its
// one pair, by which CHECK knows it.
func (c *container) leadsNowhere(t *testing.T) {
	t.Helper()
	var links []string
	err := c.n.Do(func() error {
		return inside(c.NetNS, func() error {
			all, err := netlink.LinkList()
			for _, l := range all {
				a := l.Attrs()
				if a.Flags&net.FlagUp == 0 { // the kernel's own tunnels
					continue
				}
				links = append(links, fmt.Sprintf("%s to %d, elsewhere %t", a.Name, a.ParentIndex, a.NetNsID >= 0))
				if a.Name == c.IfName && a.HardwareAddr.String() != api.SealedMAC {
					t.Errorf("%s has hardware address %s, not %s", a.Name, a.HardwareAddr, api.SealedMAC)
				}
			}
			return err
		})
	})
	want := []string{"lo to 0, elsewhere false", "phantom-end to 3, elsewhere false", "eth0 to 2, elsewhere false"}
	if err != nil || !slices.Equal(links, want) {
		t.Errorf("links %q, want %q: %v", links, want, err)
	}
}

// The policy of a pod is the one that its annotation names; of one that names
// none, the default; and without a default, nothing is let out.
func TestThePolicyOfAPod(t *testing.T) {
	n := newNode(t)
	const from = `,"policyFrom":{"annotation":"phantom-ns.dev/policy"},"capabilities":{"io.kubernetes.cri.pod-annotations":true}`
	for _, test := range []struct {
		name, more  string
		annotations map[string]string
		policy      string
	}{
		{"named", from, map[string]string{"phantom-ns.dev/policy": "web"}, "web"},
		{"named over a default", from + `,"default":"base"`, map[string]string{"phantom-ns.dev/policy": "web"}, "web"},
		{"default", from + `,"default":"web"`, map[string]string{"other": "x"}, "web"},
		{"nothing", from, nil, "none"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := n.newContainer(t).pod("default", test.annotations)
			c.mustAdd(t, n.list(t, "1.0.0", "pods", n.ours(test.more)))
			if got := c.attachment(t).Policy; got != test.policy {
				t.Errorf("policy %q, want %q", got, test.policy)
			}
			want := "swapped"
			if test.policy != "web" {
				want = "exit 6 " // could not resolve host
			}
			if got := c.swaps(t); got != want {
				t.Errorf("swap: %s, want %s", got, want)
			}
		})
	}
	unknown := n.newContainer(t).pod("default", map[string]string{"phantom-ns.dev/policy": "wbe"})
	_, err := unknown.add(n.list(t, "1.0.0", "pods", n.ours(from)))
	wantCode(t, "ADD of a policy that is none", err, 7)
}
