// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/phantom-ns/phantom-ns/enforcer/node/cdi"
)

const serviceName = "phantom-ns-webhook.phantom-ns.svc"

// apiServer is the one object that a Keeper asks for.
type apiServer struct {
	mu      sync.Mutex
	version int
	bundles [2][]byte
	between func() // once, between a reading and a writing
}

func (a *apiServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if r.Header.Get("Authorization") != "Bearer token" || r.URL.Path != "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/phantom-ns" {
		http.Error(w, "forbidden", http.StatusForbidden)
		return
	}
	if r.Method == http.MethodGet {
		fmt.Fprintf(w, `{"metadata":{"resourceVersion":"%d"},"webhooks":[`, a.version)
		for i := range a.bundles {
			bundle, _ := json.Marshal(a.bundles[i])
			fmt.Fprintf(w, `%s{"clientConfig":{"caBundle":%s}}`, strings.Repeat(",", i), bundle)
		}
		io.WriteString(w, "]}")
		if a.between != nil {
			a.between()
			a.between = nil
		}
		return
	}
	var patch []struct {
		Op, Path string
		Value    string
	}
	if err := json.NewDecoder(r.Body).Decode(&patch); err != nil || r.Header.Get("Content-Type") != "application/json-patch+json" {
		http.Error(w, "no patch", http.StatusBadRequest)
		return
	}
	if patch[0].Op != "test" || patch[0].Path != "/metadata/resourceVersion" || patch[0].Value != strconv.Itoa(a.version) {
		http.Error(w, "testing value failed", http.StatusUnprocessableEntity)
		return
	}
	a.version++
	for _, o := range patch[1:] {
		var i int
		if _, err := fmt.Sscanf(o.Path, "/webhooks/%d/clientConfig/caBundle", &i); err != nil || o.Op != "add" {
			http.Error(w, "another patch", http.StatusForbidden)
			return
		}
		json.Unmarshal([]byte(strconv.Quote(o.Value)), &a.bundles[i])
	}
	io.WriteString(w, "{}")
}

func startAPIServer(t *testing.T) (*apiServer, *Cluster) {
	t.Helper()
	a := &apiServer{version: 7}
	s := httptest.NewTLSServer(a)
	t.Cleanup(s.Close)
	dir := t.TempDir()
	put(t, dir, "ca.crt", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})))
	put(t, dir, "token", "token\n")
	c, err := connect(s.URL, dir, "phantom-ns")
	if err != nil {
		t.Fatal(err)
	}
	return a, c
}

func put(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func logger(t *testing.T) *slog.Logger { return slog.New(slog.NewTextHandler(t.Output(), nil)) }

// source has the policy coder, granted to team.
func source(t *testing.T) Source {
	t.Helper()
	dir := t.TempDir()
	put(t, dir, "coder.yaml", "version: 1\ncredentials:\n  key: {from: \"file:/nowhere\", env: [API_KEY], hosts: [api.example.test], placeholder: name}\n")
	put(t, dir, "shaped.yaml", "version: 1\ncredentials:\n  key: {from: \"file:/nowhere\", env: [API_KEY], hosts: [api.example.test]}\n")
	put(t, dir, "user.yaml", "version: 1\ncredentials:\n  key: {from: \"env:KEY\", env: [API_KEY], hosts: [api.example.test]}\n")
	return Source{Policies: dir, Grants: put(t, dir, "grants.json", `{"coder":["team"],"shaped":["*"],"user":["team"],"gone":["team"]}`)}
}

// Replicas that start at once are all believed, each with a key of its own, and
// answer as the API server asks: by their service's name, over TLS.
func TestReplicasAnswerTheAPIServer(t *testing.T) {
	a, cluster := startAPIServer(t)
	foreign := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("somebody's")}))
	a.bundles[0] = []byte(foreign)
	var replicas sync.WaitGroup
	keepers := make([]*Keeper, 4)
	for i := range keepers {
		keepers[i] = NewKeeper(serviceName, cluster, logger(t))
		replicas.Go(func() {
			if err := keepers[i].keep(t.Context(), time.Now()); err != nil {
				t.Error(err)
			}
		})
	}
	replicas.Wait()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(a.bundles[1])
	for _, k := range keepers {
		status, answer := ask(t, k, roots, pods(`"containers":[{"name":"a"}]`))
		if status != http.StatusOK || !answer.Allowed || answer.UID != "u" || answer.PatchType != "JSONPatch" || !bytes.Contains(answer.Patch, []byte("API_KEY")) {
			t.Errorf("%d %+v", status, answer)
		}
		status, answer = ask(t, k, roots, `{"metadata":{"labels":{"phantom-ns.dev/policy":"other"}}}`)
		if status != http.StatusOK || answer.Allowed || answer.Status.Code != http.StatusForbidden || !strings.Contains(answer.Status.Message, "not granted") {
			t.Errorf("%d %+v", status, answer)
		}
	}
	if !bytes.HasPrefix(a.bundles[0], []byte(foreign)) {
		t.Error("another's certificate is gone")
	}
}

