// SPDX-License-Identifier: Apache-2.0

//go:build root

package escape

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/phantom-ns/phantom-ns/test/rig"
)

const proxyGolden = "testdata/proxy.golden"

// TestPostureOfProxy compares what the kernel says of a serving proxy, of each
// of its threads, with a file: it has no capability, a filter, no core, and the
// descriptors that it serves with (P1, P2, P13).
func TestPostureOfProxy(t *testing.T) {
	s := newStage(t, attempt(t))
	said, says := io.Pipe()
	t.Cleanup(func() { said.Close() })
	// A request first, so that the proxy has every descriptor and thread it needs.
	const script = `curl -sS -o /dev/null https://` + name + `/ && echo ready; read -r _`
	wait, end := io.Pipe()
	p := s.world.Start(rig.Session{Policy: s.policy(""), Args: []string{"sh", "-c", script}, Stdin: wait, Stdout: says})
	if line, err := bufio.NewReader(said).ReadString('\n'); line != "ready\n" {
		t.Fatalf("the agent said %q: %v", line, err)
	}
	go io.Copy(io.Discard, said)
	proxy := rig.Child(t, p.Process.Pid, "phantom-ns: proxy")
	want, err := os.ReadFile(proxyGolden)
	s.must(err)
	got := posture(t, p.Process.Pid, proxy)
	// The proxy may have yet to read that curl has gone.
	for limit := time.Now().Add(5 * time.Second * rig.Pace()); got != string(want) && time.Now().Before(limit); {
		got = posture(t, p.Process.Pid, proxy)
	}
	end.Close()
	if r := p.Wait(); r.Exit != 1 || r.Stderr != "" { // of read, at the end of the input
		t.Errorf("got %v", r)
	}
	if *update {
		s.must(os.WriteFile(proxyGolden, []byte(got), 0o644))
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("posture (-want +got):\n%s", diff)
	}
}

// posture describes pid, a child of the supervisor.
func posture(t *testing.T, supervisor, pid int) string {
	t.Helper()
	all := threads(t, supervisor, pid)
	add := func(format string, arguments ...any) { all = append(all, fmt.Sprintf(format, arguments...)) }
	for _, kind := range []string{"cgroup", "ipc", "mnt", "net", "pid", "user", "uts"} {
		whose := "its own"
		if link(t, pid, "ns/"+kind) == link(t, supervisor, "ns/"+kind) {
			whose = "the host's"
		}
		add("namespace %s %s", kind, whose)
	}
	var owner unix.Stat_t
	if err := unix.Stat(fmt.Sprintf("/proc/%d/mem", pid), &owner); err != nil {
		t.Fatal(err)
	}
	add("memory belongs to uid %d", owner.Uid) // root's: it is not dumpable
	add("root %s", link(t, pid, "root"))
	add("folder %s", link(t, pid, "cwd"))
	add("environment %q", content(t, pid, "environ"))
	for line := range strings.Lines(content(t, pid, "limits")) {
		if fields := strings.Fields(line); strings.HasPrefix(line, "Max core file size") {
			add("core %s %s", fields[4], fields[5])
		}
	}
	for line := range strings.Lines(content(t, pid, "cgroup")) {
		if path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			add("cgroup %s", regexp.MustCompile(`/phantom-ns/[^/]+/`).ReplaceAllString(path, "/phantom-ns/ID/"))
		}
	}
	return strings.Join(append(all, descriptors(t, pid)...), "\n") + "\n"
}

// threads describes all threads by what they have in common; one that differs
// is a line of its own.
func threads(t *testing.T, supervisor, pid int) []string {
	t.Helper()
	parent := fields(content(t, supervisor, "status"))
	dirs, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid))
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, dir := range dirs {
		text, err := os.ReadFile(dir + "/status")
		if err != nil {
			continue // it has ended
		}
		status := fields(string(text))
		for _, key := range []string{"Uid", "Gid"} {
			ids := strings.Fields(status[key])
			if len(slices.Compact(slices.Clone(ids))) == 1 && ids[0] != "0" && ids[0] != fmt.Sprint(rig.UID) {
				status[key] = "its own"
			}
		}
		if status["CapBnd"] == parent["CapBnd"] {
			status["CapBnd"] = "the supervisor's"
		}
		// Whether root has groups is the host's affair.
		if status["Uid"] == "0 0 0 0" && status["Groups"] == parent["Groups"] {
			status["Groups"] = "the supervisor's"
		}
		for _, key := range []string{"Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp", "TracerPid"} {
			all = append(all, strings.TrimSpace(key+" "+status[key]))
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// descriptors counts what is open, by kind. The limits of the processor that
// Go's runtime watches depend on the host.
func descriptors(t *testing.T, pid int) []string {
	t.Helper()
	names, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	if err != nil {
		t.Fatal(err)
	}
	count := make(map[string]int)
	for _, name := range names {
		target, err := os.Readlink(name)
		if err != nil || strings.Contains(target, "/cpu.") {
			continue
		}
		if kind, _, ok := strings.Cut(target, ":["); ok {
			target = kind
		}
		count[target]++
	}
	var all []string
	for target, n := range count {
		all = append(all, fmt.Sprintf("descriptors %s %d", target, n))
	}
	slices.Sort(all)
	return all
}

func fields(status string) map[string]string {
	all := make(map[string]string)
	for line := range strings.Lines(status) {
		key, value, _ := strings.Cut(line, ":")
		all[key] = strings.Join(strings.Fields(value), " ")
	}
	return all
}

func content(t *testing.T, pid int, name string) string {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func link(t *testing.T, pid int, name string) string {
	t.Helper()
	target, err := os.Readlink(fmt.Sprintf("/proc/%d/%s", pid, name))
	if err != nil {
		t.Fatal(err)
	}
	return target
}
