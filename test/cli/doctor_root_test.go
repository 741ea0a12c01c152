// SPDX-License-Identifier: Apache-2.0

//go:build root

package cli

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/phantom-ns/phantom-ns/bpf"
	"github.com/phantom-ns/phantom-ns/test/rig"
)

// finding is one element of doctor --json.
type finding struct{ Check, Status, Detail, Remedy string }

// examine runs doctor as plain root would for the world's user, who has Go.
func examine(t *testing.T, w *rig.World, exit int, flags ...string) []finding {
	t.Helper()
	program, err := exec.LookPath("go")
	if err != nil {
		t.Fatal(err)
	}
	s := rig.Session{Root: true, Dir: "/", Env: []string{"PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:" + filepath.Dir(program)}}
	r := w.Program(s, rig.Binary(t), append([]string{"doctor", "--json", "--user", rig.User}, flags...)...).Wait()
	var all []finding
	if err := json.Unmarshal([]byte(r.Stdout), &all); err != nil || r.Exit != exit || r.Stderr != "" {
		t.Fatalf("want exit %d and JSON: %v, %v", exit, err, r)
	}
	for _, f := range all {
		if f.Status == "fail" && f.Remedy == "" {
			t.Errorf("%s does not say what to do: %s", f.Check, f.Detail)
		}
		if f.Detail == "" || strings.Contains(f.Detail+f.Remedy, "\n") {
			t.Errorf("%+v is no line", f)
		}
	}
	return all
}

// named returns the findings of one check.
func named(all []finding, check string) (out []finding) {
	for _, f := range all {
		if f.Check == check {
			out = append(out, f)
		}
	}
	return out
}

// wants is what one check must have said.
func wants(t *testing.T, all []finding, check, status, says string) {
	t.Helper()
	found := named(all, check)
	if len(found) != 1 || found[0].Status != status || !strings.Contains(found[0].Detail+" "+found[0].Remedy, says) {
		t.Errorf("want %s %s with %q, got %+v", status, check, says, found)
	}
}

// kernelStatus is doctor's of this kernel: where the legacy object serves, a person
// is told what a newer one would do.
func kernelStatus(t *testing.T) string {
	t.Helper()
	_, missing, err := bpf.Missing()
	if err != nil {
		t.Fatal(err)
	}
	if len(missing) > 0 {
		return "warn"
	}
	return "ok"
}

