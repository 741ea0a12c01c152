// SPDX-License-Identifier: Apache-2.0

//go:build root

package clients

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/phantom-ns/phantom-ns/test/rig"
)

// installed is where test/setup/install.sh clients puts the pinned clients. In
// a trial they appear in the working directory, as a project's own would.
const installed = "/var/cache/phantom-ns-test/clients"

// client is one program and the API it talks to.
type client struct {
	name    string
	api     api
	files   []string // of testdata, copied to the working directory
	args    []string // the command, started there
	answers int      // how often it prints what upstream said
	says    string   // what else it prints
}

func clients() []client {
	curl := func(more ...string) []string {
		script := `exec curl -sSi --fail-with-body -H "Authorization: Bearer $OPENAI_API_KEY" "$@" https://api.openai.com/v1/models`
		return append([]string{"/bin/sh", "-c", script, "curl"}, more...)
	}
	gh := `exec curl -sS --fail-with-body -H "Authorization: token $GITHUB_TOKEN" https://api.github.com/user`
	return []client{
		{name: "curl", api: openai, args: curl(), answers: 1, says: "HTTP/2 200"},
		{name: "curl over HTTP 1", api: openai, args: curl("--http1.1"), answers: 1, says: "HTTP/1.1 200"},
		{name: "curl that refuses proxies", api: openai, args: curl("--noproxy", "*"), answers: 1},
		{name: "curl with a token", api: github, args: []string{"/bin/sh", "-c", gh}, answers: 1},
		{name: "static Go", api: openai, args: []string{"./goclient"}, answers: 1, says: "HTTP/2.0"},
		{name: "Python urllib", api: openai, files: []string{"client_urllib.py"}, args: []string{"/usr/bin/python3", "client_urllib.py"}, answers: 1},
		{name: "Python requests", api: openai, files: []string{"client_requests.py"}, args: []string{"venv/bin/python", "client_requests.py"}, answers: 2},
		{name: "Python httpx", api: openai, files: []string{"client_httpx.py"}, args: []string{"venv/bin/python", "client_httpx.py"}, answers: 1},
		{name: "Python openai", api: openai, files: []string{"client_openai.py"}, args: []string{"venv/bin/python", "client_openai.py"}, answers: 4},
		{name: "Python anthropic", api: anthropic, files: []string{"client_anthropic.py"}, args: []string{"venv/bin/python", "client_anthropic.py"}, answers: 2},
		{name: "Node fetch", api: openai, files: []string{"client_fetch.mjs"}, args: []string{"node", "client_fetch.mjs"}, answers: 1},
		{name: "Node openai", api: openai, files: []string{"client_openai.mjs"}, args: []string{"node", "client_openai.mjs"}, answers: 3},
		{name: "Node anthropic", api: anthropic, files: []string{"client_anthropic.mjs"}, args: []string{"node", "client_anthropic.mjs"}, answers: 2},
		{name: "Java HttpClient", api: openai, args: []string{"java", "-cp", ".", "Client"}, answers: 1, says: "HTTP_2"},
	}
}

// TestClientsWorkUnmodified proves, for every client, a placeholder inside, the
// real key upstream, the answer back, exit status 0, and the real key nowhere
// in what the agent could see. [trial.check] has the list.
func TestClientsWorkUnmodified(t *testing.T) {
	built := programs(t)
	for _, c := range clients() {
		t.Run(c.name, func(t *testing.T) {
			trial := newTrial(t, c.api)
			trial.provide(built, c.files)
			if out := trial.run(c.args...).Stdout; !strings.Contains(out, c.says) {
				t.Errorf("did not print %q:\n%s", c.says, out)
			}
			trial.check(c.answers)
		})
	}
}

// TestClientsTrustWithoutVariables holds docs/CLIENTS.md to which clients trust
// a session although every variable but PATH, HOME and the placeholder is taken
// away: all but Node as its makers build it, which carries its own roots.
func TestClientsTrustWithoutVariables(t *testing.T) {
	built := programs(t)
	ownRoots := nodeHasOwnRoots(t)
	for _, c := range clients() {
		t.Run(c.name, func(t *testing.T) {
			trial := newTrial(t, c.api)
			trial.provide(built, c.files)
			keep := `exec env -i PATH="$PATH" HOME="$HOME" ` + c.api.variable + `="$` + c.api.variable + `" "$@"`
			result := trial.run(append([]string{"/bin/sh", "-c", keep, "bare"}, c.args...)...)
			if rig.Needs(t, c.name) == rig.NeedsVariable && (ownRoots || !strings.HasPrefix(c.name, "Node ")) {
				if result.Exit == 0 {
					t.Errorf("worked: it no longer needs a variable")
				}
				return
			}
			trial.check(c.answers)
		})
	}
}

// nodeHasOwnRoots tells Node's own builds from Debian's, which is configured
// with --openssl-use-def-ca-store and so reads the system's certificates.
func nodeHasOwnRoots(t *testing.T) bool {
	t.Helper()
	out, err := exec.Command("node", "-p", `process.config.target_defaults.defines.includes("NODE_OPENSSL_CERT_STORE")`).Output()
	if err != nil {
		t.Fatalf("ask node for its configuration: %v", err)
	}
	return strings.TrimSpace(string(out)) == "false"
}

// programs builds what has to be compiled, and names the files.
func programs(t *testing.T) map[string]string {
	t.Helper()
	if _, err := os.Stat(filepath.Join(installed, ".stamp")); err != nil {
		t.Fatalf("the pinned clients are not there (%v): run test/setup/install.sh clients", err)
	}
	dir := t.TempDir()
	goclient := filepath.Join(dir, "goclient")
	if err := rig.GoBuild(goclient, "./test/clients/testdata/goclient"); err != nil {
		t.Fatal(err)
	}
	javac := exec.Command("javac", "-d", dir, "testdata/Client.java")
	if out, err := javac.CombinedOutput(); err != nil {
		t.Fatalf("javac: %v\n%s", err, out)
	}
	return map[string]string{"goclient": goclient, "Client.class": filepath.Join(dir, "Client.class")}
}

// provide puts programs into the agent's working directory.
func (tr *trial) provide(built map[string]string, files []string) {
	tr.Helper()
	for from, name := range map[string]string{"/venv": "venv", "/node/node_modules": "node_modules"} {
		path := filepath.Join(rig.Work, name)
		tr.world.Bind(installed+from, path)
		tr.bound = append(tr.bound, path)
	}
	for _, name := range files {
		tr.copy(name, filepath.Join("testdata", name), 0o644)
	}
	for name, path := range built {
		tr.copy(name, path, 0o755)
	}
}

func (tr *trial) copy(name, from string, mode os.FileMode) {
	tr.Helper()
	data, err := os.ReadFile(from)
	if err != nil {
		tr.Fatal(err)
	}
	tr.world.Give(filepath.Join(rig.Work, strings.TrimPrefix(name, "/")), data, mode)
}
