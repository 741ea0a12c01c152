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
		"/endless": func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				io.WriteString(w, "and on ")
				http.NewResponseController(w).Flush()
			}
		},
		"/websocket":     websocket,
		"/websocket/bye": websocket,
		"/early":         func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "enough", http.StatusForbidden) },
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path, _, _ := strings.Cut(r.RequestURI, "?")
		switch route, ok := routes[path]; {
		case ok:
			route(w, r)
		case strings.HasPrefix(path, "/echo"):
			echo(w, r)
		case strings.HasPrefix(path, "/test.Echo/"):
			grpc(w, r)
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

// Where install.sh puts the clients of this test.
const (
	installed = "/var/cache/phantom-ns-test/http"
	python    = installed + "/venv/bin/python"
)

// clients are called as "COMMAND HOST VARIABLE" and print a line for each call.
var clients = []struct {
	name    string
	command []string
	file    string // of testdata, which is the command's argument
	calls   int
}{
	{"curl", []string{"/bin/sh"}, "curl.sh", 44},
	{"httpx", []string{python}, "calls_httpx.py", 82},
	{"grpcio", []string{python}, "calls_grpc.py", 13},
	{"Node fetch", []string{"node"}, "fetch.mjs", 41},
	{"websockets", []string{python}, "websocket.py", 44},
}

// TestClientsSeeNoDifference: the same calls, once straight to the upstream
// with the real key and once in a session with its placeholder, come to the
// same statuses and bodies. Range is left out: a host with a credential never
// gets it (L5); see TestRangesOfOtherHosts.
func TestClientsSeeNoDifference(t *testing.T) {
	t.Run("Go", func(t *testing.T) {
		client := filepath.Join(t.TempDir(), "client")
		if err := rig.GoBuild(client, "./test/http/testdata/client"); err != nil {
			t.Fatal(err)
		}
		program, err := os.ReadFile(client)
		if err != nil {
			t.Fatal(err)
		}
		tr := newTrial(t)
		tr.world.Give(rig.Work+"/client", program, 0o755)
		argument := provider + ":" + variable
		tr.compare(86, tr.direct(rig.Work+"/client", argument), tr.session("./client", argument))
	})
	for _, c := range clients {
		t.Run(c.name, func(t *testing.T) {
			script, err := os.ReadFile("testdata/" + c.file)
			if err != nil {
				t.Fatal(err)
			}
			tr := newTrial(t)
			tr.world.Give(rig.Work+"/"+c.file, script, 0o644)
			tr.relay()
			args := append(c.command[1:], rig.Work+"/"+c.file, provider, variable)
			tr.compare(c.calls, tr.direct(c.command[0], args...), tr.session(append(c.command[:1:1], args...)...))
		})
	}
}

// TestRangesOfOtherHosts: where no credential is bound, ranges pass.
func TestRangesOfOtherHosts(t *testing.T) {
	tr := newTrial(t)
	text := strings.Repeat("0123456789", 10000)
	tr.upstream.Serve(files, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Etag", `"one"`)
		http.ServeContent(w, r, "file.txt", time.Unix(1e9, 0), strings.NewReader(text))
	}))
	tr.relay(files)
	const script = `for o in --http1.1 --http2; do
for r in 0-99 99990- -10 5-9,100-200 200000-; do
	curl -sS $o -r $r -w '%{http_code} %{size_download}\n' https://` + files + `/file | sed 's/^--[0-9a-f]*/boundary/' | sha256sum
	curl -sS $o -r $r -o /dev/null -w "$r %{http_code}\n" https://` + files + `/file
done
curl -sS $o -r 0-9 -H 'If-Range: "one"' -w ' %{http_code}\n' https://` + files + `/file
curl -sS $o -r 0-9 -H 'If-Range: "two"' -w ' %{http_code}\n' https://` + files + `/file | tail -c 20
done`
	direct, session := tr.direct("/bin/sh", "-c", script), tr.session("sh", "-c", script)
	if direct != session || strings.Count(direct, " 206\n") < 8 {
		t.Errorf("direct:\n%s\nsession:\n%s", direct, session)
	}
}

// files is a host without a credential.
const files = "files.test"

// relay leads the provider's name, and those of more, to the upstream, for the
// clients beside a session: they need no options then.
func (tr *trial) relay(more ...string) {
	tr.Helper()
	tr.world.Write("/etc/hosts", []byte("127.0.0.1 localhost "+provider+" "+strings.Join(more, " ")+"\n"), 0o644)
	l, err := tr.world.Listen("tcp", "127.0.0.1:443")
	if err != nil {
		tr.Fatal(err)
	}
	tr.upstream.Accept(l)
}

// direct runs a client in the world, beside any session.
func (tr *trial) direct(name string, args ...string) string {
	tr.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = rig.Work
	cmd.Env = []string{
		"PATH=/usr/local/bin:/usr/bin:/bin", "DIRECT=" + tr.upstream.Address(), variable + "=" + tr.key,
		"SSL_CERT_FILE=" + tr.upstream.CA, "CURL_CA_BUNDLE=" + tr.upstream.CA, "NODE_EXTRA_CA_CERTS=" + tr.upstream.CA, "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH=" + tr.upstream.CA,
	}
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
			"\negress:\n  - host: " + files + "\n" + tr.upstream.Hosts(),
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
