// SPDX-License-Identifier: Apache-2.0

//go:build root

package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/phantom-ns/phantom-ns/enforcer/node/api"
)

// answerAttach is a daemon that takes every attachment.
func answerAttach(t *testing.T) (socket string, asked <-chan api.Attachment) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	all := make(chan api.Attachment, 1)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var a api.Attachment
		if err := api.Decode(r.Body, api.MaxRequest, &a); err != nil {
			t.Error(err)
		}
		json.NewEncoder(w).Encode(a)
		all <- a
	})}
	go server.Serve(l)
	t.Cleanup(func() { server.Close() })
	return socket, all
}

// A container is sealed that has no interface but lo and the tunnels that a
// module of the host's puts into every namespace.
func TestAContainersInterface(t *testing.T) {
	socket, asked := answerAttach(t)
	const tunnels = "ip link add tunl0 type veth peer name sit0 || ip link show tunl0 || ip link show sit0;"
	for links, want := range map[string]string{"": sealedLink, tunnels: sealedLink, tunnels + "ip link add net7 type veth peer name net70;": "net7"} {
		pid := startContainer(t, links)
		attach := func(socket string) (int, string) {
			var stderr bytes.Buffer
			e := environment{stdin: strings.NewReader(fmt.Sprintf(`{"id":"box","pid":%d}`, pid)), stderr: &stderr}
			return e.main([]string{hookName, "--policy", "coder", "--socket", socket, "attach"}), stderr.String()
		}
		if exit, says := attach(socket + "none"); exit == 0 || !strings.Contains(says, "the node's daemon does not answer") {
			t.Errorf("%s without a daemon: exit %d, says %s", links, exit, says)
		}
		if exit, says := attach(socket); exit != 0 {
			t.Fatalf("%s exit %d, says %s", links, exit, says)
		}
		a := <-asked
		if !strings.HasPrefix(a.Interface, want) || a.Sealed != (want == sealedLink) || a.Policy != "coder" || a.Network != network {
			t.Errorf("%s asked for %+v, want %s", links, a, want)
		}
	}
}

// startContainer makes a network namespace with links, and a process in it.
func startContainer(t *testing.T, links string) (pid int) {
	t.Helper()
	c := exec.Command("sh", "-ec", links+" echo ready; read end")
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close(); c.Wait() })
	lines := bufio.NewScanner(out)
	for lines.Scan() && lines.Text() != "ready" {
	}
	if lines.Text() != "ready" {
		t.Fatalf("%s %v", links, lines.Err())
	}
	return c.Process.Pid
}
