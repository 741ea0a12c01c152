// SPDX-License-Identifier: Apache-2.0

//go:build root

package reach

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/phantom-ns/phantom-ns/proxy/audit"
	"github.com/phantom-ns/phantom-ns/test/rig"
)

// postgres starts a database server on the world's loopback, as the invoking
// user: it refuses to run as root.
func postgres(t *testing.T, w *rig.World) {
	t.Helper()
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	if len(found) == 0 {
		t.Fatal("no PostgreSQL: test/setup/install.sh clients installs it")
	}
	bin, data := filepath.Dir(found[len(found)-1]), rig.Home+"/db"
	run := func(name string, args ...string) *exec.Cmd {
		cmd := exec.Command(filepath.Join(bin, name), args...)
		cmd.Dir = rig.Home
		cmd.Env = []string{"PATH=/usr/bin:/bin", "LANG=C.UTF-8", "HOME=" + rig.Home}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: rig.UID, Gid: rig.GID}, Pdeathsig: syscall.SIGKILL}
		return cmd
	}
	initdb := run("initdb", "-D", data, "-U", "app", "--auth=trust", "--no-sync", "-E", "UTF8")
	var said strings.Builder
	initdb.Stdout, initdb.Stderr = &said, &said
	if err := w.Do(initdb.Run); err != nil {
		t.Fatalf("initdb: %v\n%s", err, said.String())
	}
	server := run("postgres", "-D", data, "-h", "127.0.0.1", "-p", "5432", "-c", "unix_socket_directories=", "-c", "fsync=off")
	log, err := server.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Do(server.Start); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		server.Process.Signal(os.Interrupt) // postgres(1): disconnects clients and ends
		server.Wait()
	})
	for lines := bufio.NewScanner(log); ; {
		if !lines.Scan() {
			t.Fatal("postgres ended before it was ready")
		}
		if strings.Contains(lines.Text(), "ready to accept connections") {
			go io.Copy(io.Discard, log)
			return
		}
	}
}

func TestForwardReachesADatabase(t *testing.T) {
	w := rig.New(t)
	postgres(t, w)
	query := func(policy, host string) rig.Result {
		t.Helper()
		return w.Run(rig.Session{Policy: policy, Args: []string{"psql", "-h", host, "-U", "app", "-d", "postgres", "-Atc", "select 'answer ' || 6*7"}})
	}
	const forward = "version: 1\nforward:\n  - \"127.0.0.1:5432\"\n"
	for _, host := range []string{"127.0.0.1", "::1", "localhost"} {
		if r := query(forward, host); r.Exit != 0 || r.Stdout != "answer 42\n" || r.Stderr != "" {
			t.Errorf("%s: %v", host, r)
		}
	}
	if r := query("version: 1\n", "127.0.0.1"); r.Exit == 0 || !strings.Contains(r.Stderr, "refused") {
		t.Errorf("without forward: %v", r)
	}
	for _, r := range w.Audit() {
		if r.Kind != audit.KindConnect {
			continue
		}
		if r.Verdict != audit.Allow || r.Name != "127.0.0.1" || r.Port != 5432 || r.Rule != "/etc/phantom-ns/session.yaml:3" || r.BytesIn == 0 || r.BytesOut == 0 {
			t.Errorf("record: %+v", r)
		}
	}
	if n := connects(w.Audit()); n != 3 {
		t.Errorf("%d records of three connections", n)
	}
}

func connects(records []audit.Record) (n int) {
	for _, r := range records {
		if r.Kind == audit.KindConnect {
			n++
		}
	}
	return n
}

// A service that is not there leaves a record too, and the agent a closed
// connection.
func TestForwardToNobody(t *testing.T) {
	w := rig.New(t)
	r := w.Run(rig.Session{
		Policy: "version: 1\nforward: [\"127.0.0.1:7432\"]\n",
		Args:   []string{"python3", "-c", "import socket\ntry: print(socket.create_connection(('127.0.0.1', 7432)).recv(1))\nexcept ConnectionResetError: print('reset')"},
	})
	if r.Exit != 0 || r.Stdout != "reset\n" {
		t.Errorf("got %v", r)
	}
	for _, r := range w.Audit() {
		if r.Kind == audit.KindConnect && (r.Verdict != audit.Deny || r.Reason != audit.ReasonUpstreamUnreachable || r.Port != 7432) {
			t.Errorf("record: %+v", r)
		}
	}
	if n := connects(w.Audit()); n != 1 {
		t.Errorf("%d records of one connection", n)
	}
}
