// SPDX-License-Identifier: Apache-2.0

//go:build root

package sandbox

import (
	"flag"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

var update = flag.Bool("update", false, "write the golden files")

// What a real agent is, as the kernel tells it (P10, P13, P4).
func TestPostureOfAgent(t *testing.T) {
	got := newRig(t).agent("posture")
	// What the supervisor ignores the agent ignores, or nohup would not work.
	inherited := "SigIgn " + ignoredSignals(t)
	got = strings.Replace(got, inherited+"\n", "SigIgn inherited\n", 1)
	golden := filepath.Join("testdata", "posture.golden")
	if *update {
		must(t, os.WriteFile(golden, []byte(got), 0o644))
	}
	want, err := os.ReadFile(golden)
	must(t, err)
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("posture (-want +got):\n%s", diff)
	}
}

func ignoredSignals(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("/proc/self/status")
	must(t, err)
	return parseStatus(string(text))["SigIgn"]
}

// A thread that differs, of any kind, keeps the agent from running.
func TestPostureRefuses(t *testing.T) {
	want := User{UID: 7, GID: 8, Groups: []int{9}}.status()
	text := func(change ...string) string {
		var b strings.Builder
		for key, value := range want {
			for i := 0; i < len(change); i += 2 {
				if change[i] == key {
					value = change[i+1]
				}
			}
			fmt.Fprintf(&b, "%s:\t%s\n", key, strings.ReplaceAll(value, " ", "\t"))
		}
		return b.String()
	}
	outside, err := namespaces("/proc/self/ns")
	must(t, err)
	own := map[string]uint64{"cgroup": 1, "ipc": 1, "mnt": 1, "net": 1, "pid": 1, "uts": 1}
	for name, c := range map[string]struct {
		status  string
		outside map[string]uint64
		net     uint64
		refused string
	}{
		"as wanted":     {text(), own, outside["net"], ""},
		"another uid":   {text("Uid", "7 7 0 7"), own, outside["net"], "Uid"},
		"another gid":   {text("Gid", "0 8 8 8"), own, outside["net"], "Gid"},
		"more groups":   {text("Groups", "0 9"), own, outside["net"], "Groups"},
		"a capability":  {text("CapBnd", "0000000000000001"), own, outside["net"], "CapBnd"},
		"may gain":      {text("NoNewPrivs", "0"), own, outside["net"], "NoNewPrivs"},
		"no filter":     {text("Seccomp", "0"), own, outside["net"], "Seccomp"},
		"host's mounts": {text(), outside, outside["net"], "namespace"},
		"other network": {text(), own, 5, "namespace net"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			must(t, os.WriteFile(filepath.Join(dir, "status"), []byte(c.status), 0o644))
			must(t, os.Symlink("/proc/self/ns", filepath.Join(dir, "ns")))
			p := &pid1{body: specBody{Outside: c.outside, Net: c.net}}
			err := p.checkTask(dir, want)
			if c.refused == "" && err != nil || c.refused != "" && (err == nil || !strings.HasPrefix(err.Error(), c.refused)) {
				t.Errorf("checkTask: %v, want one about %q", err, c.refused)
			}
		})
	}
}

// R8, P10: whatever the supervisor holds open, inheritable or not, the agent
// has 0, 1 and 2.
func TestR8NoDescriptorGetsIn(t *testing.T) {
	r := newRig(t)
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0) // without CLOEXEC
	must(t, err)
	defer unix.Close(pair[0])
	defer unix.Close(pair[1])
	got := r.agent("posture")
	if n := strings.Count(got, "\nfd "); n != 3 {
		t.Errorf("the agent has %d descriptors:\n%s", n, got)
	}
}

// P1, P2, P3: processes outside, and init inside, are out of reach.
func TestP1ProcessesOutOfReach(t *testing.T) {
	r := newRig(t)
	if got := r.agent("poke", fmt.Sprint(os.Getpid()), fmt.Sprint(os.Getppid())); got != "" {
		t.Errorf("the agent reached:\n%s", got)
	}
}

// P4: set-user-id does nothing, in the places that are writable for real too.
func TestP4SetUserID(t *testing.T) {
	r := newRig(t)
	id, err := os.ReadFile("/usr/bin/id")
	must(t, err)
	name := filepath.Join(r.dir, "id")
	must(t, os.WriteFile(name, id, 0o755))
	must(t, os.Chmod(name, 0o755|os.ModeSetuid))
	text, _ := r.run("sh", "-c", "./id -u; ./id -ru; /usr/bin/su -c id </dev/null >/dev/null 2>&1 || echo refused")
	if text != "31001\n31001\nrefused\n" {
		t.Errorf("wrote %q", text)
	}
}

// R10: no cgroup is in sight, so none can be entered.
func TestR10NoCgroups(t *testing.T) {
	r := newRig(t)
	text, _ := r.run("sh", "-c", "ls -A /sys/fs/cgroup /sys/fs/bpf /sys/kernel/debug /sys/kernel/tracing 2>/dev/null | grep -v : | grep .; find / -name cgroup.procs 2>/dev/null; grep -c cgroup2 /proc/self/mounts; ls /sys/class/net")
	if text != "1\nlo\n" && text != "0\nlo\n" { // the mount below our /sys is listed, and out of reach
		t.Errorf("wrote %q", text)
	}
}

// R12: a daemon holds the agent's output open; it ends with the session.
func TestR12DaemonDies(t *testing.T) {
	r := newRig(t)
	text, status := r.run("sh", "-c", "setsid sh -c 'setsid sleep 1000 & setsid sleep 1000' & echo started")
	if text != "started\n" || status != (Status{}) {
		t.Errorf("wrote %q and ended with %+v", text, status)
	}
}

// P5: abstract sockets belong to the host's network namespace.
func TestP5AbstractSocket(t *testing.T) {
	r := newRig(t)
	l, err := net.Listen("unix", "@phantom-ns-test")
	must(t, err)
	defer l.Close()
	r.launch.Path = self(t)
	text, status := r.run("agent:unix", "@phantom-ns-test")
	if !strings.Contains(text, "connection refused") {
		t.Errorf("wrote %q and ended with %+v", text, status)
	}
}
