// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"net"
	"net/netip"
	"strings"

	"github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"

	"github.com/phantom-ns/phantom-ns/enforcer/node/api"
)

// network is what the plugins before this one made. Only what is decided by is
// read of it: a conversion would lose what the types of this build do not know.
type network struct {
	Version    string `json:"cniVersion"`
	Interfaces []struct {
		Name    string `json:"name"`
		MAC     string `json:"mac"`
		Sandbox string `json:"sandbox"`
	} `json:"interfaces"`
	IPs []struct {
		Interface *int   `json:"interface"`
		Address   string `json:"address"`
	} `json:"ips"`

	sealed    bool           // no interface but lo in the container
	addresses []netip.Prefix // of the container's other interfaces
}

// readPrevious reads prevResult.
func (c *conf) readPrevious() (*network, error) {
	n := &network{sealed: true}
	if c.previous == nil {
		return n, nil
	}
	if err := json.Unmarshal(c.previous, n); err != nil {
		return nil, types.NewError(types.ErrDecodingFailure, "decode configuration: prevResult", err.Error())
	}
	// 1.0.0 took a key out, and otherwise nothing changed within a major version.
	if n.Version != "" && majorOf(n.Version) != majorOf(c.Version) {
		return nil, invalid("prevResult has version %.20q and the configuration %.20q", n.Version, c.Version)
	}
	return n, n.look()
}

func majorOf(version string) string {
	major, _, _ := strings.Cut(version, ".")
	return major
}

// inside tells whether an interface is one of the container's that leads
// somewhere. CHECK is told of our own, too.
func (n *network) inside(index int) bool {
	at := n.Interfaces[index]
	return at.Sandbox != "" && at.Name != "lo" && at.MAC != api.SealedMAC
}

// look finds the addresses of the container, and whether it has an interface.
// An address without one is the container's.
func (n *network) look() error {
	for i := range n.Interfaces {
		n.sealed = n.sealed && !n.inside(i)
	}
	for _, ip := range n.IPs {
		if at := ip.Interface; at != nil {
			if *at < 0 || *at >= len(n.Interfaces) {
				return invalid("prevResult has an address of interface %d, and %d interfaces", *at, len(n.Interfaces))
			}
			if !n.inside(*at) {
				continue
			}
		}
		address, err := netip.ParsePrefix(ip.Address)
		if err != nil {
			return invalid("prevResult has an address that is none: %.80q", ip.Address)
		}
		n.sealed = false
		n.addresses = append(n.addresses, address)
	}
	return nil
}

// passOn returns the result of a chained plugin: what came, byte for byte. A
// version that the plugin before left out, or took from elsewhere, is put in.
func (c *conf) passOn(n *network) []byte {
	if n.Version == c.Version {
		return c.previous
	}
	o := c.previousObject()
	o["cniVersion"] = encode(c.Version)
	return encode(o)
}

// previousObject is of a prevResult that has been read, or empty.
func (c *conf) previousObject() object {
	o := object{}
	if c.previous != nil && json.Unmarshal(c.previous, &o) != nil {
		panic("prevResult was an object before")
	}
	return o
}

// sealedResult adds to what there is the interface that the runtime asked for,
// with addresses that it is content with and that lead nowhere.
func (c *conf) sealedResult(n *network, ifname, namespace string, addresses []netip.Prefix) ([]byte, error) {
	ours := &current.Result{Interfaces: []*current.Interface{{Name: ifname, Mac: api.SealedMAC, Sandbox: namespace}}}
	for _, a := range addresses {
		address := net.IPNet{IP: a.Addr().AsSlice(), Mask: net.CIDRMask(a.Bits(), a.Addr().BitLen())}
		ours.IPs = append(ours.IPs, &current.IPConfig{Interface: current.Int(len(n.Interfaces)), Address: address})
		// The stub answers at every address, the resolvers of the host
		// included, which runtimes write where a result has none.
		ours.DNS.Nameservers = append(ours.DNS.Nameservers, a.Addr().String())
	}
	as, err := ours.GetAsVersion(c.Version)
	if err != nil {
		return nil, err
	}
	return merge(c.previousObject(), as)
}

// merge appends a result's lists to those of another one.
func merge(o object, r types.Result) ([]byte, error) {
	var more object
	if err := json.Unmarshal(encode(r), &more); err != nil {
		return nil, err
	}
	for key, value := range more {
		var list, added []json.RawMessage
		if json.Unmarshal(value, &added) == nil && json.Unmarshal(o[key], &list) == nil {
			value = encode(append(list, added...))
		}
		o[key] = value
	}
	return encode(o), nil
}
