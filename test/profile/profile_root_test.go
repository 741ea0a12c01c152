// SPDX-License-Identifier: Apache-2.0

//go:build root

package profile

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/phantom-ns/phantom-ns/test/rig"
)

// trial is a world with an upstream, and a policy that says no more than where
// the hosts served so far really are.
type trial struct {
	*testing.T
	world    *rig.World
	upstream *rig.Upstream
}

func newTrial(t *testing.T) *trial {
	t.Helper()
	w := rig.New(t)
	return &trial{t, w, rig.NewUpstream(t, w.Listen)}
}

// store puts a real credential into the world's store.
func (tr *trial) store(name, key string) {
	tr.Helper()
	if r := tr.world.Command(strings.NewReader(key), "secret", "set", name); r.Exit != 0 {
		tr.Fatalf("store %s: %v", name, r)
	}
}

func (tr *trial) run(args ...string) rig.Result {
	tr.Helper()
	return tr.world.Run(rig.Session{Policy: "version: 1\n" + tr.upstream.Hosts(), Args: args})
}

// good wants a session without a fault and without a word of ours.
func (tr *trial) good(r rig.Result) {
	tr.Helper()
	if r.Exit != 0 || strings.Contains(r.Stderr, "phantom-ns:") {
		tr.Fatalf("ended with %v\naudit: %s", r, tr.world.Read(rig.AuditLog))
	}
}

// clean wants the real credential neither in the output nor in what is left of
// the home, and the hosts asked to be these.
func (tr *trial) clean(r rig.Result, key string) {
	tr.Helper()
	oracle := rig.NewOracle(key)
	hits := oracle.Bytes("output", r.Bytes())
	hits = append(hits, oracle.Bytes("audit", tr.world.Read(rig.AuditLog))...)
	err := tr.world.Do(func() error {
		found, err := oracle.Files(rig.Home)
		hits = append(hits, found...)
		return err
	})
	if err != nil || len(hits) > 0 {
		tr.Errorf("the real credential is in the agent's reach: %v %v", hits, err)
	}
}

func TestGitByItsNameAlone(t *testing.T) {
	tr := newTrial(t)
	key := rig.CanaryOf(t, "ghp_", 40)
	repository := rig.NewRepository(t, "acme/private.git", "hello")
	tr.upstream.Serve("github.com", tr.upstream.Git(repository, key))
	tr.store("github", key)
	r := tr.run("git", "clone", "-q", "https://github.com/acme/private.git", "copy")
	tr.good(r)
	if got := string(tr.world.Read(rig.Work + "/copy/README")); strings.TrimSpace(got) != "hello" {
		t.Errorf("README is %q", got)
	}
	tr.clean(r, key)
}

func TestGitSaysHowToGiveItACredential(t *testing.T) {
	tr := newTrial(t)
	tr.upstream.Serve("github.com", tr.upstream.Git(rig.NewRepository(t, "acme/private.git", "hello"), "x"))
	r := tr.run("git", "ls-remote", "https://github.com/acme/private.git")
	if first, _, _ := strings.Cut(r.Stderr, "\n"); !strings.Contains(first, "sudo phantom-ns secret set github") || r.Exit == 0 {
		t.Errorf("%v", r)
	}
	if n := len(tr.upstream.Exchanges("github.com")); n == 0 {
		t.Error("a read without a credential did not pass")
	}
}

func TestNpmReadsItsUsersRegistry(t *testing.T) {
	tr := newTrial(t)
	tr.upstream.Serve("npm.corp.test", npmRegistry(t, "npm.corp.test"))
	tr.upstream.Serve("evil.test", npmRegistry(t, "evil.test"))
	tr.world.Give(rig.Home+"/.npmrc", []byte("registry=https://npm.corp.test/\n"), 0o600)
	tr.good(tr.run("npm", "install", "hello"))
	if got := string(tr.world.Read(rig.Work + "/node_modules/hello/index.js")); !strings.Contains(got, "npm.corp.test") {
		t.Errorf("installed %q", got)
	}
	// What the project says, an agent may have written: it opens no host.
	tr.world.Give(rig.Work+"/.npmrc", []byte("registry=https://evil.test/\nfetch-retries=0\n"), 0o644)
	if r := tr.run("npm", "view", "hello"); r.Exit == 0 {
		t.Errorf("a registry of the project's: %v", r)
	}
	if n := len(tr.upstream.Exchanges("evil.test")); n != 0 {
		t.Errorf("%d requests to a registry of the project's", n)
	}
	for _, e := range tr.upstream.Exchanges("npm.corp.test") {
		if e.Method != "GET" {
			t.Errorf("%s %s", e.Method, e.Target)
		}
	}
}

