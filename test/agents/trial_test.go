// SPDX-License-Identifier: Apache-2.0

//go:build agents

package agents

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/phantom-ns/phantom-ns/proxy/audit"
	"github.com/phantom-ns/phantom-ns/test/rig"
)

// installed is where test/setup/install.sh agents puts the pinned agents; path
// is a user's who has them.
const (
	installed = "/var/cache/phantom-ns-test/agents"
	path      = "PATH=" + installed + "/node/node_modules/.bin:" + installed + "/venv/bin:/usr/local/bin:/usr/bin:/bin"
)

// trial is a world with an upstream and a real credential in the store, and a
// policy that says no more than where the hosts served really are.
type trial struct {
	*testing.T
	world    *rig.World
	upstream *rig.Upstream
	name     string // of the credential
	key      string
	said     string // on standard error by the last [trial.run]
	declared string // what the policy says of credentials
}

func newTrial(t *testing.T, c credential) *trial {
	t.Helper()
	if _, err := os.Stat(installed + "/.stamp"); err != nil {
		t.Fatalf("the pinned agents are not there (%v): run test/setup/install.sh agents", err)
	}
	w := rig.New(t)
	tr := &trial{T: t, world: w, upstream: rig.NewUpstream(t, w.Listen), name: c.name, key: rig.CanaryOf(t, c.prefix, c.length)}
	t.Cleanup(tr.explain)
	if r := w.Command(strings.NewReader(tr.key), "secret", "set", c.name); r.Exit != 0 {
		t.Fatalf("store %s: %v", c.name, r)
	}
	return tr
}

func (tr *trial) policy() string { return "version: 1\n" + tr.declared + tr.upstream.Hosts() }

// start runs a session to its end and wants no packet beside it.
func (tr *trial) start(s rig.Session) rig.Result {
	tr.Helper()
	s.Policy, s.Env = tr.policy(), append(s.Env, path)
	tap := tr.world.Tap(nil)
	r := tr.world.Run(s)
	if seen := tap.Stop(); len(seen) > 0 {
		tr.Errorf("packets left the session: %v", seen)
	}
	return r
}

// run wants a session to print upstream's answer and to end well.
func (tr *trial) run(s rig.Session) {
	tr.Helper()
	r := tr.start(s)
	if r.Exit != 0 || !strings.Contains(r.Stdout, tr.upstream.Answer) {
		tr.Fatalf("no answer: %v", r)
	}
	tr.said = r.Stderr
	if strings.Contains(r.Stderr, "phantom-ns:") { // what ours says begins with its name
		tr.Errorf("phantom-ns has something to say about a session without a fault:\n%s", r.Stderr)
	}
	tr.clean("output", r.Bytes())
	tr.swapped()
}

// explain prints what a failing test had upstream, and what was refused.
func (tr *trial) explain() {
	if !tr.Failed() {
		return
	}
	var b strings.Builder
	for _, e := range tr.upstream.Exchanges("") {
		b.WriteString(e.Proto + " " + e.Method + " " + e.Host + e.Target + " " + http.StatusText(e.Status) + "\n" + string(e.Body[:min(len(e.Body), 300)]) + "\n")
	}
	for _, r := range tr.world.Audit() {
		if r.Verdict == audit.Deny {
			fmt.Fprintf(&b, "%s: %s %s %s%s\n", r.Reason, r.Comm, r.Method, r.Name, r.Path)
		}
	}
	tr.Log(b.String())
}

// clean wants the real credential in nothing that the agent printed or could
// keep, and not in the log.
func (tr *trial) clean(name string, printed []byte) {
	tr.Helper()
	oracle := rig.NewOracle(tr.key)
	hits := append(oracle.Bytes(name, printed), oracle.Bytes("audit", tr.world.Read(rig.AuditLog))...)
	err := tr.world.Do(func() error {
		found, err := oracle.Files(rig.Home)
		hits = append(hits, found...)
		return err
	})
	if err != nil || len(hits) > 0 {
		tr.Errorf("the real credential is in the agent's reach: %v %v", hits, err)
	}
}

// swapped wants the real credential in some request that upstream answered, the
// credential's records to say so, and nothing allowed at a host that is not
// upstream's.
func (tr *trial) swapped() {
	tr.Helper()
	oracle, carried := rig.NewOracle(tr.key), 0
	for _, e := range tr.upstream.Exchanges("") {
		var head bytes.Buffer
		e.Header.Write(&head)
		if e.Status < 300 && len(oracle.Bytes("head", head.Bytes())) > 0 {
			carried++
		}
	}
	records := tr.world.Audit()
	injected := slices.ContainsFunc(records, func(r audit.Record) bool {
		return r.Kind == audit.KindRequest && r.Verdict == audit.Allow && r.Credential == tr.name
	})
	if carried == 0 || !injected {
		tr.Errorf("%d answered requests with the real credential, recorded: %v", carried, injected)
	}
	for _, r := range records {
		if r.Kind == audit.KindRequest && r.Verdict == audit.Allow && len(tr.upstream.Exchanges(r.Name)) == 0 {
			tr.Errorf("let out to %s", r.Name)
		}
	}
}
