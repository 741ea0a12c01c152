// SPDX-License-Identifier: Apache-2.0

//go:build containers

package containers

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/phantom-ns/phantom-ns/enforcer/node/cdi"
	"github.com/phantom-ns/phantom-ns/proxy/ca"
)

const refusing = `{"runtimes": {
  "coder":   {"path": "/usr/local/bin/phantom-runc", "runtimeArgs": ["--policy", "coder"]},
  "unknown": {"path": "/usr/local/bin/phantom-runc", "runtimeArgs": ["--policy", "nobody"]},
  "nothing": {"path": "/usr/local/bin/phantom-runc"}
}}`

// What cannot be held does not begin: the container would leave a file if it
// executed anything.
func TestK5WhatCannotBeHeldDoesNotBegin(t *testing.T) {
	b := newBed(t)
	b.install()
	authority, err := ca.New(ca.Options{})
	if err != nil {
		t.Fatal(err)
	}
	b.do(func() error { return cdi.Layout{}.Write([]cdi.Policy{{Name: "coder", CA: authority.PEM()}}) })
	b.Write("/etc/docker/daemon.json", []byte(refusing), 0o644)
	b.dockerd()
	out := t.TempDir()
	began := filepath.Join(out, "began")
	start := func(flags ...string) (string, error) {
		args := append([]string{"docker", "run", "--rm", "--volume", out + ":/out"}, flags...)
		return b.try(append(args, image, "touch", "/out/began")...)
	}
	if text, err := start("--network", "none"); err != nil {
		t.Fatalf("without us: %v\n%s", err, text)
	}
	if err := os.Remove(began); err != nil {
		t.Fatalf("it does not even begin without us: %v", err)
	}
	for name, test := range map[string]struct {
		flags []string
		want  string
	}{
		// Docker gives it as a namespace by path; who is asked what that is, is away.
		"the host's network":    {[]string{"--runtime", "coder", "--network", "host"}, "node.sock"},
		"no daemon":             {[]string{"--runtime", "coder", "--network", "none"}, "node.sock"},
		"no daemon, a network":  {[]string{"--runtime", "coder"}, "node.sock"},
		"the host's processes":  {[]string{"--runtime", "coder", "--pid", "host"}, "the container sees processes of the host"},
		"privileged":            {[]string{"--runtime", "coder", "--privileged"}, "the container has a capability that reaches past its fence"},
		"SYS_ADMIN":             {[]string{"--runtime", "coder", "--cap-add", "SYS_ADMIN"}, "CAP_SYS_ADMIN: the container has a capability"},
		"a policy that is none": {[]string{"--runtime", "unknown"}, "policy nobody: the node has no such policy"},
		"a runtime without one": {[]string{"--runtime", "nothing"}, "no policy: say --policy NAME"},
	} {
		t.Run(name, func(t *testing.T) {
			text, err := start(test.flags...)
			if err == nil || !strings.Contains(text, test.want) {
				t.Errorf("%v, want %q\n%s", err, test.want, text)
			}
			if _, err := os.Stat(began); err == nil {
				os.Remove(began)
				t.Error("it began")
			}
		})
	}
}
