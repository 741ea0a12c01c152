// SPDX-License-Identifier: Apache-2.0

//go:build containers

package containers

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

type refusal struct {
	flags []string
	want  string
}

// testK5: what cannot be held does not begin, and why reaches who asked. The
// container would leave a file if it executed anything.
func (n *node) testK5(t *testing.T) {
	n.refused(t, map[string]refusal{
		"the host's network":    {[]string{"--runtime", "phantom-coder", "--network", "host"}, "host"},
		"the host's processes":  {[]string{"--runtime", "phantom-coder", "--pid", "host"}, "the container sees processes of the host"},
		"privileged":            {[]string{"--runtime", "phantom-coder", "--privileged"}, "the container has a capability that reaches past its fence"},
		"SYS_ADMIN":             {[]string{"--runtime", "phantom-coder", "--cap-add", "SYS_ADMIN"}, "CAP_SYS_ADMIN: the container has a capability"},
		"NET_ADMIN":             {[]string{"--runtime", "phantom-coder", "--cap-add", "NET_ADMIN"}, "CAP_NET_ADMIN: the container has a capability"},
		"a policy that is none": {[]string{"--runtime", "unknown"}, "policy nobody: the node has no such policy"},
		"a runtime without one": {[]string{"--runtime", "nothing"}, "no policy: say --policy NAME"},
	})
}

// testAway: without the daemon nothing begins, and what runs reaches nothing.
func (n *node) testAway(t *testing.T) {
	n.run("docker", "run", "--detach", "--name", "held", "--runtime", "phantom-coder", image, "sleep", "1000")
	defer n.run("docker", "rm", "--force", "held")
	ask := []string{"docker", "exec", "held", "sh", "-c", "PLACEHOLDER=$OPENAI_API_KEY; " + request}
	if got := n.run(ask...); got != "200" {
		t.Fatalf("with the daemon: %s", got)
	}
	n.daemon.end(syscall.SIGKILL)
	defer n.start()
	if out, err := n.try(ask...); err == nil {
		t.Errorf("without the daemon: %s", out)
	}
	n.refused(t, map[string]refusal{
		"sealed":  {[]string{"--runtime", "phantom-coder", "--network", "none"}, "node.sock"},
		"chained": {[]string{"--runtime", "phantom-coder"}, "node.sock"},
	})
	if out, err := n.try("podman", "run", "--rm", "--network", "coder", image, "true"); err == nil {
		t.Errorf("podman started: %s", out)
	}
}

func (n *node) refused(t *testing.T, cases map[string]refusal) {
	t.Helper()
	out := t.TempDir()
	began := filepath.Join(out, "began")
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			n := n.part(t)
			args := append([]string{"docker", "run", "--rm", "--volume", out + ":/out"}, c.flags...)
			text, err := n.try(append(args, image, "touch", "/out/began")...)
			if err == nil || !strings.Contains(text, c.want) {
				t.Errorf("%v, want %q\n%s", err, c.want, text)
			}
			if os.Remove(began) == nil {
				t.Error("it began")
			}
		})
	}
	if n.run("docker", "run", "--rm", "--network", "none", "--volume", out+":/out", image, "touch", "/out/began"); os.Remove(began) != nil {
		t.Error("it does not even begin without us")
	}
}