func TestDoctorFindsAWorkingMachine(t *testing.T) {
	w := rig.New(t)
	before := rig.Snapshot(t)
	tap := w.Tap(func(p rig.Packet) bool {
		return p.Src.Addr() == p.Dst.Addr() || p.Src.Addr().IsLoopback() || p.Dst.Port() == 53
	})
	all := examine(t, w, 0)
	wants(t, all, "kernel", kernelStatus(t), "")
	checks := []string{"cgroup", "seccomp", "mounts", "roots", "store", "policy", "session", "swap", "curl", "git", "openssl", "python", "node", "go", "java"}
	if _, err := exec.LookPath("npm"); err == nil { // Debian's Node comes without
		checks = append(checks, "npm")
	}
	for _, check := range checks {
		wants(t, all, check, "ok", "")
	}
	wants(t, all, "clock", named(all, "clock")[0].Status, "20") // a container's clock is not its own to judge
	wants(t, all, "swap", "ok", "curl")
	wants(t, all, "curl", "ok", rig.User)
	if seen := tap.Stop(); len(seen) > 0 {
		t.Errorf("packets left: %v", seen)
	}
	if left := rig.Leftovers(t, before); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if left, err := filepath.Glob("/var/cache/phantom-ns-doctor-*"); len(left) > 0 || err != nil {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// A person reads columns, and a line that says what to do below what failed.
func TestDoctorPrintsForPeople(t *testing.T) {
	w := rig.New(t)
	w.Give(rig.Home+"/.curlrc", []byte("cacert = /home/phantom-test/broken.pem\n"), 0o644)
	w.Give(rig.Home+"/broken.pem", []byte("-----BEGIN CERTIFICATE-----\nbroken\n"), 0o644)
	w.Write("/var/lib/phantom-ns/store.age", []byte("damaged"), 0o600)
	w.Write("/var/lib/phantom-ns/key", []byte("damaged"), 0o600)
	w.Write("/etc/phantom-ns/policy.yaml", []byte("version: 1\ncredentials: {demo: {from: \"file:/etc/phantom-ns/absent\", env: [DEMO], hosts: [a.test]}}\n"), 0o600)
	r := w.Command(nil, "doctor", "--user", rig.User)
	if r.Exit != 1 || r.Stderr != "" {
		t.Fatalf("want exit 1: %v", r)
	}
	lines := strings.Split(r.Stdout, "\n")
	kernel := kernelStatus(t)
	if kernel == "warn" {
		lines = slices.Delete(lines, 1, 2) // what to do
	}
	for i, want := range []string{fmt.Sprintf("%-6skernel   ", kernel), "ok    cgroup   ", "ok    seccomp  "} {
		if !strings.HasPrefix(lines[i], want) {
			t.Errorf("line %d is %q", i+1, lines[i])
		}
	}
	for _, want := range []string{"fail  store    ", "fail  source   ", "fail  curl     ", "ok    swap     ", "ok    git      ", ", 3 failed\n"} {
		if !strings.Contains(r.Stdout, "\n"+want) && !strings.HasPrefix(want, ",") || !strings.Contains(r.Stdout, want) {
			t.Errorf("no line %q in\n%s", want, r.Stdout)
		}
	}
	for _, want := range []string{"demo", "do: look at ~/.curlrc"} {
		if !strings.Contains(r.Stdout, want) {
			t.Errorf("no %q in\n%s", want, r.Stdout)
		}
	}
}

func TestDoctorFindsWhatIsBroken(t *testing.T) {
	w := rig.New(t)
	w.Write("/etc/phantom-ns/policy.yaml", []byte("version: 1\negres: []\n"), 0o600)
	w.Write("/etc/resolv.conf", []byte("nameserver 127.0.0.9\noptions timeout:1 attempts:1\n"), 0o644)
	err := w.Do(func() error { return unix.Mount("none", "/etc/ssl/certs", "tmpfs", 0, "") })
	if err != nil {
		t.Fatal(err)
	}
	all := examine(t, w, 1)
	wants(t, all, "policy", "fail", "egres")
	wants(t, all, "names", "warn", "resolv.conf")
	wants(t, all, "roots", "fail", "ca-certificates")
	wants(t, all, "session", "fail", "")
	if len(named(all, "curl"))+len(named(all, "swap")) != 0 {
		t.Errorf("programs were tried without a session: %+v", all)
	}
}

func TestDoctorWithoutCgroup2(t *testing.T) {
	w := rig.New(t)
	unmountCgroup2(t, w)
	all := examine(t, w, 1)
	wants(t, all, "kernel", kernelStatus(t), "")
	wants(t, all, "cgroup", "fail", "mount -t cgroup2")
	wants(t, all, "session", "fail", "mount -t cgroup2")
}

func TestDoctorWantsRootAndAUser(t *testing.T) {
	w := rig.New(t)
	if r := w.Command(nil, "doctor"); r.Exit != 125 || !strings.Contains(r.Stderr, "--user") {
		t.Errorf("plain root: %v", r)
	}
}

// Everything that prints facts prints them as JSON, too, in one spelling.
func TestFactsAreJSON(t *testing.T) {
	w := rig.New(t)
	if r := w.Command(strings.NewReader("0123456789abcdef0123\n"), "secret", "set", "work", "--host", "a.example"); r.Exit != 0 {
		t.Fatal(r)
	}
	for _, c := range []struct {
		args []string
		says string
	}{
		{[]string{"secret", "list", "--json"}, `"name":"work","hosts":["a.example"]`},
		{[]string{"gc", "--json"}, "[]"},
		{[]string{"version", "--json"}, `{"version":"`},
	} {
		r := w.Command(nil, c.args...)
		if !json.Valid([]byte(r.Stdout)) || r.Exit != 0 || !strings.Contains(r.Stdout, c.says) || strings.Contains(r.Stdout, `"Name"`) {
			t.Errorf("%v: %v", c.args, r)
		}
	}
	if r := w.Command(nil, "--version"); r.Exit != 0 || !strings.HasPrefix(r.Stdout, "phantom-ns ") {
		t.Errorf("--version: %v", r)
	}
}