// ask starts a replica, and asks it for a pod as the API server does.
func ask(t *testing.T, k *Keeper, roots *x509.CertPool, object string) (int, *response) {
	t.Helper()
	client, address := serve(t, k, roots)
	answer, err := client.Post("https://"+address+"/mutate?timeout=10s", "application/json", strings.NewReader(reviewOf(object)))
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	var r review
	if err := json.NewDecoder(answer.Body).Decode(&r); err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, r.Response
}

func reviewOf(object string) string {
	return fmt.Sprintf(`{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"u",
		"resource":{"group":"","version":"v1","resource":"pods"},"namespace":"team","operation":"CREATE","object":%s}}`, object)
}

func serve(t *testing.T, k *Keeper, roots *x509.CertPool) (*http.Client, string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- New(source(t), cdi.Layout{}, k.Ready, logger(t)).Serve(ctx, l, k.Certificate) }()
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: serviceName}}}
	t.Cleanup(func() {
		client.CloseIdleConnections()
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return client, l.Addr().String()
}

func TestRequestsAreBounded(t *testing.T) {
	a, cluster := startAPIServer(t)
	k := NewKeeper(serviceName, cluster, logger(t))
	if err := k.keep(t.Context(), time.Now()); err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(a.bundles[0])
	client, address := serve(t, k, roots)
	for name, test := range map[string]struct {
		method, path, kind, body string
		want                     int
	}{
		"too large":  {"POST", "/mutate", "application/json", strings.Repeat(" ", maxBody+1), http.StatusRequestEntityTooLarge},
		"no review":  {"POST", "/mutate", "application/json", `{"kind":"Pod"}`, http.StatusBadRequest},
		"no JSON":    {"POST", "/mutate", "application/json; charset=utf-8", `{`, http.StatusBadRequest},
		"wrong type": {"POST", "/mutate", "text/plain", `{}`, http.StatusUnsupportedMediaType},
		"GET":        {"GET", "/mutate", "application/json", ``, http.StatusMethodNotAllowed},
		"elsewhere":  {"POST", "/", "application/json", `{}`, http.StatusNotFound},
		"ready":      {"GET", "/readyz", "", ``, http.StatusOK},
	} {
		r, err := http.NewRequest(test.method, "https://"+address+test.path, strings.NewReader(test.body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", test.kind)
		answer, err := client.Do(r)
		if err != nil {
			t.Fatal(name, err)
		}
		answer.Body.Close()
		if answer.StatusCode != test.want {
			t.Errorf("%s: %d, not %d", name, answer.StatusCode, test.want)
		}
	}
	client.Transport.(*http.Transport).CloseIdleConnections()
	old := &tls.Config{RootCAs: roots, ServerName: serviceName, MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10}
	if c, err := tls.Dial("tcp", address, old); err == nil {
		c.Close()
		t.Error("TLS 1.1 is spoken")
	}
}

// Who sends slowly keeps nobody waiting. Where too much is held that has not
// been answered, a review is refused until it has.
func TestWhoSendsSlowlyHoldsNobodyUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(source(t), cdi.Layout{}, func() bool { return true }, logger(t))
		ask := func(body io.Reader) int {
			r, w := httptest.NewRequest(http.MethodPost, reviewPath, body), httptest.NewRecorder()
			r.Header.Set("Content-Type", contentType)
			s.handler().ServeHTTP(w, r)
			return w.Code
		}
		answers := func(want int) {
			t.Helper()
			if got := ask(strings.NewReader(reviewOf(pods(``)))); got != want {
				t.Errorf("a review is answered %d, not %d", got, want)
			}
		}
		var asking sync.WaitGroup
		slowly := func(size int) (end func() error) {
			body, sent := io.Pipe()
			asking.Go(func() { ask(body) })
			if _, err := sent.Write(make([]byte, size)); err != nil {
				t.Error(err)
			}
			synctest.Wait() // until what was read is counted
			return sent.Close
		}
		var ends []func() error
		for range 2 * maxAtATime {
			ends = append(ends, slowly(1))
		}
		answers(http.StatusOK)
		for range maxBodies/maxBody - 1 {
			ends = append(ends, slowly(maxBody))
		}
		answers(http.StatusOK)
		ends = append(ends, slowly(maxBody-2*maxAtATime))
		answers(http.StatusServiceUnavailable)
		for _, end := range ends {
			end()
		}
		asking.Wait()
		answers(http.StatusOK)
	})
}

