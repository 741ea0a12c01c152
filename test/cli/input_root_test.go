// SPDX-License-Identifier: Apache-2.0

//go:build root

package cli

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/phantom-ns/phantom-ns/netns/sandbox/mountinfo"
	"github.com/phantom-ns/phantom-ns/test/rig"
)

// started is what the agent of these tests prints. It must never be seen.
const started = "the agent started"

var agent = []string{"echo", started}

func policyFor(from string) string {
	return fmt.Sprintf("version: 1\ncredentials:\n  demo:\n    from: %s\n    env: [DEMO_KEY]\n    hosts: [api.demo.test]\n    inject: [bearer]\n    allow: [\"GET *\"]\n", from)
}

func TestBadInputIsRefused(t *testing.T) {
	w := rig.New(t)
	w.Write("/etc/phantom-ns/empty", nil, 0o600)
	w.Write("/etc/phantom-ns/newline", []byte("0123456789abcdef\n0123456789abcdef\n"), 0o600)
	w.Give("/home/phantom-test/printer", []byte("#!/bin/sh\necho 0123456789abcdef0123456789abcdef\n"), 0o755)
	tests := []struct {
		name    string
		session rig.Session
		exit    int
		names   string // the line that names the thing
		says    string // the line that says what to do
	}{
		{"unknown key in the policy", rig.Session{Policy: "version: 1\negres: []\n"}, 125, "session.yaml:2:1", "egres: []"},
		{"no version", rig.Session{Policy: "egress: []\n"}, 125, "session.yaml", "a policy begins with version: 1"},
		{"empty policy", rig.Session{Policy: "\n"}, 125, "session.yaml", "a policy begins with version: 1"},
		{"missing policy", rig.Session{Flags: []string{"--policy", "/etc/phantom-ns/none.yaml"}}, 125, "/etc/phantom-ns/none.yaml", "check the path"},
		{"unknown provider", rig.Session{Policy: strings.Replace(policyFor("env:DEMO"), "inject", "provider: nobody\n    inject", 1), Env: []string{"DEMO=0123456789abcdef0123456789abcdef"}}, 125, "nobody", "known are: anthropic,"},
		{"unknown credential", rig.Session{With: []string{"nobody"}}, 125, "nobody", "secret set"},
		{"unset variable", rig.Session{Policy: policyFor("env:UNSET_KEY")}, 125, "env:UNSET_KEY", "export it in the shell"},
		{"empty credential", rig.Session{Policy: policyFor("file:/etc/phantom-ns/empty")}, 125, "demo", "look at it by hand"},
		{"newline in a credential", rig.Session{Policy: policyFor("file:/etc/phantom-ns/newline")}, 125, "demo", "on one line"},
		{"missing file", rig.Session{Policy: policyFor("file:/etc/phantom-ns/absent")}, 125, "file:/etc/phantom-ns/absent", "check the path"},
		{"exec that the user can write", rig.Session{Policy: policyFor("exec:/home/phantom-test/printer")}, 125, "exec:/home/phantom-test/printer", "chown and chmod what is named"},
		{"plain root", rig.Session{Root: true}, 125, "never runs as root", "--user"},
		{"unknown user", rig.Session{User: "nobody-of-that-name"}, 125, "nobody-of-that-name", "--user"},
		{"unknown flag", rig.Session{Flags: []string{"--no-such-flag"}}, 125, "no-such-flag", "--help"},
		{"profile that there is not", rig.Session{Flags: []string{"--profile", "clod"}}, 125, "clod", "claude"},
		{"bad host in --allow", rig.Session{Allow: []string{"exa mple.org"}}, 125, "--allow", "a host is letters"},
		{"system directory as working directory", rig.Session{Dir: "/etc"}, 125, "/etc", "in a project folder"},
		{"command not found", rig.Session{Args: []string{"no-such-command"}}, 127, "no-such-command", "PATH"},
		{"command not executable", rig.Session{Args: []string{"/etc/passwd"}}, 126, "/etc/passwd", "chmod"},
	}
	before := rig.Snapshot(t)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if test.session.Args == nil {
				test.session.Args = agent
			}
			r := w.Run(test.session)
			if r.Exit != test.exit {
				t.Errorf("exit %d, want %d", r.Exit, test.exit)
			}
			if strings.Contains(r.Stdout, started) {
				t.Error("the agent started")
			}
			if !strings.Contains(r.Stderr, test.names) || !strings.Contains(r.Stderr, test.says) {
				t.Errorf("the message lacks %q or %q", test.names, test.says)
			}
			if lines := strings.Count(r.Stderr, "\n"); lines < 1 || lines > 3 {
				t.Errorf("%d lines, want one or two and at most a notice", lines)
			}
			if t.Failed() {
				t.Log(r)
			}
		})
	}
	if left := rig.Leftovers(t, before); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// O3: a policy that says nothing, and none, let nothing through.
