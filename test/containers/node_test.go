// SPDX-License-Identifier: Apache-2.0

//go:build containers

package containers

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/phantom-ns/phantom-ns/test/rig"
)

// install puts our programs where `make install` does, and what stands in for
// sudo on a machine where everything is root's already.
func (b *bed) install() {
	b.t.Helper()
	bin := filepath.Join(b.scratch, "bin")
	cni := filepath.Join(b.scratch, "cni")
	for output, pkg := range map[string]string{
		bin + "/phantom-ns": "./cmd/phantom-ns", bin + "/phantom-runc": "./cmd/phantom-runc", cni + "/phantom-cni": "./cmd/phantom-cni",
	} {
		if err := rig.GoBuild(output, pkg); err != nil {
			b.t.Fatal(err)
		}
	}
	if err := os.WriteFile(bin+"/sudo", []byte("#!/bin/sh\nexec \"$@\"\n"), 0o755); err != nil {
		b.t.Fatal(err)
	}
	b.do(func() error {
		for from, to := range map[string]string{bin: "/usr/local/bin", cni: "/opt/cni/bin"} {
			if err := os.MkdirAll(to, 0o755); err != nil {
				return err
			}
			if err := unix.Mount(from, to, "", unix.MS_BIND, ""); err != nil {
				return err
			}
		}
		// A bpffs of its own: pins of the machine's daemon are not touched.
		return unix.Mount("bpf", "/sys/fs/bpf", "bpf", 0, "mode=0700")
	})
}

// node is a daemon with its usual paths, and upstreams that it can reach.
type node struct {
	*bed
	upstream *rig.Upstream
	key      string // the real one
	*daemons
}

type daemons struct{ daemon, docker *daemon }

// part is the node for one part of the test.
func (n *node) part(t *testing.T) *node {
	b := *n.bed
	b.t = t
	return &node{&b, n.upstream, n.key, n.daemons}
}

// newNode prepares one; start starts it.
func newNode(b *bed) *node {
	b.t.Helper()
	b.install()
	n := &node{bed: b, upstream: rig.NewUpstream(b.t, b.Listen), key: rig.Canary(b.t, "sk-proj-"), daemons: &daemons{}}
	n.upstream.Serve("api.openai.com", n.upstream.OpenAI(n.key))
	return n
}

// begin leads the policies to the upstream and starts the daemon.
func (n *node) begin() {
	n.t.Helper()
	var policies []string
	n.do(func() error {
		var err error
		policies, err = filepath.Glob("/etc/phantom-ns/policies/*.yaml")
		return err
	})
	for _, path := range policies {
		n.Write(path, append(n.Read(path), n.upstream.Hosts()...), 0o644)
	}
	n.start()
}

func (n *node) start() {
	n.t.Helper()
	n.daemon = n.serve([]string{"phantom-ns", "status"}, "phantom-ns", "serve")
}

// policy writes one.
func (n *node) policy(name, text string) {
	n.t.Helper()
	n.Write("/etc/phantom-ns/policies/"+name+".yaml", []byte(text), 0o644)
}

// tell runs a script of a shell with the real key on standard input.
func (n *node) tell(script string) string {
	n.t.Helper()
	return n.runWith(strings.NewReader(n.key+"\n"), "sh", "-euc", script)
}
