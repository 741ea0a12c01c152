// SPDX-License-Identifier: Apache-2.0

//go:build root

package http

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/phantom-ns/phantom-ns/test/rig"
)

// The provider that the clients call, and where its key stands.
const (
	provider = "api.openai.com"
	variable = "OPENAI_API_KEY"
)

// trial is a world with an upstream that answers one key alone.
type trial struct {
	*testing.T
	world    *rig.World
	upstream *rig.Upstream
	key      string
}

func newTrial(t *testing.T) *trial {
	t.Helper()
	tr := &trial{T: t, world: rig.New(t), key: rig.CanaryOf(t, "sk-proj-", 164)}
	tr.upstream = rig.NewUpstream(t, tr.world.Listen)
	mux := answers()
	tr.upstream.Serve(provider, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !rig.Bearer.Carries(r, tr.key) {
			http.Error(w, "unauthorized", http.StatusUnauthorized)
			return
		}
		mux.ServeHTTP(w, r)
	}))
	return tr
}

// answers are of every shape that HTTP has for them.
func answers() http.Handler {
	large := strings.Repeat("the same line, again and again\n", 5<<20/31)
	routes := map[string]http.HandlerFunc{
		"/204":      func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) },
		"/304":      func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotModified) },
		"/503":      func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "later", http.StatusServiceUnavailable) },
		"/large":    func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, large) },
		"/redirect": func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/echo/landed", http.StatusFound) },
		"/stream":   stream,
		"/gzip":     zipped,
		"/trailers": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Trailer", "X-Sum")
			io.WriteString(w, "body")
			http.NewResponseController(w).Flush() // with a stated length HTTP/1.1 has no room for trailers
			w.Header().Set("X-Sum", "42")
		},
		"/early": func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "enough", http.StatusForbidden) },
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path, _, _ := strings.Cut(r.RequestURI, "?")
		switch route, ok := routes[path]; {
		case ok:
			route(w, r)
		case strings.HasPrefix(path, "/echo"):
			echo(w, r)
		default:
			http.NotFound(w, r)
		}
	})
}

// echo answers with the request, but for its protocol: the two legs of the
// proxy choose theirs by themselves.
func echo(w http.ResponseWriter, r *http.Request) {
	hash := sha256.New()
	n, err := io.Copy(hash, r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	fmt.Fprintf(w, "%s %s %s %d %x %s %s\n", r.Method, r.Host, r.RequestURI, n, hash.Sum(nil), r.Header.Get("Content-Type"), r.UserAgent())
}

func stream(w http.ResponseWriter, _ *http.Request) {
	for i := range 50 {
		fmt.Fprintf(w, "data: %d\n\n", i)
		http.NewResponseController(w).Flush()
	}
}

func zipped(w http.ResponseWriter, r *http.Request) {
	const text = "said once and packed"
	if !strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		io.WriteString(w, text)
		return
	}
	w.Header().Set("Content-Encoding", "gzip")
	z := gzip.NewWriter(w)
	io.WriteString(z, text)
	z.Close()
}

// TestClientsSeeNoDifference: the same calls, once straight to the upstream
// with the real key and once in a session with its placeholder, come to the
// same statuses and bodies. Range is left out: a host with a credential never
// gets it (L5).
func TestClientsSeeNoDifference(t *testing.T) {
	client := filepath.Join(t.TempDir(), "client")
	if err := rig.GoBuild(client, "./test/http/testdata/client"); err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(client)
	if err != nil {
		t.Fatal(err)
	}
	script, err := os.ReadFile("testdata/curl.sh")
	if err != nil {
		t.Fatal(err)
	}
	t.Run("Go", func(t *testing.T) {
		tr := newTrial(t)
		tr.world.Give(rig.Work+"/client", program, 0o755)
		argument := provider + ":" + variable
		tr.compare(86, tr.direct(rig.Work+"/client", argument), tr.session("./client", argument))
	})
	t.Run("curl", func(t *testing.T) {
		tr := newTrial(t)
		tr.world.Give(rig.Work+"/curl.sh", script, 0o644)
		direct := tr.direct("/bin/sh", rig.Work+"/curl.sh", provider, variable,
			"--connect-to", provider+":443:"+tr.upstream.Address(), "--cacert", tr.upstream.CA)
		tr.compare(44, direct, tr.session("/bin/sh", "curl.sh", provider, variable))
	})
}

// direct runs a client in the world, beside any session.
func (tr *trial) direct(name string, args ...string) string {
	tr.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = []string{"PATH=/usr/bin:/bin", "DIRECT=" + tr.upstream.Address(), "SSL_CERT_FILE=" + tr.upstream.CA, variable + "=" + tr.key}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := tr.world.Do(cmd.Run); err != nil {
		tr.Fatalf("%s: %v\n%s", name, err, out.Bytes())
	}
	return out.String()
}

// session runs the same client as an agent.
func (tr *trial) session(args ...string) string {
	tr.Helper()
	r := tr.world.Run(rig.Session{
		Policy: "version: 1\ncredentials:\n  openai:\n    from: " + tr.world.Secret("openai", tr.key) +
			"\n" + tr.upstream.Hosts(),
		Args:    args,
		Timeout: 3 * time.Minute,
	})
	if r.Exit != 0 || r.Stderr != "" {
		tr.Fatalf("session: %v", r)
	}
	if hits := rig.NewOracle(tr.key).Bytes("output", r.Bytes()); len(hits) > 0 {
		tr.Errorf("the agent saw the real key: %v", hits)
	}
	return r.Stdout
}

// compare wants as many lines as there are calls, the same ones, and an answer
// in each.
func (tr *trial) compare(calls int, direct, session string) {
	tr.Helper()
	a, b := strings.Split(strings.TrimSpace(direct), "\n"), strings.Split(strings.TrimSpace(session), "\n")
	if len(a) != calls || len(b) != calls {
		tr.Fatalf("%d and %d lines, not %d\n%s\n%s", len(a), len(b), calls, direct, session)
	}
	for i := range a {
		if a[i] != b[i] {
			tr.Errorf("direct:  %s\nsession: %s", a[i], b[i])
		}
		if strings.Contains(a[i], " 401 ") || strings.Contains(a[i], " 000 ") {
			tr.Errorf("no answer: %s", a[i])
		}
	}
	tr.Logf("%d calls, e.g. %s", len(a), a[0])
}