func TestO3EmptyPoliciesAllowNothing(t *testing.T) {
	w := rig.New(t)
	upstream := rig.NewUpstream(t, w.Listen)
	upstream.Serve("api.demo.test", upstream.Echo(""))
	const script = "curl -fsS -o /dev/null https://api.demo.test/ && echo " + started
	for name, policy := range map[string]string{
		"none": "", "nothing": "version: 1\n", "empty lists": "version: 1\ncredentials: {}\negress: []\n",
		"a place and no permission": "version: 1\n" + upstream.Hosts(),
		"no request":                "version: 1\negress:\n  - {host: api.demo.test, allow: []}\n" + upstream.Hosts(),
	} {
		t.Run(name, func(t *testing.T) {
			r := w.Run(rig.Session{Policy: policy, Args: []string{"sh", "-c", script}})
			if r.Exit == 0 || strings.Contains(r.Stdout, started) {
				t.Errorf("got %v", r)
			}
		})
	}
	if seen := upstream.Exchanges(""); len(seen) > 0 {
		t.Errorf("the upstream got %v", seen)
	}
	allowed := "version: 1\negress:\n  - host: api.demo.test\n" + upstream.Hosts()
	if r := w.Run(rig.Session{Policy: allowed, Args: []string{"sh", "-c", script}}); r.Exit != 0 {
		t.Errorf("a policy that allows it: %v", r)
	}
}

func TestPolicyOfAnotherUserShowsNoLine(t *testing.T) {
	w := rig.New(t)
	const secret = "this-line-is-not-for-everyone"
	w.Write("/etc/phantom-ns/private.yaml", []byte("version: 1\n"+secret+": true\n"), 0o600)
	r := w.Run(rig.Session{Flags: []string{"--policy", "/etc/phantom-ns/private.yaml"}, Args: agent})
	if r.Exit != 125 || !strings.Contains(r.Stderr, "private.yaml:2") {
		t.Errorf("want exit 125 and the place of the error: %v", r)
	}
	if strings.Contains(r.Stderr, secret) || strings.Contains(r.Stdout, started) {
		t.Errorf("a line of a private file was shown, or the agent started: %v", r)
	}
	w.Write("/home/other/policy.yaml", []byte("version: 1\n"), 0o600)
	if err := w.Do(func() error { return os.Chown("/home/other/policy.yaml", rig.UID+1, rig.GID+1) }); err != nil {
		t.Fatal(err)
	}
	r = w.Run(rig.Session{Flags: []string{"--policy", "/home/other/policy.yaml"}, Args: agent})
	if r.Exit != 125 || !strings.Contains(r.Stderr, "permission denied") {
		t.Errorf("another user's private policy was used: %v", r)
	}
}

func TestNotRootIsRefused(t *testing.T) {
	w := rig.New(t)
	cmd := exec.Command(rig.Binary(t), "run", "true")
	var out strings.Builder
	cmd.Stderr = &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: rig.UID, Gid: rig.GID}}
	err := w.Do(cmd.Run)
	if cmd.ProcessState.ExitCode() != 125 || !strings.Contains(out.String(), "sudo") {
		t.Errorf("exit %v: %s", err, out.String())
	}
}

func TestO1WithoutCgroup2IsRefused(t *testing.T) {
	w := rig.New(t)
	unmountCgroup2(t, w)
	r := w.Run(rig.Session{Args: agent})
	if r.Exit != 125 || !strings.Contains(r.Stderr, "cgroup v2") || !strings.Contains(r.Stderr, "mount -t cgroup2") || strings.Contains(r.Stdout, started) {
		t.Errorf("got %v", r)
	}
}

// unmountCgroup2 takes every cgroup v2 out of the world's sight.
func unmountCgroup2(t *testing.T, w *rig.World) {
	t.Helper()
	err := w.Do(func() error {
		for {
			point, err := cgroup2Mount()
			if err != nil || point == "" {
				return err
			}
			if err := unix.Unmount(point, unix.MNT_DETACH); err != nil {
				return err
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
}

// cgroup2Mount returns where the calling thread sees cgroup v2, or nothing.
func cgroup2Mount() (string, error) {
	mounts, err := mountinfo.Read()
	for _, m := range mounts {
		if m.Kind == "cgroup2" {
			return m.Path, nil
		}
	}
	return "", err
}

// The kernel itself tells a program of this personality that it is a 2.6.
func TestO1KernelBelowTheFloorIsRefused(t *testing.T) {
	w := rig.New(t)
	const uname26 = 0x0020000 // UNAME26, linux/personality.h
	var r rig.Result
	err := w.Do(func() error {
		_, _, errno := unix.RawSyscall(unix.SYS_PERSONALITY, uname26, 0, 0)
		if errno != 0 {
			return errno
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	r = w.Run(rig.Session{Args: agent})
	if r.Exit != 125 || !strings.Contains(r.Stderr, "below 5.10") || strings.Contains(r.Stdout, started) {
		t.Errorf("got %v", r)
	}
}

func TestIPv6SwitchedOffWorks(t *testing.T) {
	w := rig.New(t)
	w.DisableIPv6()
	if r := w.Run(rig.Session{Args: agent}); r.Exit != 0 || !strings.Contains(r.Stdout, started) {
		t.Errorf("got %v", r)
	}
}
