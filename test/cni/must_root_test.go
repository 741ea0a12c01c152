// SPDX-License-Identifier: Apache-2.0

//go:build root

package cni

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/phantom-ns/phantom-ns/test/rig"
)

// K1: every sentence of CNI 1.1 that says must, or should, to a plugin that
// delegates to none, by section, and a proof of it against the plugin as a
// runtime starts it. That it handles being executed at once is K7.
var demands = []struct {
	says  string
	holds func(*testing.T, *node)
}{
	{"2, ADD: outputs a result structure on standard out", outputsResult},
	{"2, ADD: MUST handle prevResult by passing it through", passesPrevious},
	{"2, ADD: an interface of the requested name exists: MUST return with an error", refusesTaken},
	{"2, DEL: completes without error even if some resources are missing", endsWhatIsMissing},
	{"2, DEL: MUST accept multiple DEL calls for the same pair", endsTwice},
	{"2, DEL: CNI_NETNS, CNI_ARGS and CNI_PATH are optional", endsWithoutNamespace},
	{"2, CHECK: must consult prevResult", consultsPrevious},
	{"2, CHECK: allows a later plugin to have modified networking resources", allowsLaterChanges},
	{"2, CHECK: errors when firewall rules are missing", seesMissingRules},
	{"2, CHECK: must handle being called immediately after ADD", checksAtOnce},
	{"2, CHECK: a container that is not known", checksUnknown},
	{"2, STATUS: zero when ready, an error and its code when not", tellsStatus},
	{"2, STATUS: MUST NOT rely on STATUS being called; CNI_PATH is optional", needsNoStatus},
	{"2, VERSION and 5: cniVersion is the input's, and supportedVersions", tellsVersions},
	{"2, GC: no output on success; removes as many stale resources as possible", collects},
	{"2, GC: MUST forward to delegated plugins: there is none, and ipam is refused", delegatesToNone},
	{"2, errors: a return code of non-zero and an error structure", failsWithStructure},
	{"5, ADD: cniVersion is the input's, sandbox is CNI_NETNS", repeatsItsInput},
	{"5, errors: code 2 has key and value in its message", namesUnsupported},
	{"5, errors: code 4 has the names of the variables in its message", namesVariables},
	{"2, parameters: an interface name that cannot be used is an error", refusesLoopbackName},
}

func TestK1Demands(t *testing.T) {
	n := newNode(t)
	for _, d := range demands {
		t.Run(d.says, func(t *testing.T) { d.holds(t, n) })
	}
}

// call is one start of the plugin by hand, for what the library would not do.
type call struct {
	env   map[string]string
	stdin string
}

func (n *node) call(command string, c *container, more string) call {
	env := map[string]string{"CNI_COMMAND": command, "CNI_PATH": "/opt/cni/bin"}
	if c != nil {
		maps.Copy(env, map[string]string{"CNI_CONTAINERID": c.ContainerID, "CNI_NETNS": c.NetNS, "CNI_IFNAME": c.IfName})
	}
	return call{env, fmt.Sprintf(`{"cniVersion":"1.1.0","name":"byhand","type":"phantom-cni","socket":%q%s}`, n.daemon.Socket(), more)}
}

func (c call) without(names ...string) call {
	for _, name := range names {
		delete(c.env, name)
	}
	return c
}

// run starts the plugin and returns what it printed and how it ended.
func (c call) run(t *testing.T, n *node) (stdout string, exit int) {
	t.Helper()
	cmd := exec.Command(rig.Plugin(t))
	for _, name := range slices.Sorted(maps.Keys(c.env)) {
		cmd.Env = append(cmd.Env, name+"="+c.env[name])
	}
	var out, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(c.stdin), &out, &stderr
	if err := n.Do(cmd.Start); err != nil {
		t.Fatal(err)
	}
	err := cmd.Wait()
	if failed := new(exec.ExitError); err != nil && !errors.As(err, &failed) || stderr.Len() > 0 {
		t.Fatalf("%v: %s", err, &stderr)
	}
	return out.String(), cmd.ProcessState.ExitCode()
}

// ok fails unless the plugin ended well and printed want; "" is nothing.
func (c call) ok(t *testing.T, n *node, want string) {
	t.Helper()
	if out, exit := c.run(t, n); exit != 0 || out != want {
		t.Errorf("%s: exit %d, %q, want %q", c.env["CNI_COMMAND"], exit, out, want)
	}
}

// failure is the protocol's error structure.
type failure struct {
	CNIVersion, Msg, Details string
	Code                     uint
}

// fails fails unless the plugin ended with one error of that code.
func (c call) fails(t *testing.T, n *node, code uint) failure {
	t.Helper()
	out, exit := c.run(t, n)
	var f failure
	if err := json.Unmarshal([]byte(out), &f); err != nil || exit == 0 || f.Code != code || f.Msg == "" || f.CNIVersion != "1.1.0" {
		t.Errorf("%s: exit %d, %q, want code %d (%v)", c.env["CNI_COMMAND"], exit, out, code, err)
	}
	return f
}

// added adds a container by hand and deletes it with the test.
func (n *node) added(t *testing.T, more string) (*container, string) {
	t.Helper()
	c := n.newContainer(t)
	out, exit := n.call("ADD", c, more).run(t, n)
	if exit != 0 {
		t.Fatalf("ADD: exit %d, %q", exit, out)
	}
	t.Cleanup(func() { n.call("DEL", c, more).ok(t, n, "") })
	return c, out
}

func withPrevious(result string) string { return underWeb + `,"prevResult":` + result }
