// SPDX-License-Identifier: Apache-2.0

//go:build root

package leak

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/phantom-ns/phantom-ns/test/rig"
)

const host = "api.leak.test"

// use is an agent that uses the credential, prints the answer, and stays.
const use = `curl -sS -H "Authorization: Bearer $DEMO_KEY" https://` + host + `/; echo; echo ready; sleep 60; :`

// inUse is a session whose credential was just used.
type inUse struct {
	world   *rig.World
	process *rig.Process
	key     string
	answer  string
}

// start stores a credential and runs the agent. The upstream echoes whatever it
// got: the answer itself is the first place to look at.
func start(t *testing.T) *inUse {
	t.Helper()
	u := &inUse{world: rig.New(t), key: rig.Canary(t, "")}
	if r := u.world.Command(strings.NewReader(u.key), "secret", "set", "demo", "--host", host); r.Exit != 0 {
		t.Fatalf("secret set: %v", r)
	}
	upstream := rig.NewUpstream(t, u.world.Listen)
	upstream.Serve(host, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Echo", r.Header.Get("Authorization"))
		fmt.Fprintf(w, "sent %s", r.Header.Get("Authorization"))
	}))
	policy := "version: 1\ncredentials:\n  demo:\n    from: store:demo\n    env: [DEMO_KEY]\n" + upstream.Hosts()
	said, says := io.Pipe()
	t.Cleanup(func() { said.Close() })
	u.process = u.world.Start(rig.Session{Policy: policy, Args: []string{"sh", "-c", use}, Stdout: says})
	lines := bufio.NewScanner(said)
	for lines.Scan() && lines.Text() != "ready" {
		u.answer += lines.Text()
	}
	go io.Copy(io.Discard, said)
	exchanges := upstream.Exchanges(host)
	if len(exchanges) != 1 || exchanges[0].Header.Get("Authorization") != "Bearer "+u.key {
		t.Fatalf("the credential was not used: %+v, answer %q", exchanges, u.answer)
	}
	return u
}

// family is the session's processes by name, the agent's among them.
func (u *inUse) family(t *testing.T) map[string]int {
	t.Helper()
	family := map[string]int{"supervisor": u.process.Process.Pid}
	var visit func(pid int)
	visit = func(pid int) {
		for name, child := range rig.Children(t, pid) {
			family[name] = child
			visit(child)
		}
	}
	visit(u.process.Process.Pid)
	return family
}

func TestL8CredentialIsInNoOtherProcess(t *testing.T) {
	u := start(t)
	family := u.family(t)
	for _, name := range []string{"supervisor", "phantom-ns: proxy", "phantom-ns: init", "sh"} {
		pid, ok := family[name]
		if !ok {
			t.Fatalf("no process %q in %v", name, family)
		}
		for _, file := range []string{"cmdline", "environ", "status", "maps"} {
			data, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file))
			if err != nil || bytes.Contains(data, []byte(u.key)) {
				t.Errorf("%s of %s: %v, or it shows the credential", file, name, err)
			}
		}
		if name == "phantom-ns: proxy" {
			continue // it has to have it
		}
		if searched, found := searchMemory(t, pid, []byte(u.key)); found || searched == 0 {
			t.Errorf("memory of %s: %d bytes read, found %v", name, searched, found)
		}
	}
	oracle := rig.NewOracle(u.key)
	if hits := oracle.Bytes("answer", []byte(u.answer)); len(hits) > 0 || !strings.HasPrefix(u.answer, "sent Bearer ") {
		t.Errorf("the agent read %q", u.answer)
	}
}

// The search itself finds what is there: the proxy or, where its pages are out
// of reach even of root, this process.
func TestSearchMemoryFinds(t *testing.T) {
	key := []byte(rig.Canary(t, ""))
	if _, found := searchMemory(t, os.Getpid(), key); !found {
		t.Error("the search did not find what this process holds")
	}
}

// searchMemory looks for what through all that a process may read and write.
func searchMemory(t *testing.T, pid int, what []byte) (searched int, found bool) {
	t.Helper()
	return searchMappings(t, pid, what, func([]string) bool { return true })
}

// searchBesideSecrets is searchMemory but for what package secret maps: where the
// kernel has no memfd_secret, root reads in there what is kept on purpose. These
// alone are neither dumped nor copied.
func searchBesideSecrets(t *testing.T, pid int, what []byte) (searched int, found bool) {
	t.Helper()
	return searchMappings(t, pid, what, func(flags []string) bool {
		return !slices.Contains(flags, "dd") || !slices.Contains(flags, "dc")
	})
}

// searchMappings is told by their flags (VmFlags in proc_pid_smaps(5)) which
// mappings count.
func searchMappings(t *testing.T, pid int, what []byte, counts func(flags []string) bool) (searched int, found bool) {
	t.Helper()
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps", pid))
	if err != nil {
		t.Fatal(err)
	}
	memory, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
	if err != nil {
		t.Fatal(err)
	}
	defer memory.Close()
	buffer := make([]byte, 1<<20)
	var from, to int64
	var mode string
	for line := range strings.Lines(string(maps)) {
		if a, b, m, ok := mapping(line); ok { // whose flags follow
			from, to, mode = a, b, m
		}
		flags, ok := strings.CutPrefix(line, "VmFlags:")
		if !ok || !strings.HasPrefix(mode, "rw") || !counts(strings.Fields(flags)) {
			continue
		}
		overlap := int64(len(what))
		for at := from; at < to; at += int64(len(buffer)) - overlap {
			n, err := memory.ReadAt(buffer[:min(int64(len(buffer)), to-at)], at)
			if n == 0 && err != nil {
				break // reserved and never touched, or out of reach
			}
			searched += n
			if bytes.Contains(buffer[:n], what) {
				return searched, true
			}
		}
	}
	return searched, false
}

// mapping is what the first line of a mapping in smaps says.
func mapping(line string) (from, to int64, mode string, ok bool) {
	n, _ := fmt.Sscanf(line, "%x-%x %s", &from, &to, &mode)
	return from, to, mode, n == 3
}

// A dump of the proxy's stacks would print arguments and so, sooner or later, a
// credential.
func TestL8QuitDumpsNothing(t *testing.T) {
	u := start(t)
	if err := syscall.Kill(u.family(t)["phantom-ns: proxy"], syscall.SIGQUIT); err != nil {
		t.Fatal(err)
	}
	r := u.process.Wait()
	if r.Exit != 125 {
		t.Errorf("the session outlived its proxy: %v", r)
	}
	u.searchTraces(t, r)
}

func TestL8NothingIsWrittenDown(t *testing.T) {
	u := start(t)
	u.process.Process.Signal(syscall.SIGTERM)
	u.searchTraces(t, u.process.Wait())
}

// searchTraces looks at what the session printed and at every file it could
// have written.
func (u *inUse) searchTraces(t *testing.T, r rig.Result) {
	t.Helper()
	oracle := rig.NewOracle(u.key)
	hits := oracle.Bytes("output", r.Bytes())
	err := u.world.Do(func() error {
		files, err := oracle.Files("/var/log/phantom-ns", "/var/lib/phantom-ns", "/etc/phantom-ns", "/run/phantom-ns", rig.Home, "/var/crash", "/var/lib/systemd/coredump")
		hits = append(hits, files...)
		return err
	})
	if err != nil || len(hits) > 0 {
		t.Errorf("%v: %v", err, hits)
	}
	if len(u.world.Audit()) == 0 {
		t.Error("no audit was searched")
	}
}