// A certificate is renewed before it ends, told before it is used, and put back
// where somebody wrote the configuration anew; what has ended is taken away.
func TestCertificatesAreRenewed(t *testing.T) {
	a, cluster := startAPIServer(t)
	k := NewKeeper(serviceName, cluster, logger(t))
	now := time.Now()
	if k.Ready() {
		t.Error("ready before anybody knows the certificate")
	}
	keep := func(after time.Duration) *own {
		t.Helper()
		if err := k.keep(t.Context(), now.Add(after)); err != nil {
			t.Fatal(err)
		}
		return k.current.Load()
	}
	first := keep(0)
	version := a.version
	if keep(time.Hour) != first || a.version != version {
		t.Error("written without need")
	}
	a.bundles = [2][]byte{} // an installer
	if keep(2*time.Hour) != first || !bytes.Equal(a.bundles[0], first.pem) {
		t.Error("not put back")
	}
	a.between = func() { a.version++ } // a write in between
	second := keep(lifetime - overlap + time.Minute)
	if second == first || !bytes.Equal(a.bundles[1], append(bytes.Clone(first.pem), second.pem...)) {
		t.Error("not renewed beside the first")
	}
	if keep(lifetime + time.Minute); !bytes.Equal(a.bundles[0], second.pem) {
		t.Error("what has ended is believed")
	}
	cluster.token = put(t, t.TempDir(), "token", "stolen")
	if err := k.keep(t.Context(), now.Add(3*lifetime)); err == nil || k.Ready() {
		t.Errorf("ready with a certificate that has ended: %v", err)
	}
}

func TestBundlesAreBounded(t *testing.T) {
	var bundle []byte
	now := time.Now()
	for range maxBundle + 5 {
		c, err := makeOwn(serviceName, now)
		if err != nil {
			t.Fatal(err)
		}
		bundle, _ = joined(bundle, c.pem, now)
	}
	if got := bytes.Count(bundle, []byte("BEGIN CERTIFICATE")); got != maxBundle {
		t.Errorf("%d certificates", got)
	}
}

// What is not granted is refused in the same words whether it exists or not.
func TestGrants(t *testing.T) {
	s := source(t)
	for _, test := range []struct{ policy, namespace, want string }{
		{"coder", "team", ""}, {"none", "other", ""},
		{"coder", "other", "not granted"}, {"coder", "", "not granted"}, {"other", "team", "not granted"}, {"gone", "team", "there is none"},
		{"shaped", "anything", "depends on the real value"}, {"user", "team", "a node has no user"},
	} {
		env, err := s.environ(test.policy, test.namespace)
		if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%s in %q: %v, want %q", test.policy, test.namespace, err, test.want)
		}
		if test.policy == "coder" && test.want == "" && (len(env) < 2 || env[0] != "API_KEY=API_KEY") {
			t.Errorf("environment: %q", env)
		}
	}
}
