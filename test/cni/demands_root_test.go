// SPDX-License-Identifier: Apache-2.0

//go:build root

package cni

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/phantom-ns/phantom-ns/netns"
)

type printed struct {
	CNIVersion string
	Interfaces []struct{ Name, Sandbox string }
	IPs        []struct {
		Interface int
		Address   string
	}
}

func readPrinted(t *testing.T, text string) printed {
	t.Helper()
	var p printed
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		t.Fatalf("%v: %q", err, text)
	}
	return p
}

func outputsResult(t *testing.T, n *node) {
	_, out := n.added(t, underWeb)
	if p := readPrinted(t, out); len(p.Interfaces) != 1 || p.Interfaces[0].Name != "eth0" || len(p.IPs) == 0 {
		t.Errorf("%q", out)
	}
}

func repeatsItsInput(t *testing.T, n *node) {
	c, out := n.added(t, underWeb)
	if p := readPrinted(t, out); p.CNIVersion != "1.1.0" || p.Interfaces[0].Sandbox != c.NetNS {
		t.Errorf("%q", out)
	}
}

func passesPrevious(t *testing.T, n *node) {
	const result = `{"cniVersion":"1.1.0","interfaces":[{"name":"lo","sandbox":"SANDBOX"}],"dns":{"domain":"a.test"},"later":1.50}`
	_, out := n.added(t, withPrevious(result))
	for _, kept := range []string{`{"name":"lo","sandbox":"SANDBOX"}`, `"later":1.50`} {
		if !strings.Contains(out, kept) {
			t.Errorf("%s is not in %q", kept, out)
		}
	}
}

func refusesTaken(t *testing.T, n *node) {
	c, _ := n.added(t, underWeb)
	n.call("ADD", c, underWeb).fails(t, n, 100)
	other := n.newContainer(t)
	other.NetNS = c.NetNS
	n.call("ADD", other, underWeb).fails(t, n, 100)
	n.call("DEL", other, underWeb).ok(t, n, "")
	if got := c.swaps(t); got != "swapped" {
		t.Errorf("the first after that: %s", got)
	}
}

func refusesLoopbackName(t *testing.T, n *node) {
	c := n.newContainer(t)
	c.IfName = "lo"
	n.call("ADD", c, underWeb).fails(t, n, 100)
	n.call("DEL", c, underWeb).ok(t, n, "")
}

func endsWhatIsMissing(t *testing.T, n *node) {
	n.call("DEL", n.newContainer(t), underWeb).ok(t, n, "")
	c := n.newContainer(t)
	if out, exit := n.call("ADD", c, underWeb).run(t, n); exit != 0 {
		t.Fatalf("ADD: %q", out)
	}
	c.remove(t)
	n.call("DEL", c, underWeb).ok(t, n, "")
}

func endsTwice(t *testing.T, n *node) {
	c, _ := n.added(t, underWeb)
	n.call("DEL", c, underWeb).ok(t, n, "")
	n.call("DEL", c, underWeb).ok(t, n, "")
}

func endsWithoutNamespace(t *testing.T, n *node) {
	c, _ := n.added(t, underWeb)
	n.call("DEL", c, underWeb).without("CNI_NETNS", "CNI_PATH").ok(t, n, "")
	for _, a := range n.attachments(t) {
		if a.Container == c.ContainerID {
			t.Errorf("held: %+v", a)
		}
	}
}

func consultsPrevious(t *testing.T, n *node) {
	c, out := n.added(t, underWeb)
	n.call("CHECK", c, underWeb).fails(t, n, 7)
	n.call("CHECK", c, withPrevious(out)).ok(t, n, "")
}

func checksAtOnce(t *testing.T, n *node) {
	c, out := n.added(t, underWeb)
	n.call("CHECK", c, withPrevious(out)).ok(t, n, "")
}

