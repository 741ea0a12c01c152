// SPDX-License-Identifier: Apache-2.0

//go:build root

package leak

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/phantom-ns/phantom-ns/proxy/audit"
	"github.com/phantom-ns/phantom-ns/test/rig"
)

// onDemand is an agent that sends one request for each line that it reads.
const onDemand = `while read path; do curl -sS -m 20 -o /dev/null -w '%{http_code}\n' -H "Authorization: Bearer $DEMO_KEY" https://` + host + `$path; done`

// rotating is a session whose agent does what it is told to.
type rotating struct {
	*inUse
	t        *testing.T
	upstream *rig.Upstream
	policy   string
	says     *io.PipeWriter
	heard    *bufio.Scanner
}

// startRotating runs the agent on a credential of the given source, which is the
// line behind from in the policy.
func startRotating(t *testing.T, world *rig.World, from, more string, limit ...func(*rig.Upstream)) *rotating {
	t.Helper()
	return startRotatingAs(t, world, rig.Session{}, from, more, limit...)
}

func startRotatingAs(t *testing.T, world *rig.World, s rig.Session, from, more string, limit ...func(*rig.Upstream)) *rotating {
	t.Helper()
	r := &rotating{inUse: &inUse{world: world}, t: t, upstream: rig.NewUpstream(t, world.Listen)}
	for _, limits := range limit {
		limits(r.upstream)
	}
	r.upstream.Serve(host, http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		fmt.Fprintf(w, "sent %s", q.Header.Get("Authorization"))
	}))
	r.policy = "version: 1\ncredentials:\n  demo:\n    from: " + from + "\n    env: [DEMO_KEY]\n    hosts: [" + host + "]\n" + more + r.upstream.Hosts()
	in, says := io.Pipe()
	heard, out := io.Pipe()
	r.says, r.heard = says, bufio.NewScanner(heard)
	s.Policy, s.Args, s.Stdin, s.Stdout = r.policy, []string{"sh", "-c", onDemand}, in, out
	r.process = world.Start(s)
	// Before the rig waits for the session's end, which waits for this.
	t.Cleanup(func() { says.Close(); heard.Close() })
	return r
}

// send has the agent ask for path and returns the status that it got.
func (r *rotating) send(path string) string {
	r.t.Helper()
	io.WriteString(r.says, path+"\n")
	if !r.heard.Scan() {
		r.t.Fatal("the agent has gone")
	}
	return r.heard.Text()
}

// sent is the credential of the last request upstream.
func (r *rotating) sent() string {
	r.t.Helper()
	exchanges := r.upstream.Exchanges(host)
	if len(exchanges) == 0 {
		r.t.Fatal("nothing came upstream")
	}
	return strings.TrimPrefix(exchanges[len(exchanges)-1].Header.Get("Authorization"), "Bearer ")
}

// set stores a fresh credential and returns it.
func (r *rotating) set(world *rig.World) (key string, told string) {
	key = rig.Canary(world.T(), "")
	result := world.Command(strings.NewReader(key), "secret", "set", "demo", "--host", host)
	if result.Exit != 0 {
		world.T().Fatalf("secret set: %v", result)
	}
	return key, result.Stderr
}

// reloads are the session records about reloads, by verdict.
func (r *rotating) reloads() (all []audit.Verdict) {
	for _, record := range r.world.Audit() {
		if record.Kind == audit.KindSession && record.Reason == audit.ReasonReload {
			all = append(all, record.Verdict)
		}
	}
	return all
}

// The very next request has the credential that was stored, and what was used
// before is in no memory that can be read.
func TestC12StoredCredentialIsSeenByARunningSession(t *testing.T) {
	t.Run("h2", func(t *testing.T) { testStoredAnew(t) })
	t.Run("http/1.1", func(t *testing.T) { testStoredAnew(t, (*rig.Upstream).OnlyHTTP1) })
}

// forgotten is far more than it takes until the old value is gone.
const forgotten = 15 * time.Second

