// SPDX-License-Identifier: Apache-2.0

//go:build root

package clients

import (
	"bytes"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/phantom-ns/phantom-ns/proxy/audit"
	"github.com/phantom-ns/phantom-ns/test/rig"
)

// api is a provider: as a policy names it, and as the upstream plays it.
type api struct {
	provider string
	host     string
	variable string // where the placeholder appears
	prefix   string // of a real key
	length   int    // of a real key
	bind     bool   // the provider knows no host: the policy binds it to this one
	play     func(*rig.Upstream, string) http.Handler
}

var (
	openai    = api{"openai", "api.openai.com", "OPENAI_API_KEY", "sk-proj-", 164, false, (*rig.Upstream).OpenAI}
	anthropic = api{"anthropic", "api.anthropic.com", "ANTHROPIC_API_KEY", "sk-ant-api03-", 108, false, (*rig.Upstream).Anthropic}
	github    = api{"github", "api.github.com", "GITHUB_TOKEN", "ghp_", 40, false, (*rig.Upstream).GitHub}
)

// trial is one session of one client with one upstream and one real key.
type trial struct {
	*testing.T
	api      api
	key      string
	world    *rig.World
	upstream *rig.Upstream
	tap      *rig.Tap
	result   rig.Result
	bound    []string // read-only, so nothing of the agent's
	flags    []string // of the session
}

func newTrial(t *testing.T, a api) *trial {
	t.Helper()
	tr := &trial{T: t, api: a, key: rig.CanaryOf(t, a.prefix, a.length), world: rig.New(t)}
	tr.upstream = rig.NewUpstream(t, tr.world.Listen)
	if a.play != nil {
		tr.upstream.Serve(a.host, a.play(tr.upstream, tr.key))
	}
	return tr
}

// run runs the command as the agent, after it has printed its environment.
func (tr *trial) run(args ...string) rig.Result {
	tr.Helper()
	policy := "version: 1\ncredentials:\n  " + tr.api.provider + ":\n    from: " + tr.world.Secret(tr.api.provider, tr.key) + "\n"
	if tr.api.bind {
		policy += "    hosts: [" + tr.api.host + "]\n"
	}
	policy += tr.upstream.Hosts()
	tr.tap = tr.world.Tap(nil)
	tr.result = tr.world.Run(rig.Session{
		Policy: policy, Flags: tr.flags,
		Args: append([]string{"/bin/sh", "-c", `env -0 | tr '\0\n' '\n '; echo --; exec "$@"`, "sh"}, args...),
	})
	return tr.result
}

// check is the whole promise.
func (tr *trial) check(answers int) {
	tr.Helper()
	if tr.result.Exit != 0 {
		tr.Fatalf("the client ended with %v", tr.result)
	}
	if n := strings.Count(tr.result.Stdout, tr.upstream.Answer); n < answers {
		tr.Errorf("upstream's answer was printed %d times of %d:\n%v", n, answers, tr.result)
	}
	if strings.Contains(tr.result.Stderr, "phantom-ns:") {
		tr.Errorf("phantom-ns has something to say about a session without a fault:\n%s", tr.result.Stderr)
	}
	placeholder := tr.checkEnvironment()
	tr.checkUpstream(placeholder)
	tr.checkAgent()
	tr.checkAudit()
	if seen := tr.tap.Stop(); len(seen) > 0 {
		tr.Errorf("packets left the session: %v", seen)
	}
}

// noHelp are variables that would lead a client to us; none may be set.
var noHelp = regexp.MustCompile(`(?i)^(https?_proxy|all_proxy|no_proxy|[a-z_]*_base_url|[a-z_]*_api_base)=`)

// checkEnvironment returns the placeholder.
func (tr *trial) checkEnvironment() string {
	tr.Helper()
	printed, _, _ := strings.Cut(tr.result.Stdout, "\n--\n")
	var placeholder string
	for line := range strings.SplitSeq(printed, "\n") {
		if value, ok := strings.CutPrefix(line, tr.api.variable+"="); ok {
			placeholder = value
		}
		if noHelp.MatchString(line) {
			tr.Errorf("the environment helps: %s", line)
		}
	}
	switch {
	case placeholder == "":
		tr.Fatalf("no %s inside:\n%s", tr.api.variable, printed)
	case placeholder == tr.key:
		tr.Fatal("the real key is in the environment")
	case len(placeholder) != len(tr.key) || !strings.HasPrefix(placeholder, tr.api.prefix):
		tr.Errorf("placeholder %q is not of the key's shape (%d characters, %s…)", placeholder, len(tr.key), tr.api.prefix)
	}
	return placeholder
}

// checkUpstream wants the real key in every request that was answered and the
// placeholder in no byte.
func (tr *trial) checkUpstream(placeholder string) {
	tr.Helper()
	secret, fake := rig.NewOracle(tr.key), rig.NewOracle(placeholder)
	answered := 0
	for _, e := range tr.upstream.Exchanges("") {
		var head bytes.Buffer
		head.WriteString(e.Target + "\n")
		e.Header.Write(&head)
		if hits := fake.Bytes(e.Method+" "+e.Target, append(head.Bytes(), e.Body...)); len(hits) > 0 {
			tr.Errorf("the placeholder went upstream: %v", hits)
		}
		if e.Status < 300 && e.Host == tr.api.host {
			answered++
			if len(secret.Bytes("head", head.Bytes())) == 0 {
				tr.Errorf("answered without the key: %s %s", e.Method, e.Target)
			}
		}
	}
	if answered == 0 {
		tr.Error("upstream answered nothing")
	}
	for conn := range tr.upstream.Connections() {
		if hits := fake.Bytes("connection", tr.upstream.Raw(conn)); len(hits) > 0 {
			tr.Errorf("the placeholder went upstream: %v", hits)
		}
	}
}

// checkAgent searches everything the agent printed, and all it could write.
func (tr *trial) checkAgent() {
	tr.Helper()
	oracle := rig.NewOracle(tr.key)
	for _, path := range tr.bound {
		tr.world.Unbind(path)
	}
	hits := oracle.Bytes("output", tr.result.Bytes())
	err := tr.world.Do(func() error {
		found, err := oracle.Files(rig.Home)
		hits = append(hits, found...)
		return err
	})
	if err != nil {
		tr.Fatal(err)
	}
	if len(hits) > 0 {
		tr.Errorf("the agent saw the real key: %v", hits)
	}
}

func (tr *trial) checkAudit() {
	tr.Helper()
	if hits := rig.NewOracle(tr.key).Bytes("audit", tr.world.Read(rig.AuditLog)); len(hits) > 0 {
		tr.Errorf("the audit log has the real key: %v", hits)
	}
	injected := func(r audit.Record) bool {
		return r.Kind == audit.KindRequest && r.Verdict == audit.Allow && r.Name == tr.api.host && r.Credential == tr.api.provider
	}
	if records := tr.world.Audit(); !slices.ContainsFunc(records, injected) {
		tr.Errorf("no record of a request with the credential: %+v", records)
	}
}