// Where nothing is configured, the tool knows: it is asked once, sealed off,
// and not when an agent could have written it.
func TestNpmIsAskedForItsRegistry(t *testing.T) {
	tr := newTrial(t)
	said := tr.world.Run(rig.Session{Args: []string{"npm", "config", "get", "registry"}})
	host := strings.Trim(strings.TrimPrefix(strings.TrimSpace(said.Stdout), "https://"), "/")
	if said.Exit != 0 || host == "" {
		t.Fatalf("%v", said)
	}
	tr.upstream.Serve(host, npmRegistry(t, host))
	asked := tr.world.Read(askedFile)
	tr.good(tr.run("npm", "install", "hello"))
	if got := string(tr.world.Read(rig.Work + "/node_modules/hello/index.js")); !strings.Contains(got, host) {
		t.Errorf("installed %q", got)
	}
	if again := tr.world.Read(askedFile); len(asked) == 0 || string(again) != string(asked) {
		t.Errorf("asked twice: %s\n%s", asked, again)
	}
}

// askedFile is where the answers are remembered.
var askedFile = fmt.Sprintf("/var/lib/phantom-ns/asked-%d.json", rig.UID)

func TestToolOfTheProjectIsNotAsked(t *testing.T) {
	tr := newTrial(t)
	tr.upstream.Serve("evil.test", npmRegistry(t, "evil.test"))
	tr.world.Give(rig.Work+"/bin/npm", []byte("#!/bin/sh\necho https://evil.test/\n"), 0o755)
	r := tr.world.Run(rig.Session{
		Policy: "version: 1\n" + tr.upstream.Hosts(), Env: []string{"PATH=" + rig.Work + "/bin:/usr/bin:/bin"},
		Args: []string{"/bin/sh", "-c", "curl -sS https://evil.test/hello"}, Flags: []string{"--profile", "npm"},
	})
	if n := len(tr.upstream.Exchanges("evil.test")); n != 0 || r.Exit == 0 {
		t.Errorf("%d requests: %v", n, r)
	}
}

// installed is where test/setup/install.sh clients puts the pinned clients.
const installed = "/var/cache/phantom-ns-test/clients"

func TestPipReadsItsUsersIndex(t *testing.T) {
	if _, err := os.Stat(installed + "/.stamp"); err != nil {
		t.Fatalf("the pinned clients are not there (%v): run test/setup/install.sh clients", err)
	}
	tr := newTrial(t)
	tr.world.Bind(installed+"/venv", rig.Work+"/venv")
	t.Cleanup(func() { tr.world.Unbind(rig.Work + "/venv") })
	tr.upstream.Serve("pip.corp.test", pipIndex(t))
	tr.world.Give(rig.Home+"/.config/pip/pip.conf", []byte("[global]\nindex-url = https://pip.corp.test/simple/\n"), 0o600)
	tr.good(tr.run("venv/bin/pip", "install", "--quiet", "--no-cache-dir", "--target", "out", "hello"))
	if got := string(tr.world.Read(rig.Work + "/out/hello/__init__.py")); got != "text = 'hello'\n" {
		t.Errorf("installed %q", got)
	}
}

func TestGoReadsItsUsersProxy(t *testing.T) {
	program, err := exec.LookPath("go")
	if err != nil {
		t.Fatal(err)
	}
	tr := newTrial(t)
	tr.upstream.Serve("goproxy.corp.test", goProxy(t))
	tr.world.Give(rig.Home+"/.config/go/env", []byte("GOPROXY=https://goproxy.corp.test,off\nGOSUMDB=off\n"), 0o600)
	r := tr.run(program, "mod", "download", "-json", "hello.test/x@v1.0.0")
	tr.good(r)
	if !strings.Contains(r.Stdout, `"Sum": "h1:`) {
		t.Errorf("%v", r)
	}
}

// TestAgentByItsNameAlone runs a stand-in called claude: its key, its knobs, its
// state, and neither another's key nor another's place.
func TestAgentByItsNameAlone(t *testing.T) {
	tr := newTrial(t)
	key, other := rig.CanaryOf(t, "sk-ant-api03-", 108), rig.CanaryOf(t, "ghp_", 40)
	tr.upstream.Serve("api.anthropic.com", tr.upstream.Anthropic(key))
	tr.store("anthropic", key)
	tr.store("github", other)
	tr.world.Give(rig.Work+"/claude", []byte(`#!/bin/sh -e
test -z "$GH_TOKEN$GITHUB_TOKEN"
test "$CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC" = 1
curl -sS --fail-with-body -H "x-api-key: $ANTHROPIC_API_KEY" -H 'content-type: application/json' \
	-d '{"model":"m","max_tokens":1,"messages":[]}' https://api.anthropic.com/v1/messages
echo kept > ~/.claude/note
echo '{"kept":1}' > ~/.claude.json
echo gone > ~/elsewhere
`), 0o755)
	r := tr.run("./claude")
	tr.good(r)
	if !strings.Contains(r.Stdout, tr.upstream.Answer) {
		t.Errorf("no answer: %v", r)
	}
	for name, want := range map[string]string{"/.claude/note": "kept\n", "/.claude.json": "{\"kept\":1}\n", "/elsewhere": ""} {
		if got := string(tr.world.Read(rig.Home + name)); got != want {
			t.Errorf("~%s is %q", name, got)
		}
	}
	tr.owned(rig.Home+"/.claude", 0o700)
	tr.owned(rig.Home+"/.claude.json", 0o600)
	tr.clean(r, key)
}

