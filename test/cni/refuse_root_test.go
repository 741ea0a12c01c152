// SPDX-License-Identifier: Apache-2.0

//go:build root

package cni

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// K5: the host's network, under whatever name, is refused loudly, and the host
// goes on as before.
func TestK5HostNetwork(t *testing.T) {
	n := newNode(t)
	l := n.list(t, "1.0.0", "sealed", n.ours(underWeb))
	bound := filepath.Join(n.scratch, "host")
	if err := os.WriteFile(bound, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	err := n.Do(func() error { return unix.Mount("/proc/thread-self/ns/net", bound, "", unix.MS_BIND, "") })
	if err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(n.scratch, "link")
	if err := os.Symlink(bound, link); err != nil {
		t.Fatal(err)
	}
	for name, path := range map[string]string{
		"the daemon's": "/proc/" + itoa(n.daemon.PID()) + "/ns/net",
		"bound":        bound,
		"by a link":    link,
		"of PID 1":     "/proc/1/ns/net",
	} {
		c := n.newContainer(t)
		c.NetNS = path
		_, err := c.add(l)
		wantCode(t, name, err, 4)
		if err != nil && !strings.Contains(err.Error(), "CNI_NETNS") {
			t.Errorf("%s: %v does not name the variable", name, err)
		}
	}
	if held := n.attachments(t); len(held) > 0 {
		t.Errorf("held: %+v", held)
	}
	free := n.newContainer(t)
	free.NetNS = bound
	if out, exit := free.run(t, "curl", "-sS", "--max-time", "10", "--cacert", n.upstream.CA, "--connect-to", "::"+n.upstream.Address(), "https://"+host+"/v1/models"); exit != 0 {
		t.Errorf("the host itself: exit %d %s", exit, out)
	}
}

// K3: what a namespace is not has its code at once, and leaves nothing.
func TestK3WhatIsNoNamespace(t *testing.T) {
	n := newNode(t)
	l := n.list(t, "1.0.0", "sealed", n.ours(underWeb))
	fifo := filepath.Join(n.scratch, "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, path := range map[string]string{
		"nothing":             filepath.Join(n.scratch, "gone"),
		"a file":              "/etc/passwd",
		"a directory":         "/",
		"a FIFO":              fifo,
		"another kind":        "/proc/self/ns/mnt",
		"dots":                "/run/netns/../../etc/shadow",
		"longer than a path":  "/" + strings.Repeat("a", 5000),
		"of a dead process":   "/proc/4194304/ns/net",
		"a memory of devices": "/dev/zero",
	} {
		c := n.newContainer(t)
		c.NetNS = path
		_, err := c.add(l)
		wantCode(t, name, err, 4)
	}
	if held := n.attachments(t); len(held) > 0 {
		t.Errorf("held: %+v", held)
	}
}
