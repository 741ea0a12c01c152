// SPDX-License-Identifier: Apache-2.0

//go:build root

package trust

import (
	"bytes"
	"crypto/tls"
	"crypto/x509/pkix"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

var sessionName = pkix.Name{CommonName: "phantom-ns session CA 7f3a", Organization: []string{"phantom-ns  Test"}}

// serve starts a TLS server with a leaf of the session CA for "localhost", on
// both addresses that a client may take that name for.
func serve(t *testing.T, a *authority) (url string) {
	t.Helper()
	der, key := a.leaf(t)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "hello")
	}))
	server.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	if l, err := net.Listen("tcp6", net.JoinHostPort("::1", strconv.Itoa(server.Listener.Addr().(*net.TCPAddr).Port))); err == nil {
		t.Cleanup(func() { l.Close() })
		go server.Config.Serve(tls.NewListener(l, server.TLS))
	}
	return strings.Replace(server.URL, "127.0.0.1", "localhost", 1)
}

// client runs a program with nothing in its environment but what is given.
func client(t *testing.T, env []string, argv ...string) (string, error) {
	t.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append([]string{"PATH=/usr/bin:/bin", "HOME=/nonexistent", "LC_ALL=C"}, env...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return out.String(), err
}

func writeLeaf(t *testing.T, a *authority) string {
	t.Helper()
	der, _ := a.leaf(t)
	name := filepath.Join(t.TempDir(), "leaf.pem")
	must(t, os.WriteFile(name, encode(der), 0o644))
	return name
}

// T4: OpenSSL verifies a leaf strictly through each of its three ways to a root.
func TestOpenSSLTrusts(t *testing.T) {
	if !inside(t) {
		return
	}
	a := newAuthority(t, sessionName)
	leaf := writeLeaf(t, a)
	roots, err := filepath.Glob("/etc/ssl/certs/ISRG_Root_X1.pem")
	if err != nil || len(roots) != 1 {
		t.Fatalf("the host's own root is missing: %v", err)
	}
	ways := [][]string{
		{"-CApath", "/etc/ssl/certs", "-no-CAfile", "-no-CAstore"},
		{"-CAfile", "/etc/ssl/certs/ca-certificates.crt", "-no-CApath", "-no-CAstore"},
		{},
	}
	verify := func(way []string, name string) error {
		_, err := client(t, nil, append(append([]string{"openssl", "verify", "-x509_strict"}, way...), name)...)
		return err
	}
	for _, way := range ways {
		if verify(way, leaf) == nil {
			t.Fatalf("%q trusts the leaf before anything was done", way)
		}
	}
	applied(t, hostOptions(a))
	for _, way := range ways {
		if err := verify(way, leaf); err != nil {
			t.Errorf("%q: session leaf: %v", way, err)
		}
		// ISRG's root is not strict about key identifiers, so only its presence is asked.
		if out, err := client(t, nil, append(append([]string{"openssl", "verify"}, way...), roots[0])...); err != nil {
			t.Errorf("%q: the host's root: %v\n%s", way, err, out)
		}
	}
}

const (
	pythonSSL = `import sys, urllib.request; assert urllib.request.urlopen(sys.argv[1]).read() == b"hello"`
	// The context requests and pip make: certifi's file and nothing else.
	pythonCertifi = `import sys, ssl, urllib.request
%s
c = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
c.load_verify_locations(certifi.where())
assert urllib.request.urlopen(sys.argv[1], context=c).read() == b"hello"`
	nodeFetch = `fetch(process.argv[1]).then(r => r.text()).then(t => process.exit(t === "hello" ? 0 : 1), e => { console.error(e.cause); process.exit(1) })`
)

// The system's clients trust the session by the mounts alone; Node needs its variable.
func TestClientsTrust(t *testing.T) {
	if !inside(t) {
		return
	}
	a := newAuthority(t, sessionName)
	url := serve(t, a)
	// A venv as pip makes it, with certifi vendored, in a place of the user's.
	h := newHome(t)
	source, err := filepath.Glob("/usr/lib/python3/dist-packages/pip/_vendor/certifi")
	if err != nil || len(source) != 1 {
		t.Fatalf("no certifi to make a venv of: %v", err)
	}
	venv := h.bundle(".venv")
	must(t, os.CopyFS(filepath.Dir(venv)+"/copy", os.DirFS(source[0])))
	must(t, os.Rename(filepath.Dir(venv)+"/copy/cacert.pem", venv))
	must(t, os.Rename(filepath.Dir(venv)+"/copy/core.py", filepath.Dir(venv)+"/core.py"))
	must(t, os.Rename(filepath.Dir(venv)+"/copy/__init__.py", filepath.Dir(venv)+"/__init__.py"))
	site := "PYTHONPATH=" + filepath.Dir(filepath.Dir(venv))

	clients := []struct {
		name string
		env  []string
		argv []string
	}{
		{"curl", nil, []string{"curl", "-fsS", url}},
		{"python ssl", nil, []string{"/usr/bin/python3", "-I", "-c", pythonSSL, url}},
		{"pip's certifi", nil, []string{"/usr/bin/python3", "-I", "-c", strings.Replace(pythonCertifi, "%s", "from pip._vendor import certifi", 1), url}},
		{"venv's certifi", []string{site}, []string{"/usr/bin/python3", "-c", strings.Replace(pythonCertifi, "%s", "import certifi", 1), url}},
		{"node", Env(), []string{"node", "-e", nodeFetch, url}},
	}
	for _, c := range clients {
		if out, err := client(t, slim(c.env), c.argv...); err == nil {
			t.Fatalf("%s trusts before anything was done: %s", c.name, out)
		}
	}
	applied(t, h.options(a))
	for _, c := range clients {
		t.Run(c.name, func(t *testing.T) {
			if out, err := client(t, c.env, c.argv...); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

// slim leaves out the variables whose files do not exist yet.
func slim(env []string) []string {
	if len(env) == len(variables) {
		return nil
	}
	return env
}

// Every variable alone must not break what the mounts do: with all of them set, the same
// clients work.
func TestClientsTrustWithVariables(t *testing.T) {
	if !inside(t) {
		return
	}
	a := newAuthority(t, sessionName)
	url := serve(t, a)
	applied(t, hostOptions(a))
	for _, argv := range [][]string{
		{"curl", "-fsS", url},
		{"/usr/bin/python3", "-I", "-c", pythonSSL, url},
		{"node", "-e", nodeFetch, url},
		{"git", "ls-remote", url + "/repo"},
	} {
		out, err := client(t, Env(), argv...)
		// git is satisfied with the certificate when it complains about the repository.
		if err != nil && !(argv[0] == "git" && strings.Contains(out, "not valid: is this a git repository")) {
			t.Errorf("%s: %v\n%s", argv[0], err, out)
		}
	}
}