// owned wants a place to be the user's and closed to others.
func (tr *trial) owned(path string, mode os.FileMode) {
	tr.Helper()
	err := tr.world.Do(func() error {
		st, err := os.Lstat(path)
		if err == nil && (st.Sys().(*syscall.Stat_t).Uid != rig.UID || st.Mode().Perm() != mode) {
			tr.Errorf("%s: uid %d, mode %v", path, st.Sys().(*syscall.Stat_t).Uid, st.Mode())
		}
		return err
	})
	if err != nil {
		tr.Error(err)
	}
}

func TestStateIsNotMadeInAnothersPlace(t *testing.T) {
	w := rig.New(t)
	w.Write("/home/another/x", nil, 0o600)
	err := w.Do(func() error { return os.Symlink("/home/another/new", rig.Home+"/.claude") })
	if err != nil {
		t.Fatal(err)
	}
	w.Give(rig.Work+"/claude", []byte("#!/bin/sh\n"), 0o755)
	r := w.Run(rig.Session{Args: []string{"./claude"}})
	if r.Exit != 0 || !strings.Contains(r.Stderr, "is discarded") {
		t.Errorf("%v", r)
	}
	err = w.Do(func() error { _, err := os.Lstat("/home/another/new"); return err })
	if !os.IsNotExist(err) {
		t.Errorf("made as root: %v", err)
	}
}

func TestProfileByFlag(t *testing.T) {
	tr := newTrial(t)
	key := rig.CanaryOf(t, "sk-proj-", 164)
	tr.upstream.Serve("api.openai.com", tr.upstream.OpenAI(key))
	tr.store("openai", key)
	script := `curl -sS --fail-with-body -H "Authorization: Bearer $OPENAI_API_KEY" https://api.openai.com/v1/models`
	for name, c := range map[string]struct {
		flags []string
		works bool
	}{
		"codex":                  {[]string{"--profile", "codex"}, true},
		"a shell has no profile": {nil, false},
		"none":                   {[]string{"--profile", "none"}, false},
		"another's":              {[]string{"--profile", "claude"}, false},
		"another's and --with":   {[]string{"--profile", "claude", "--with", "openai"}, true},
	} {
		r := tr.world.Run(rig.Session{
			Policy: "version: 1\n" + tr.upstream.Hosts(), Flags: c.flags, Args: []string{"/bin/sh", "-c", script},
		})
		if works := r.Exit == 0 && strings.Contains(r.Stdout, tr.upstream.Answer); works != c.works {
			t.Errorf("%s: %v", name, r)
		}
	}
}

// A program whose needs nobody knows is told of once, and not to who knows.
func TestRuntimeSaysHowToGiveItACredential(t *testing.T) {
	w := rig.New(t)
	for name, c := range map[string]struct {
		policy string
		allow  []string
		says   bool
	}{"nothing": {"", nil, true}, "a policy": {"version: 1\n", nil, false}, "a host": {"", []string{"a.test"}, false}} {
		r := w.Run(rig.Session{Policy: c.policy, Allow: c.allow, Args: []string{"/usr/bin/python3", "-c", "pass"}})
		if r.Exit != 0 || strings.Contains(r.Stderr, "--with NAME") != c.says {
			t.Errorf("%s: %v", name, r)
		}
	}
}

func TestRefusedProfilesSayWhy(t *testing.T) {
	w := rig.New(t)
	for name, c := range map[string]struct {
		session rig.Session
		says    []string
	}{
		"docker":         {rig.Session{Args: []string{"docker", "ps"}}, []string{"docker does not run in a session: its daemon starts containers outside", "run the agent itself"}},
		"docker-compose": {rig.Session{Args: []string{"/usr/bin/docker-compose", "up"}}, []string{"docker does not run in a session"}},
		"unknown":        {rig.Session{Flags: []string{"--profile", "clod"}, Args: []string{"true"}}, []string{`unknown profile "clod"`, "known are: aider, cargo, claude,"}},
	} {
		r := w.Run(c.session)
		for _, text := range c.says {
			if r.Exit != 125 || !strings.Contains(r.Stderr, text) {
				t.Errorf("%s: want %q: %v", name, text, r)
			}
		}
	}
}
