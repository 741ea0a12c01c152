// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/phantom-ns/phantom-ns/enforcer/node/api"
)

var ownAddresses = []netip.Prefix{netip.MustParsePrefix("198.18.255.1/32"), netip.MustParsePrefix("fd70:6861:6e74:ffff::1/128")}

// K3: whatever is wrong with a call has its code, and no daemon is asked.
func TestK3WhatIsWrongHasItsCode(t *testing.T) {
	d := startDaemon(t)
	good := d.configuration("1.1.0", `,"policy":"web"`)
	conf := func(more string) string { return d.configuration("1.1.0", more) }
	for _, test := range []struct {
		name string
		call invocation
		code uint
		says string // part of the message
	}{
		{"container of another folder", invoke("ADD", good).with("CNI_CONTAINERID", "../box"), 4, ""},
		{"container with a slash", invoke("ADD", good).with("CNI_CONTAINERID", "a/../../b"), 4, ""},
		{"container that is too long", invoke("ADD", good).with("CNI_CONTAINERID", strings.Repeat("a", 4096)), 4, "CNI_CONTAINERID"},
		{"no container", invoke("ADD", good).with("CNI_CONTAINERID", ""), 4, "CNI_CONTAINERID"},
		{"no namespace", invoke("ADD", good).with("CNI_NETNS", ""), 4, "CNI_NETNS"},
		{"relative namespace", invoke("ADD", good).with("CNI_NETNS", "netns/box"), 4, "CNI_NETNS"},
		{"namespace that is too long", invoke("ADD", good).with("CNI_NETNS", "/"+strings.Repeat("a", 4095)), 4, "CNI_NETNS"},
		{"no interface", invoke("ADD", good).with("CNI_IFNAME", ""), 4, "CNI_IFNAME"},
		{"interface that is too long", invoke("ADD", good).with("CNI_IFNAME", strings.Repeat("e", 16)), 4, "interface name"},
		{"interface of another folder", invoke("ADD", good).with("CNI_IFNAME", ".."), 4, "interface name"},
		{"interface with a control byte", invoke("ADD", good).with("CNI_IFNAME", "eth\x1b0"), 4, "CNI_IFNAME"},
		{"arguments that are none", invoke("ADD", good).with("CNI_ARGS", "IgnoreUnknown=1;junk"), 4, "CNI_ARGS"},
		{"no such command", invoke("STOP", good), 4, "CNI_COMMAND"},
		{"no input", invoke("ADD", ""), 6, ""},
		{"junk", invoke("ADD", "\x00\xff{"), 6, ""},
		{"a list", invoke("ADD", "[]"), 6, ""},
		{"null", invoke("ADD", "null"), 7, "network name"},
		{"nested without end", invoke("ADD", strings.Repeat(`{"a":`, 100000)), 6, ""},
		{"1 MiB", invoke("ADD", conf(`,"x":"`+strings.Repeat("x", 1<<20)+`"`)), 2, "not supported"},
		{"1 MiB of nothing", invoke("ADD", strings.Repeat(" ", 1<<20)), 6, ""},
		{"2 MiB", invoke("ADD", conf(`,"x":"`+strings.Repeat("x", 2<<20)+`"`)), 7, "too long"},
		{"2 MiB of nothing", invoke("ADD", strings.Repeat(" ", 2<<20)), 7, "too long"},
		{"NUL in the policy", invoke("ADD", conf(`,"policy":"we\u0000b"`)), 7, `we\x00b`},
		{"no network", invoke("ADD", `{"cniVersion":"1.1.0","type":"phantom-cni"}`), 7, "network name"},
		{"network of another folder", invoke("ADD", `{"cniVersion":"1.1.0","name":"../x","type":"phantom-cni"}`), 7, "network name"},
		{"a version before chains", invoke("ADD", d.configuration("0.2.0", "")), 1, ""},
		{"a version to come", invoke("ADD", d.configuration("2.0.0", "")), 1, ""},
		{"a version that is none", invoke("CHECK", d.configuration("x", "")), 6, ""},
		{"CHECK before there was one", invoke("CHECK", d.configuration("0.3.1", "")), 1, ""},
		{"GC before there was one", invoke("GC", d.configuration("1.0.0", "")), 1, ""},
		{"STATUS before there was one", invoke("STATUS", d.configuration("1.0.0", "")), 1, ""},
		{"CHECK of no result", invoke("CHECK", good), 7, "prevResult"},
		{"K5: hostNetwork", invoke("ADD", conf(`,"hostNetwork":true`)), 2, `"hostNetwork": "true"`},
		{"a key of no meaning", invoke("ADD", conf(`,"polcy":"web"`)), 2, `"polcy": "\"web\""`},
		{"a key in another case", invoke("ADD", conf(`,"Policy":"web"`)), 2, `"Policy"`},
		{"addresses that nobody gives", invoke("ADD", conf(`,"ipam":{"type":"host-local"}`)), 2, `"ipam"`},
		{"a key of policyFrom", invoke("ADD", conf(`,"policyFrom":{"namespace":"x"}`)), 2, `"policyFrom.namespace"`},
		{"a key of exempt", invoke("ADD", conf(`,"exempt":{"pods":["x"]}`)), 2, `"exempt.pods"`},
		{"a port that is not published", invoke("ADD", conf(`,"runtimeConfig":{"portMappings":[{"hostPort":80}]}`)), 2, `"runtimeConfig.portMappings"`},
		{"a policy that is a number", invoke("ADD", conf(`,"policy":5`)), 6, "policy"},
		{"a policy of another folder", invoke("ADD", conf(`,"policy":"../web"`)), 7, `"../web"`},
		{"two ways to a policy", invoke("ADD", conf(`,"policy":"web","policyFrom":{"annotation":"a"}`)), 7, "policyFrom"},
		{"two sources", invoke("ADD", conf(`,"policyFrom":{"annotation":"a","label":"b"}`)), 7, "policyFrom"},
		{"a default that is none", invoke("ADD", conf(`,"default":"Allow"`)), 7, `"Allow"`},
		{"a link that is neither", invoke("ADD", conf(`,"unfencedLink":"yes"`)), 7, "unfencedLink"},
		{"a socket here", invoke("ADD", `{"cniVersion":"1.1.0","name":"n","type":"phantom-cni","socket":"node.sock"}`), 7, "socket"},
		{"a result that is none", invoke("ADD", conf(`,"prevResult":[]`)), 6, "prevResult"},
		{"a result of another version", invoke("ADD", conf(`,"prevResult":{"cniVersion":"0.4.0"}`)), 7, "prevResult"},
		{"an address of no interface", invoke("ADD", conf(`,"prevResult":{"ips":[{"interface":1,"address":"10.0.0.1/8"}]}`)), 7, "prevResult"},
		{"an address that is none", invoke("ADD", conf(`,"prevResult":{"ips":[null]}`)), 7, "prevResult"},
		{"an annotation that is no name", invoke("ADD", conf(`,"policyFrom":{"annotation":"p"},"runtimeConfig":{"io.kubernetes.cri.pod-annotations":{"p":"../../etc"}}`)), 7, `annotation p names the policy "../../etc"`},
		{"a label twice", invoke("ADD", conf(`,"policyFrom":{"label":"p"},"args":{"cni":{"labels":[{"key":"p","value":"a"},{"key":"p","value":"b"}]}}`)), 7, `label "p"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := test.call.run(t).failure(t)
			if f.Code != test.code || !strings.Contains(f.Msg, test.says) {
				t.Errorf("code %d, want %d with %q: %+v", f.Code, test.code, test.says, f)
			}
		})
	}
	if len(d.seen) > 0 {
		t.Errorf("the daemon was asked %q", d.seen)
	}
}

// What the daemon refuses has its code, in every command that can meet it.
func TestWhatTheDaemonRefusesHasItsCode(t *testing.T) {
	d := startDaemon(t)
	chained := d.configuration("1.1.0", `,"policy":"web","prevResult":{"cniVersion":"1.1.0"},"cni.dev/valid-attachments":[]`)
	for code, want := range map[string][4]uint{ // ADD CHECK DEL GC
		api.CodeInvalid:       {7, 7, 7, 7},
		api.CodeUnknownPolicy: {7, 7, 7, 7},
		api.CodeHostNetwork:   {4, 4, 4, 4},
		api.CodeNotNamespace:  {4, 4, 4, 4},
		api.CodeExists:        {100, 100, 100, 100},
		api.CodeNotFound:      {3, 3, 0, 3},
		api.CodeUnfenced:      {101, 101, 101, 101},
		api.CodeUnsupported:   {102, 102, 102, 102},
		api.CodeDenied:        {103, 103, 103, 103},
		api.CodeBusy:          {11, 11, 11, 11},
		api.CodeBroken:        {104, 104, 104, 104},
		api.CodeInternal:      {999, 999, 999, 999},
		"of a later daemon":   {999, 999, 999, 999},
	} {
		for i, command := range []string{"ADD", "CHECK", "DEL", "GC"} {
			d.refuse = &api.Error{Code: code, Message: "why it is so", Hint: "what to do"}
			a := invoke(command, chained).run(t)
			if want[i] == 0 {
				if a != (answer{}) {
					t.Errorf("%s, %s: %+v", command, code, a)
				}
				continue
			}
			message := "why it is so"
			if want[i] == 4 {
				message = "CNI_NETNS: " + message
			}
			if f := a.failure(t); f != (failed{"1.1.0", want[i], message, "what to do"}) {
				t.Errorf("%s, %s: %+v", command, code, f)
			}
		}
	}
}

// K2: without a daemon nothing begins, and everything ends.
func TestK2WithoutADaemon(t *testing.T) {
	d := &daemon{socket: t.TempDir() + "/gone"}
	good := d.configuration("1.1.0", `,"policy":"web","prevResult":{"cniVersion":"1.1.0"},"cni.dev/valid-attachments":[]`)
	for command, code := range map[string]uint{"ADD": 11, "CHECK": 11, "GC": 11, "STATUS": 51} {
		if f := invoke(command, good).run(t).failure(t); f.Code != code {
			t.Errorf("%s: %+v", command, f)
		}
	}
	for name, call := range map[string]invocation{
		"as it was added":                invoke("DEL", good),
		"without a namespace":            invoke("DEL", good).with("CNI_NETNS", ""),
		"with a configuration changed":   invoke("DEL", d.configuration("1.1.0", `,"polcy":"web"`)),
		"with all that may be annotated": invoke("DEL", d.configuration("1.1.0", annotated(strings.Repeat("<", 256<<10)))),
		"of a name that none can have":   invoke("DEL", good).with("CNI_CONTAINERID", strings.Repeat("a", 4096)),
	} {
		if a := call.run(t); a != (answer{}) {
			t.Errorf("DEL %s: %+v", name, a)
		}
	}
}

// annotated is a pod's annotation, as a runtime that is written in Go hands it on.
func annotated(value string) string {
	data, err := json.Marshal(map[string]map[string]string{"io.kubernetes.cri.pod-annotations": {"other": value}})
	if err != nil {
		panic(err)
	}
	return `,"runtimeConfig":` + string(data)
}

// A daemon that takes a call and says nothing may hold the container still.
func TestDELOfASilentDaemonIsTriedAgain(t *testing.T) {
	d := startDaemon(t)
	d.refuse = &api.Error{Code: api.CodeBusy, Message: "starting"}
	if f := invoke("DEL", d.configuration("1.1.0", "")).run(t).failure(t); f.Code != 11 {
		t.Errorf("%+v", f)
	}
}

func TestVERSION(t *testing.T) {
	const list = `"supportedVersions":["0.3.1","0.4.0","1.0.0","1.1.0"]}` + "\n"
	for stdin, want := range map[string]string{
		`{"cniVersion":"0.4.0"}`: `{"cniVersion":"0.4.0",` + list,
		``:                       `{"cniVersion":"1.1.0",` + list,
		`junk`:                   `{"cniVersion":"1.1.0",` + list,
	} {
		if a := (invocation{map[string]string{"CNI_COMMAND": "VERSION"}, stdin}).run(t); a != (answer{stdout: want}) {
			t.Errorf("%q: %+v", stdin, a)
		}
	}
}

func TestSTATUS(t *testing.T) {
	d := startDaemon(t)
	for more, want := range map[string]failed{
		`,"policy":"web"`:                  {},
		`,"policyFrom":{"annotation":"a"}`: {},
		`,"default":"deny"`:                {},
		`,"policy":"none"`:                 {},
		`,"policy":"gone"`:                 {"1.1.0", 50, "policy gone serves nobody", "the node has no policy of that name"},
		`,"default":"broken"`:              {"1.1.0", 50, "policy broken serves nobody", "broken.yaml:3: no"},
	} {
		a := invocation{map[string]string{"CNI_COMMAND": "STATUS"}, d.configuration("1.1.0", more)}.run(t)
		if want == (failed{}) {
			if a != (answer{}) {
				t.Errorf("%s: %+v", more, a)
			}
		} else if f := a.failure(t); f != want {
			t.Errorf("%s: %+v", more, f)
		}
	}
}

func TestGCNamesWhatIsValidOfItsNetwork(t *testing.T) {
	const one, other = `[{"containerID":"a","ifname":"eth0"},{"containerID":"b","ifname":"net1"}]`, `[{"containerID":"c","ifname":"eth0"}]`
	all := []api.Key{{Container: "a", Interface: "eth0"}, {Container: "b", Interface: "net1"}}
	d := startDaemon(t)
	for more, want := range map[string][]api.Key{
		`,"cni.dev/valid-attachments":` + one:                                     all,
		`,"cni.dev/attachments":` + one:                                           all,
		`,"cni.dev/attachments":` + other + `,"cni.dev/valid-attachments":` + one: all,
		`,"cni.dev/valid-attachments":[]`:                                         {},
		`,"cni.dev/valid-attachments":null`:                                       {},
	} {
		d.collect = api.Keep{}
		if a := gc(d, more).run(t); a != (answer{}) {
			t.Fatalf("%s: %+v", more, a)
		}
		if diff := cmp.Diff(api.Keep{Network: "pods", Keep: want}, d.collect); diff != "" {
			t.Errorf("%s: %s", more, diff)
		}
	}
	d.seen = nil
	if f := gc(d, ``).run(t).failure(t); f.Code != 7 || len(d.seen) > 0 {
		t.Errorf("no list: %+v, and the daemon was asked %q", f, d.seen)
	}
}

func gc(d *daemon, more string) invocation {
	return invocation{map[string]string{"CNI_COMMAND": "GC"}, d.configuration("1.1.0", more)}
}

// Which policy a container gets, of everything that can name one.
func TestThePolicyOfAContainer(t *testing.T) {
	d := startDaemon(t)
	annotated := func(value string) string {
		return fmt.Sprintf(`,"runtimeConfig":{"io.kubernetes.cri.pod-annotations":{"phantom-ns.dev/policy":%q,"other":"x"}}`, value)
	}
	const from = `,"policyFrom":{"annotation":"phantom-ns.dev/policy"}`
	for _, test := range []struct{ name, more, want string }{
		{"fixed", `,"policy":"web"`, "web"},
		{"nothing said", ``, "none"},
		{"annotation", from + annotated("web"), "web"},
		{"annotation over the default", from + `,"default":"base"` + annotated("web"), "web"},
		{"no annotation", from, "none"},
		{"no annotations at all", from + `,"runtimeConfig":{"io.kubernetes.cri.pod-annotations":null}`, "none"},
		{"empty annotation", from + annotated(""), "none"},
		{"no annotation, with a default", from + `,"default":"base"`, "base"},
		{"empty annotation, with a default", from + `,"default":"base"` + annotated(""), "base"},
		{"no annotation, denied", from + `,"default":"deny"`, "none"},
		{"an annotation that was not asked for", annotated("web"), "none"},
		{"an annotation beside a fixed policy", `,"policy":"base"` + annotated("web"), "base"},
		{"label", `,"policyFrom":{"label":"p"},"args":{"cni":{"labels":[{"key":"p","value":"web"}]}}`, "web"},
		{"no label", `,"policyFrom":{"label":"p"},"args":{"mine":1}`, "none"},
		{"exempt elsewhere", from + `,"exempt":{"namespaces":["kube-system"]}`, "none"},
	} {
		t.Run(test.name, func(t *testing.T) {
			call := invoke("ADD", d.configuration("1.0.0", test.more)).with("CNI_ARGS", "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=p")
			if a := call.run(t); a.exit != 0 || d.attach.Policy != test.want {
				t.Errorf("policy %q: %+v", d.attach.Policy, a)
			}
		})
	}
}

// A namespace that the node's owner exempts is left alone, unless its pod asks
// for a policy; its interface must come from somebody.
func TestExemptNamespaces(t *testing.T) {
	d := startDaemon(t)
	const exempt = `,"policyFrom":{"annotation":"p"},"exempt":{"namespaces":["kube-system"]}`
	const result = `{"cniVersion":"1.1.0","interfaces":[{"name":"eth0","sandbox":"/run/netns/box"}]}`
	call := func(command, more string) invocation {
		return invoke(command, d.configuration("1.1.0", exempt+more)).with("CNI_ARGS", "K8S_POD_NAMESPACE=kube-system;K8S_POD_NAME=dns")
	}
	if a := call("ADD", `,"prevResult":`+result).run(t); a != (answer{stdout: result}) {
		t.Errorf("ADD: %+v", a)
	}
	if a := call("CHECK", `,"prevResult":`+result).run(t); a != (answer{}) {
		t.Errorf("CHECK: %+v", a)
	}
	if f := call("ADD", "").run(t).failure(t); f.Code != 7 {
		t.Errorf("ADD alone: %+v", f)
	}
	if len(d.seen) > 0 {
		t.Errorf("the daemon was asked %q", d.seen)
	}
	asks := call("ADD", `,"runtimeConfig":{"io.kubernetes.cri.pod-annotations":{"p":"web"}},"prevResult":`+result)
	if a := asks.run(t); a != (answer{stdout: result}) || !slices.Equal(d.seen, []string{"attach"}) || d.attach.Policy != "web" {
		t.Errorf("ADD of a pod that asks: %+v, %+v", a, d.attach)
	}
}
