// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"

	current "github.com/containernetworking/cni/pkg/types/100"
	"github.com/containernetworking/cni/pkg/types/create"
	"github.com/google/go-cmp/cmp"

	"github.com/phantom-ns/phantom-ns/enforcer/node/api"
)

// everything is a result with every key of the specification, one that a later
// one may define, and bytes that another encoder would write differently.
const everything = `{"cniVersion":"VERSION", "interfaces": [
  {"name":"cni0","mac":"00:11:22:33:44:55","mtu":1500},
  {"name":"veth3243","mac":"55:44:33:22:11:11","socketPath":"/run/s.sock","pciID":"0000:04:00.5"},
  {"name":"eth0","mac":"99:88:77:66:55:44","mtu":9000,"sandbox":"/run/netns/box"}],
 "ips":[{"version":"4","address":"10.1.0.5/16","gateway":"10.1.0.1","interface":2},
  {"version":"6","address":"2001:db8::5/64","gateway":"2001:db8::1","interface":2},
  {"version":"4","address":"192.0.2.1/32","interface":0},
  {"version":"4","address":"10.9.0.1/24"}],
 "routes":[{"dst":"0.0.0.0/0","gw":"10.1.0.1","mtu":1400,"advmss":1360,"priority":10,"table":100,"scope":253}],
 "dns":{"nameservers":["10.1.0.1"],"domain":"a.test","search":["b.test"],"options":["ndots:5"]},
 "later":{"number":12345678901234567890,"text":"<\u0041>"}}`

// What the plugins before made leaves as it came, in every version.
func TestAPreviousResultIsPassedOnByteForByte(t *testing.T) {
	d := startDaemon(t)
	for _, version := range supported.SupportedVersions() {
		result := strings.ReplaceAll(everything, "VERSION", version)
		call := invoke("ADD", d.configuration(version, `,"policy":"web","unfencedLink":"accept","prevResult":`+result)).
			with("CNI_ARGS", "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web-0;K8S_POD_UID=7;K8S_POD_INFRA_CONTAINER_ID=box")
		if a := call.run(t); a != (answer{stdout: result}) {
			t.Errorf("%s: %+v", version, a)
		}
		want := api.Attachment{
			Network: "pods", Container: "box", Interface: "eth0", Namespace: "/run/netns/box", Policy: "web", Unfenced: true,
			Addresses: prefixes("10.1.0.5/16", "2001:db8::5/64", "10.9.0.1/24"), Pod: &api.Pod{Namespace: "default", Name: "web-0", UID: "7"},
		}
		if diff := cmp.Diff(want, d.attach, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
			t.Errorf("%s: %s", version, diff)
		}
	}
}

func prefixes(texts ...string) []netip.Prefix {
	var all []netip.Prefix
	for _, t := range texts {
		all = append(all, netip.MustParsePrefix(t))
	}
	return all
}

// A result without a version, or with one of the same kind, gets the one that
// was asked for and keeps the rest.
func TestAPreviousResultGetsTheVersionAskedFor(t *testing.T) {
	d := startDaemon(t)
	for result, want := range map[string]string{
		`{"ips":[{"address":"10.0.0.1/8"}],"later":[1.50]}`:                        `{"cniVersion":"1.1.0","ips":[{"address":"10.0.0.1/8"}],"later":[1.50]}`,
		`{"cniVersion":"1.0.0","interfaces":[{"name":"e","sandbox":"s","mtu":1}]}`: `{"cniVersion":"1.1.0","interfaces":[{"name":"e","sandbox":"s","mtu":1}]}`,
	} {
		a := invoke("ADD", d.configuration("1.1.0", `,"policy":"web","prevResult":`+result)).run(t)
		if a != (answer{stdout: want + "\n"}) {
			t.Errorf("%s: %+v", result, a)
		}
	}
}

// Alone, or after loopback, the plugin names the interface that was asked for,
// in a form that the library of every version reads.
func TestASealedContainerHasTheInterfaceAskedFor(t *testing.T) {
	d := startDaemon(t)
	const loopback = `{"cniVersion":"VERSION","interfaces":[{"name":"lo","mac":"00:00:00:00:00:00","sandbox":"/run/netns/box"}],` +
		`"ips":[{"version":"4","address":"127.0.0.1/8","interface":0}],"dns":{}}`
	for _, version := range supported.SupportedVersions() {
		for before, previous := range map[string]string{
			"":    ``,
			"lo ": `,"prevResult":` + strings.ReplaceAll(loopback, "VERSION", version),
		} {
			a := invoke("ADD", d.configuration(version, `,"policy":"web"`+previous)).run(t)
			if a.exit != 0 || !d.attach.Sealed || d.attach.Addresses != nil {
				t.Fatalf("%s: %+v, %+v", version, a, d.attach)
			}
			if got, want := readResult(t, version, a.stdout), before+"eth0 in /run/netns/box: 198.18.255.1/32 fd70:6861:6e74:ffff::1/128"; got != want {
				t.Errorf("%s: %s, want %s", version, got, want)
			}
		}
	}
}

// readResult reads a result as runtimes do and renders what they look for.
func readResult(t *testing.T, version, text string) string {
	t.Helper()
	made, err := create.Create(version, []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	r, err := current.GetResult(made)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	for i, at := range r.Interfaces {
		if at.Name == "lo" {
			out.WriteString("lo ")
			continue
		}
		out.WriteString(at.Name + " in " + at.Sandbox + ":")
		for _, ip := range r.IPs {
			if *ip.Interface == i {
				out.WriteString(" " + ip.Address.String())
			}
		}
	}
	if diff := cmp.Diff([]string{"198.18.255.1", "fd70:6861:6e74:ffff::1"}, r.DNS.Nameservers); diff != "" {
		t.Error(diff)
	}
	return out.String()
}

// No input makes a panic, and what is accepted is whole: a policy that can be
// one, and a result that is JSON.
func FuzzConf(f *testing.F) {
	const head = `{"cniVersion":"1.1.0","name":"n","type":"phantom-cni",`
	f.Add([]byte(head + `"policy":"web","prevResult":` + strings.ReplaceAll(everything, "VERSION", "1.1.0") + `}`))
	f.Add([]byte(head + `"policyFrom":{"annotation":"a"},"runtimeConfig":{"` + annotations + `":{"a":"web"}},"default":"deny"}`))
	f.Add([]byte(head + `"policyFrom":{"label":"a"},"args":{"cni":{"labels":[{"key":"a","value":"b"},null]}},"exempt":{"namespaces":["x"]}}`))
	f.Add([]byte(head + `"prevResult":{"interfaces":[null],"ips":[{"interface":0,"address":"::1/128"},null]}}`))
	f.Add([]byte(head + `"cni.dev/valid-attachments":[{"containerID":"a","ifname":"b"},null],"socket":"/s","unfencedLink":"accept"}`))
	f.Fuzz(func(t *testing.T, input []byte) {
		c, err := parseConf(input)
		if err != nil {
			return
		}
		n, err := c.readPrevious()
		if err != nil {
			return
		}
		chosen, err := c.choose(&api.Pod{Namespace: "x"})
		if err == nil && chosen.exempt == (chosen.policy != "") || err == nil && !chosen.exempt && !api.ValidPolicy(chosen.policy) {
			t.Errorf("%+v", chosen)
		}
		if c.previous != nil && !json.Valid(c.passOn(n)) {
			t.Errorf("passed on %q", c.passOn(n))
		}
		if r, err := c.sealedResult(n, "eth0", "/n", ownAddresses); err == nil && !json.Valid(r) {
			t.Errorf("result %q", r)
		}
	})
}
