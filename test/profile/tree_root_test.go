// SPDX-License-Identifier: Apache-2.0

//go:build root

package profile

import (
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/phantom-ns/phantom-ns/test/rig"
)

// treeSize is how many packages a tree has: a small project's.
const treeSize = 60

// treeName names package n; some are scoped.
func treeName(n int) string {
	if n%5 == 4 {
		return fmt.Sprintf("@acme/p%d", n)
	}
	return fmt.Sprintf("p%d", n)
}

// below are the packages that package n depends on.
func below(n int) (all []int) {
	for _, m := range []int{2*n + 1, 2*n + 2} {
		if m < treeSize {
			all = append(all, m)
		}
	}
	return all
}

// npmTree plays host with a tree of packages, each of which counts those below
// it and itself.
func npmTree(t *testing.T, host string) http.Handler {
	t.Helper()
	answers := make(map[string][]byte)
	for n := range treeSize {
		name, needs, code := treeName(n), map[string]string{}, "module.exports = 1"
		for _, m := range below(n) {
			needs[treeName(m)] = "^1.0.0"
			code += fmt.Sprintf(" + require(%q)", treeName(m))
		}
		manifest := map[string]any{"name": name, "version": "1.0.0", "main": "index.js", "dependencies": needs}
		text, err := json.Marshal(manifest)
		if err != nil {
			t.Fatal(err)
		}
		archive := packNPM(t, map[string]string{"package/package.json": string(text), "package/index.js": code + "\n"})
		sum := sha512.Sum512(archive)
		at := fmt.Sprintf("/%s/-/p%d-1.0.0.tgz", name, n)
		manifest["dist"] = map[string]any{"tarball": "https://" + host + at, "integrity": "sha512-" + base64.StdEncoding.EncodeToString(sum[:])}
		whole, err := json.Marshal(map[string]any{"name": name, "dist-tags": map[string]string{"latest": "1.0.0"}, "versions": map[string]any{"1.0.0": manifest}})
		if err != nil {
			t.Fatal(err)
		}
		answers[at], answers["/"+name] = archive, whole
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer, found := answers[r.URL.Path]
		if !found || r.Method != http.MethodGet {
			http.NotFound(w, r)
			return
		}
		if !strings.HasSuffix(r.URL.Path, ".tgz") {
			w.Header().Set("Content-Type", "application/json")
		}
		w.Write(answer)
	})
}

// TestNpmInstallsATree proves a whole installation: every package of the tree is
// asked for and fetched once, arrives as it was published, and runs.
func TestNpmInstallsATree(t *testing.T) {
	tr := newTrial(t)
	tr.upstream.Serve("npm.corp.test", npmTree(t, "npm.corp.test"))
	tr.world.Give(rig.Home+"/.npmrc", []byte("registry=https://npm.corp.test/\n"), 0o600)
	tap := tr.world.Tap(nil)
	tr.good(tr.run("npm", "install", treeName(0)))
	if seen := tap.Stop(); len(seen) > 0 {
		t.Errorf("packets left the session: %v", seen)
	}
	asked := make(map[string]int)
	for _, e := range tr.upstream.Exchanges("") {
		asked[strings.ReplaceAll(strings.ToLower(e.Target), "%2f", "/")]++
		if e.Status != http.StatusOK {
			t.Errorf("%s %s: %d", e.Method, e.Target, e.Status)
		}
	}
	for n := range treeSize {
		for _, target := range []string{"/" + treeName(n), fmt.Sprintf("/%s/-/p%d-1.0.0.tgz", treeName(n), n)} {
			if asked[target] != 1 {
				t.Errorf("%s was asked for %d times", target, asked[target])
			}
		}
	}
	r := tr.world.Run(rig.Session{Args: []string{"node", "-p", "require('p0')"}})
	if strings.TrimSpace(r.Stdout) != fmt.Sprint(treeSize) {
		t.Errorf("%v", r)
	}
}

// TestPipInstallsWhatAPackageNeeds proves the same of wheels that need others.
func TestPipInstallsWhatAPackageNeeds(t *testing.T) {
	tr := newTrial(t)
	tr.world.Bind(installed+"/venv", rig.Work+"/venv")
	t.Cleanup(func() { tr.world.Unbind(rig.Work + "/venv") })
	mux := http.NewServeMux()
	const size = 15
	for n := range size {
		name, needs := fmt.Sprintf("w%d", n), ""
		for _, m := range below(n) {
			if m < size {
				needs += fmt.Sprintf("Requires-Dist: w%d>=1\n", m)
			}
		}
		wheel := name + "-1.0-py3-none-any.whl"
		info := name + "-1.0.dist-info/"
		packed := rig.Zip(t, [][2]string{
			{name + "/__init__.py", "\n"},
			{info + "METADATA", "Metadata-Version: 2.1\nName: " + name + "\nVersion: 1.0\n" + needs},
			{info + "WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"},
			{info + "RECORD", name + "/__init__.py,,\n" + info + "METADATA,,\n" + info + "WHEEL,,\n" + info + "RECORD,,\n"},
		})
		mux.HandleFunc("GET /simple/"+name+"/", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			fmt.Fprintf(w, `<!DOCTYPE html><html><body><a href="/files/%s">%s</a></body></html>`, wheel, wheel)
		})
		mux.HandleFunc("GET /files/"+wheel, func(w http.ResponseWriter, _ *http.Request) { w.Write(packed) })
	}
	tr.upstream.Serve("pip.corp.test", mux)
	tr.world.Give(rig.Home+"/.config/pip/pip.conf", []byte("[global]\nindex-url = https://pip.corp.test/simple/\n"), 0o600)
	tr.good(tr.run("venv/bin/pip", "install", "--quiet", "--no-cache-dir", "--target", "out", "w0"))
	for n := range size {
		if tr.world.Read(fmt.Sprintf("%s/out/w%d/__init__.py", rig.Work, n)) == nil {
			t.Errorf("w%d is not there", n)
		}
	}
	if asked := len(tr.upstream.Exchanges("pip.corp.test")); asked != 2*size {
		t.Errorf("%d requests", asked)
	}
}