func allowsLaterChanges(t *testing.T, n *node) {
	c, out := n.added(t, underWeb)
	later := strings.Replace(out, `{"cniVersion"`, `{"routes":[{"dst":"192.0.2.0/24"}],"cniVersion"`, 1)
	n.call("CHECK", c, withPrevious(later)).ok(t, n, "")
}

func checksUnknown(t *testing.T, n *node) {
	_, out := n.added(t, underWeb)
	n.call("CHECK", n.newContainer(t), withPrevious(out)).fails(t, n, 3)
}

func seesMissingRules(t *testing.T, n *node) {
	l := n.list(t, "1.0.0", "ruled", n.first("bridge", []string{"10.94.0.0/24"}), n.ours(underWeb))
	c := n.newContainer(t)
	c.mustAdd(t, l)
	if err := c.check(l); err != nil {
		t.Errorf("CHECK: %v", err)
	}
	err := n.Do(func() error {
		ns, err := netns.Open(c.NetNS)
		if err != nil {
			return err
		}
		defer ns.Close()
		return ns.Unfence()
	})
	if err != nil {
		t.Fatalf("take the rules away: %v", err)
	}
	wantCode(t, "CHECK without the rules", c.check(l), 104)
}

func tellsStatus(t *testing.T, n *node) {
	n.call("STATUS", nil, underWeb).ok(t, n, "")
	n.call("STATUS", nil, `,"policy":"gone"`).fails(t, n, 50)
	gone := n.call("STATUS", nil, underWeb)
	gone.stdin = strings.Replace(gone.stdin, "node.sock", "gone.sock", 1)
	gone.fails(t, n, 51)
}

func needsNoStatus(t *testing.T, n *node) {
	n.call("STATUS", nil, underWeb).without("CNI_PATH").ok(t, n, "")
	n.added(t, underWeb) // and no test before this one had asked for it
}

func tellsVersions(t *testing.T, n *node) {
	version := n.call("VERSION", nil, "")
	version.stdin = `{"cniVersion":"0.4.0"}`
	version.ok(t, n, `{"cniVersion":"0.4.0","supportedVersions":["0.3.1","0.4.0","1.0.0","1.1.0"]}`+"\n")
}

func collects(t *testing.T, n *node) {
	c, _ := n.added(t, underWeb)
	n.call("GC", nil, underWeb+`,"cni.dev/valid-attachments":[{"containerID":"`+c.ContainerID+`","ifname":"eth0"}]`).ok(t, n, "")
	if got := c.swaps(t); got != "swapped" {
		t.Errorf("kept: %s", got)
	}
	n.call("GC", nil, underWeb+`,"cni.dev/valid-attachments":[]`).ok(t, n, "")
	for _, a := range n.attachments(t) {
		if a.Container == c.ContainerID {
			t.Errorf("held: %+v", a)
		}
	}
}

func delegatesToNone(t *testing.T, n *node) {
	n.call("GC", nil, underWeb+`,"ipam":{"type":"host-local"},"cni.dev/valid-attachments":[]`).fails(t, n, 2)
}

func failsWithStructure(t *testing.T, n *node) {
	broken := n.call("ADD", n.newContainer(t), underWeb)
	broken.stdin = "{"
	broken.fails(t, n, 6)
}

func namesUnsupported(t *testing.T, n *node) {
	f := n.call("ADD", n.newContainer(t), underWeb+`,"hostNetwork":true`).fails(t, n, 2)
	if !strings.Contains(f.Msg, "hostNetwork") || !strings.Contains(f.Msg, "true") {
		t.Errorf("%+v", f)
	}
}

func namesVariables(t *testing.T, n *node) {
	f := n.call("ADD", n.newContainer(t), underWeb).without("CNI_NETNS", "CNI_IFNAME").fails(t, n, 4)
	if !strings.Contains(f.Msg, "CNI_NETNS") || !strings.Contains(f.Msg, "CNI_IFNAME") {
		t.Errorf("%+v", f)
	}
}