func testStoredAnew(t *testing.T, limit ...func(*rig.Upstream)) {
	world := rig.New(t)
	before, _ := (*rotating)(nil).set(world)
	r := startRotating(t, world, "store:demo", "", limit...)
	if status := r.send("/1"); status != "200" || r.sent() != before {
		t.Fatalf("%s, upstream got %q", status, r.sent())
	}
	after, told := r.set(world)
	stored := time.Now()
	if !strings.Contains(told, "running sessions that use it now: 1") {
		t.Errorf("secret set says %q", told)
	}
	if status := r.send("/2"); status != "200" || r.sent() != after {
		t.Errorf("%s, upstream got %q, want the new one", status, r.sent())
	}
	family := r.family(t)
	for name, keys := range map[string][]string{
		"supervisor": {before, after}, "sh": {before, after}, "phantom-ns: init": {before, after}, "phantom-ns: proxy": {before},
	} {
		pid, ok := family[name]
		if !ok {
			t.Fatalf("no process %q in %v", name, family)
		}
		for _, key := range keys {
			search := searchMemory
			if name == "phantom-ns: proxy" {
				search = searchBesideSecrets // the scrubber keeps it
			}
			searched, found := search(t, pid, []byte(key))
			// What its connections held is overwritten when they have ended, and not
			// at the moment that the new value is used: a quarter of a second later,
			// seconds on a busy machine.
			for name == "phantom-ns: proxy" && found && time.Since(stored) < forgotten*rig.Pace() {
				r.send("/2")
				searched, found = search(t, pid, []byte(key))
			}
			if name == "phantom-ns: proxy" {
				t.Logf("searched until %v after it was replaced", time.Since(stored))
			}
			if found || searched == 0 {
				t.Errorf("memory of %s: %d bytes read, found %v", name, searched, found)
			}
		}
	}
	if got := r.reloads(); !slices.Equal(got, []audit.Verdict{audit.Allow}) {
		t.Errorf("records of reloads: %v", got)
	}
	if result := world.Command(nil, "secret", "rm", "demo"); result.Exit != 0 || !strings.Contains(result.Stderr, "use it no more") {
		t.Errorf("secret rm: %v", result)
	}
	if status := r.send("/3"); status != "502" || r.sent() != after {
		t.Errorf("after its removal: %s", status)
	}
	r.says.Close()
	result := r.process.Wait()
	r.key = after
	r.searchTraces(t, result)
	r.key = before
	r.searchTraces(t, result)
}

func TestO8ReloadTightensAndRefuses(t *testing.T) {
	world := rig.New(t)
	r := startRotating(t, world, world.Secret("demo", rig.Canary(t, "")), "")
	if status := r.send("/secret"); status != "200" {
		t.Fatal(status)
	}
	reload := func(old, new string) rig.Result {
		t.Helper()
		world.Write("/etc/phantom-ns/session.yaml", []byte(strings.Replace(r.policy, old, new, 1)), 0o644)
		return world.Command(nil, "reload")
	}
	const hosts = "    hosts: [" + host + "]\n"
	if result := reload(hosts, hosts+"    allow: [\"GET /open\"]\n"); result.Exit != 0 {
		t.Errorf("reload: %v", result)
	}
	for path, want := range map[string]string{"/secret": "403", "/open": "200"} {
		if status := r.send(path); status != want {
			t.Errorf("%s: %s, want %s", path, status, want)
		}
	}
	for name, c := range map[string]struct{ old, new, want string }{
		"a host":       {hosts, "    hosts: [" + host + ", more.leak.test]\n", "certificate authority is not good for it"},
		"a credential": {"credentials:\n", "credentials:\n  two:\n    from: " + world.Secret("two", rig.Canary(t, "")) + "\n    env: [TWO]\n" + hosts, "was not there when the agent began"},
		"a permit":     {"version: 1\n", "version: 1\npermit: [ptrace]\n", "permit cannot change"},
		"no YAML":      {"version: 1\n", "version: [\n", "session.yaml"},
		"no source":    {"from: file:", "from: file:/nowhere", "no such file"},
	} {
		result := reload(c.old, c.new)
		if result.Exit != 125 || !strings.Contains(result.Stderr, c.want) || !strings.Contains(result.Stderr, "goes on as it was") {
			t.Errorf("%s: %v, want %q", name, result, c.want)
		}
		if status := r.send("/open"); status != "200" {
			t.Errorf("%s: then %s", name, status)
		}
		if status := r.send("/secret"); status != "403" {
			t.Errorf("%s: then %s where the rules refuse", name, status)
		}
	}
	if got := r.reloads(); len(got) != 6 || got[0] != audit.Allow || slices.Contains(got[1:], audit.Allow) {
		t.Errorf("records of reloads: %v", got)
	}
	if result := world.Command(nil, "reload", "nosuch"); result.Exit != 125 || !strings.Contains(result.Stderr, "no such session") {
		t.Errorf("reload of nobody: %v", result)
	}
}

