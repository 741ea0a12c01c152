// SPDX-License-Identifier: Apache-2.0

package rig

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// direct is a client that finds every name at the upstream and trusts it.
func direct(t *testing.T, u *Upstream, h2 bool) *http.Client {
	t.Helper()
	text, err := os.ReadFile(u.CA)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(text)
	transport := &http.Transport{
		TLSClientConfig:   &tls.Config{RootCAs: roots},
		ForceAttemptHTTP2: h2,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, u.Address())
		},
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

func ask(t *testing.T, c *http.Client, method, url, body string, header ...string) (int, string) {
	t.Helper()
	r, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	answer, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(text)
}

func TestUpstreamAnswersTheRealCredentialAlone(t *testing.T) {
	u := NewUpstream(t, net.Listen)
	key := Canary(t, "sk-")
	u.Serve("api.openai.com", u.OpenAI(key))
	u.Serve("api.anthropic.com", u.Anthropic(key))
	u.Serve("api.github.com", u.GitHub(key))
	u.Serve("echo.test", u.Echo(key, BasicUsername))
	const openai, anthropic, github = "https://api.openai.com/v1/models", "https://api.anthropic.com/v1/messages", "https://api.github.com/user"
	for _, c := range []struct {
		name, method, url string
		header            []string
		want              int
	}{
		{"bearer", "GET", openai, []string{"Authorization", "Bearer " + key}, 200},
		{"none", "GET", openai, nil, 401},
		{"other key", "GET", openai, []string{"Authorization", "Bearer " + Canary(t, "sk-")}, 401},
		{"two keys", "GET", openai, []string{"Authorization", "Bearer x", "Authorization", "Bearer " + key}, 401},
		{"wrong position", "GET", openai, []string{"X-Api-Key", key}, 401},
		{"header", "POST", anthropic, []string{"X-Api-Key", key}, 200},
		{"bearer instead of header", "POST", anthropic, []string{"Authorization", "Bearer " + key}, 200},
		{"basic instead of header", "POST", anthropic, []string{"Authorization", basic("", key)}, 401},
		{"token", "GET", github, []string{"Authorization", "token " + key}, 200},
		{"basic", "GET", "https://echo.test/", []string{"Authorization", basic(key, "")}, 200},
		{"basic, password", "GET", "https://echo.test/", []string{"Authorization", basic("u", key)}, 401},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, body := ask(t, direct(t, u, true), c.method, c.url, "{}", c.header...)
			if code != c.want || strings.Contains(body, u.Answer) != (code == 200) {
				t.Errorf("status %d, body %q", code, body)
			}
		})
	}
}

func basic(user, password string) string {
	r := &http.Request{Header: make(http.Header)}
	r.SetBasicAuth(user, password)
	return r.Header.Get("Authorization")
}

func TestUpstreamRecordsExactBytes(t *testing.T) {
	u := NewUpstream(t, net.Listen)
	u.Serve("echo.test", u.Echo(""))
	text, err := os.ReadFile(u.CA)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(text)
	c, err := tls.Dial("tcp", u.Address(), &tls.Config{RootCAs: roots, ServerName: "echo.test"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	const sent = "POST /a%2Fb?q=1;2 HTTP/1.1\r\nhOST: echo.test\r\nX-odd:  two  spaces \r\ncontent-length: 4\r\n\r\nbody"
	io.WriteString(c, sent)
	answer, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil || answer.StatusCode != 200 {
		t.Fatalf("answer %v, %v", answer, err)
	}
	if raw := u.Raw(0); !bytes.Equal(raw, []byte(sent)) {
		t.Errorf("recorded %q", raw)
	}
	e := u.Exchanges("echo.test")
	if len(e) != 1 || string(e[0].Body) != "body" || e[0].Target != "/a%2Fb?q=1;2" || e[0].Status != 200 || e[0].Proto != "HTTP/1.1" {
		t.Errorf("exchanges %+v", e)
	}
}

func TestUpstreamSpeaksHTTP2AndStreams(t *testing.T) {
	u := NewUpstream(t, net.Listen)
	key := Canary(t, "sk-")
	u.Serve("api.openai.com", u.OpenAI(key))
	client := direct(t, u, true)
	code, body := ask(t, client, "POST", "https://api.openai.com/v1/chat/completions", `{"stream":true}`, "Authorization", "Bearer "+key)
	if code != 200 || strings.Count(body, "data: ") != 5 || strings.Contains(body, u.Answer) {
		t.Errorf("status %d, stream %q", code, body)
	}
	e := u.Exchanges("")
	if len(e) != 1 || e[0].Proto != "HTTP/2.0" || e[0].SNI != "api.openai.com" || string(e[0].Body) != `{"stream":true}` {
		t.Errorf("exchanges %+v", e)
	}
}

func TestUpstreamServesGitAfterAChallenge(t *testing.T) {
	u := NewUpstream(t, net.Listen)
	key := Canary(t, "ghp_")
	repository := NewRepository(t, "acme/private.git", "hello from "+u.Answer)
	u.Serve("github.com", u.Git(repository, key))
	_, port, _ := net.SplitHostPort(u.Address())
	clone := func(password string) ([]byte, error) {
		cmd := exec.Command("git", "-c", "http.curloptResolve=github.com:"+port+":127.0.0.1", "-c", "http.sslCAInfo="+u.CA,
			"clone", "-q", "https://octo:"+password+"@github.com:"+port+"/acme/private.git", t.TempDir())
		cmd.Env = append(os.Environ(), "GIT_TERMINAL_PROMPT=0", "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_SSL_CAINFO="+u.CA)
		return cmd.CombinedOutput()
	}
	if out, err := clone(key); err != nil {
		t.Fatalf("clone: %v: %s", err, out)
	}
	first := u.Exchanges("")[0]
	if first.Status != 401 || first.Header.Get("Authorization") != "" {
		t.Errorf("first exchange %+v", first)
	}
	if out, err := clone("wrong"); err == nil {
		t.Errorf("a wrong password cloned: %s", out)
	}
}
