// SPDX-License-Identifier: Apache-2.0

//go:build containers

package containers

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/phantom-ns/phantom-ns/enforcer/node/api"
	"github.com/phantom-ns/phantom-ns/enforcer/node/cdi"
	"github.com/phantom-ns/phantom-ns/test/rig"
)

// One node for all: images are unpacked once, and what one part leaves the
// next one would meet.
func TestContainers(t *testing.T) {
	before := rig.Snapshot(t)
	t.Cleanup(func() {
		if left := rig.Leftovers(t, before); len(left) > 0 {
			t.Errorf("left on the machine: %v", left)
		}
	})
	n := newNode(newBed(t))
	n.policy("other", other)
	n.follow(t, "The node")
	t.Run("guide", func(t *testing.T) { n.part(t).testGuide(t) })
	n.runtimes()
	for _, part := range []struct {
		name string
		run  func(*node, *testing.T)
	}{
		{"S1", (*node).testS1},
		{"K5", (*node).testK5},
		{"ways", (*node).testWays},
		{"Java", (*node).testJava},
		{"runtime", (*node).testRuntime},
		{"away", (*node).testAway},
		{"left", (*node).testNothingIsLeft},
	} {
		t.Run(part.name, func(t *testing.T) { part.run(n.part(t), t) })
	}
}

// testGuide follows the guide as it is written.
func (n *node) testGuide(t *testing.T) {
	oracle := rig.NewOracle(n.key)
	for _, section := range []struct {
		title   string
		prepare func(*node)
		answers int // how often the upstream's answer is seen
	}{
		{"podman", func(n *node) { n.podman() }, 4},
		{"containerd", func(n *node) { n.containerd() }, 1},
		{"Docker", func(*node) {}, 3},
	} {
		t.Run(section.title, func(t *testing.T) {
			n := n.part(t)
			section.prepare(n)
			out := n.follow(t, section.title)
			if got := strings.Count(out, n.upstream.Answer); got != section.answers {
				t.Errorf("%d answers, want %d\n%s", got, section.answers, out)
			}
			if hits := oracle.Bytes("output", []byte(out)); len(hits) > 0 {
				t.Errorf("the real key was printed: %v", hits)
			}
		})
	}
}

// other is a second policy, for the same host and with the same credential.
const other = `version: 1
credentials:
  openai: {from: "store:openai", allow: ["GET /v1/models"]}
`

// testNothingIsLeft: every container of the test is gone, and so is what the
// daemon held for it; the real key is in no file that a container or a log has.
func (n *node) testNothingIsLeft(t *testing.T) {
	var status struct {
		Attachments, Sessions int
		Problems              []string
		Policies              []api.PolicyInfo
	}
	if err := json.Unmarshal([]byte(n.run("phantom-ns", "status", "--json")), &status); err != nil {
		t.Fatal(err)
	}
	for _, p := range status.Policies {
		if p.Error != "" {
			t.Errorf("policy %s: %s", p.Name, p.Error)
		}
	}
	if status.Attachments != 0 || status.Sessions != 0 || len(status.Problems) > 0 {
		t.Errorf("%+v", status)
	}
	n.do(func() error {
		hits, err := rig.NewOracle(n.key).Files("/etc/cdi", cdi.SharedDir, "/var/log", "/run/phantom-ns-node")
		if len(hits) > 0 {
			t.Errorf("the real key is in files: %v", hits)
		}
		return err
	})
}

// request is a command of a container that prints the status of a request with
// a placeholder.
const request = `curl -sS -o /dev/null -w '%{http_code}\n' -H "Authorization: Bearer $PLACEHOLDER" https://api.openai.com/v1/models`

// testS1 crosses two policies under each engine: the placeholder of one is
// worth nothing in a container under the other, though both may go to the same
// host.
func (n *node) testS1(t *testing.T) {
	placeholder := func(policy string) string {
		return n.run("sed", "-n", "s/^OPENAI_API_KEY=//p", cdi.SharedDir+"/"+policy+"/env")
	}
	coder, other := placeholder("coder"), placeholder("other")
	if coder == other || coder == "" || other == "" {
		t.Fatalf("placeholders %q and %q", coder, other)
	}
	both := `for PLACEHOLDER in ` + coder + ` ` + other + ` "$OPENAI_API_KEY"; do ` + request + `; done`
	for name, e := range engines {
		for policy, want := range map[string]string{"coder": "200\n403\n200", "other": "403\n200\n200"} {
			t.Run(name+", "+policy, func(t *testing.T) {
				n := n.part(t)
				p := place{policy: policy}
				n.open(p)
				if got := n.run(e.start(n, p, nil, "sh", "-c", both)...); got != want {
					t.Errorf("coder's, other's and its own: %q, want %q", got, want)
				}
			})
		}
	}
}

// testRuntime: phantom-runc under podman, whose network is whatever it likes,
// and in front of either runtime.
func (n *node) testRuntime(t *testing.T) {
	podman := []string{"podman", "--runtime", "/usr/local/bin/phantom-runc", "--runtime-flag", "policy=coder"}
	for runtime, flags := range map[string][]string{"runc": nil, "crun": {"--runtime-flag", "runc=" + n.crun()}} {
		t.Run(runtime, func(t *testing.T) {
			n, podman := n.part(t), append(slices.Clip(podman), flags...)
			if out, err := n.try(append(podman, "run", "--rm", "--network", "host", image, "true")...); err == nil || !strings.Contains(out, "host's network") {
				t.Errorf("the host's network: %v\n%s", err, out)
			}
			for _, network := range []string{"none", "podman"} {
				got := n.run(append(podman, "run", "--rm", "--network", network, image, "sh", "-c", "PLACEHOLDER=$OPENAI_API_KEY; "+request)...)
				if got != "200" {
					t.Errorf("network %s: %s", network, got)
				}
			}
		})
	}
}

// crun writes a program that starts crun where it finds cgroups of one version
// alone: it wants either.
func (n *node) crun() string {
	path := filepath.Join(n.scratch, "crun")
	const script = `#!/bin/sh
exec unshare --mount sh -c 'umount /sys/fs/cgroup/unified 2>/dev/null; exec crun "$@"' crun "$@"
`
	if err := os.WriteFile(path, []byte(script), 0o755); err != nil {
		n.t.Fatal(err)
	}
	return path
}