// SIGHUP without a terminal is a reload.
func TestC12HangupReloads(t *testing.T) {
	world := rig.New(t)
	before, after := rig.Canary(t, ""), rig.Canary(t, "")
	r := startRotating(t, world, world.Secret("demo", before), "")
	if status := r.send("/1"); status != "200" || r.sent() != before {
		t.Fatalf("%s, upstream got %q", status, r.sent())
	}
	world.Secret("demo", after)
	if err := r.process.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	for r.sent() != after { // the process has to see the signal; the session's time limit bounds it
		r.send("/2")
	}
}

// A program that gives another token later is asked again before the first one
// ends.
func TestC12ExecLifetime(t *testing.T) {
	world := rig.New(t)
	tokens := "/etc/phantom-ns/token.value"
	before, after := rig.Canary(t, ""), rig.Canary(t, "")
	world.Give(tokens, []byte(before+"\n"), 0o600)
	world.Write("/etc/phantom-ns/token", []byte("#!/bin/sh\ncat "+tokens+"\n"), 0o755)
	r := startRotating(t, world, "exec:/etc/phantom-ns/token", fmt.Sprintf("    lifetime: %v\n", 4*time.Second*rig.Pace()))
	if status := r.send("/1"); status != "200" || r.sent() != before {
		t.Fatalf("%s, upstream got %q", status, r.sent())
	}
	world.Give(tokens, []byte(after+"\n"), 0o600)
	for r.sent() != after {
		if status := r.send("/2"); status != "200" {
			t.Fatalf("while it is renewed: %s", status)
		}
	}
	// Gone, the source is asked in vain, and the value that has ended is not sent.
	world.Give(tokens, nil, 0o600)
	for r.send("/3") != "502" {
	}
	if record := r.lastRequest(); record.Reason != audit.ReasonCredentialUnavailable {
		t.Errorf("%+v", record)
	}
}

func (r *rotating) lastRequest() audit.Record {
	r.t.Helper()
	for _, record := range slices.Backward(r.world.Audit()) {
		if record.Kind == audit.KindRequest {
			return record
		}
	}
	r.t.Fatal("no request was recorded")
	return audit.Record{}
}

// A credential that systemd-creds encrypted with the machine's key, and one
// that lies in the clear.
func TestSystemdCredentials(t *testing.T) {
	world := rig.New(t)
	for name, put := range map[string]func(key string){
		"plain": func(key string) { world.Write("/etc/credstore/plain", []byte(key+"\n"), 0o600) },
		"sealed": func(key string) {
			world.Write("/etc/credstore.encrypted/sealed.cred", nil, 0o600)
			err := world.Do(func() error {
				cmd := exec.Command("systemd-creds", "encrypt", "--with-key=host", "--name=sealed", "-", "/etc/credstore.encrypted/sealed.cred")
				cmd.Stdin = strings.NewReader(key)
				out, err := cmd.CombinedOutput()
				if err != nil {
					return fmt.Errorf("%w: %s", err, out)
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			key := rig.Canary(t, "")
			put(key)
			r := startRotating(t, world, "systemd:"+name, "")
			if status := r.send("/"); status != "200" || r.sent() != key {
				t.Errorf("%s, upstream got %q", status, r.sent())
			}
		})
	}
}
