// SPDX-License-Identifier: Apache-2.0

//go:build agents

package agents

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/phantom-ns/phantom-ns/test/rig"
)

// authorizeURL is what Codex prints for its user's browser.
var authorizeURL = regexp.MustCompile(`https://auth\.openai\.com/oauth/authorize\?\S+`)

// TestCodexLogsInInside: Codex's own login in a session. The browser outside
// brings the code to the port at which Codex waits; what the service gives for
// it is stored, Codex has placeholders, and the next session works with them.
func TestCodexLogsInInside(t *testing.T) {
	tokens := newChatGPT(t)
	w := rig.New(t)
	tr := &trial{T: t, world: w, upstream: rig.NewUpstream(t, w.Listen), name: "codex", key: tokens.access}
	t.Cleanup(tr.explain)
	if err := w.Do(func() error {
		return errors.Join(os.Mkdir(rig.Home+"/.codex", 0o700), os.Chown(rig.Home+"/.codex", rig.UID, rig.GID))
	}); err != nil {
		t.Fatal(err)
	}
	tr.serveChatGPT()
	tr.upstream.Serve("auth.openai.com", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("grant_type") != "authorization_code" || r.FormValue("code") != "from-the-browser" {
			http.Error(w, `{"error":"invalid_grant"}`, http.StatusBadRequest)
			return
		}
		answer(w, map[string]any{"id_token": tokens.id, "access_token": tokens.access, "refresh_token": tokens.refresh, "expires_in": 3600})
	}))

	told, tells := io.Pipe()
	p := w.Start(rig.Session{Policy: tr.policy(), Env: []string{path}, Flags: []string{"--login", "codex"}, Args: []string{"codex", "login"}, Stderr: tells})
	lines, heard := bufio.NewReader(told), ""
	for authorizeURL.FindString(heard) == "" {
		line, err := lines.ReadString('\n')
		if heard += line; err != nil {
			t.Fatalf("Codex names no address: %v\n%s", err, heard)
		}
	}
	rest := make(chan string)
	go func() {
		text, _ := io.ReadAll(lines)
		rest <- string(text)
	}()
	asked, err := url.Parse(authorizeURL.FindString(heard))
	if err != nil {
		t.Fatal(err)
	}
	page := tr.browse("/auth/callback?code=from-the-browser&state=" + url.QueryEscape(asked.Query().Get("state")))
	success, err := page.Location()
	if err != nil {
		t.Fatalf("after the code: %s, %v", page.Status, err)
	}
	if shown := tr.browse(success.RequestURI()); shown.StatusCode != http.StatusOK {
		t.Errorf("the page after it: %s", shown.Status)
	}
	r := p.Wait()
	tells.Close()
	r.Stderr = heard + <-rest
	if r.Exit != 0 || !strings.Contains(r.Stderr, "a login was made in the session, and is stored") {
		t.Fatalf("%v", r)
	}
	for _, token := range []string{tokens.access, tokens.id, tokens.refresh} {
		tr.key = token
		tr.clean("login", r.Bytes())
	}
	tr.key = tokens.access
	tr.answers(tr.start(codexSays))
}

// browse is the browser outside. Codex's port is there a moment after Codex
// listens.
func (tr *trial) browse(target string) *http.Response {
	tr.Helper()
	var conn net.Conn
	for end := time.Now().Add(20 * time.Second); ; {
		err := tr.world.Do(func() (err error) {
			conn, err = net.Dial("tcp", "127.0.0.1:1455")
			return err
		})
		if err == nil {
			break
		}
		if !errors.Is(err, syscall.ECONNREFUSED) || time.Now().After(end) {
			tr.Fatal(err)
		}
	}
	tr.Cleanup(func() { conn.Close() })
	fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: localhost:1455\r\nConnection: close\r\n\r\n", target)
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		tr.Fatalf("%s: %v", target, err)
	}
	response.Body.Close()
	return response
}

// TestClaudeCodeLogsInInside: Claude Code's own login in a session, with the code
// that its user pastes.
func TestClaudeCodeLogsInInside(t *testing.T) {
	w := rig.New(t)
	tr := &trial{T: t, world: w, upstream: rig.NewUpstream(t, w.Listen), name: "claude", key: rig.CanaryOf(t, "sk-ant-oat01-", 108)}
	t.Cleanup(tr.explain)
	refresh := rig.CanaryOf(t, "sk-ant-ort01-", 108)
	tr.serveAnthropic()
	tr.upstream.Serve("platform.claude.com", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || r.URL.Path != "/v1/oauth/token" || !strings.Contains(string(body), `"from-the-browser"`) {
			answer(w, map[string]any{"message": "hello"})
			return
		}
		answer(w, map[string]any{
			"token_type": "Bearer", "access_token": tr.key, "refresh_token": refresh, "expires_in": 28800, "scope": "user:inference user:profile",
			"account": map[string]any{"uuid": "u-1", "email_address": "me@x.test"}, "organization": map[string]any{"uuid": "o-1", "name": "x"},
		})
	}))
	told, tells := io.Pipe()
	typed, types := io.Pipe()
	p := w.Start(rig.Session{Policy: tr.policy(), Env: []string{path}, Flags: []string{"--login", "claude"}, Args: []string{"claude", "auth", "login"}, Stdin: typed, Stdout: tells})
	for lines := bufio.NewReader(told); ; {
		line, err := lines.ReadString('\n')
		if err != nil {
			t.Fatal("Claude Code names no address")
		}
		if strings.Contains(line, "https://claude.ai/oauth/authorize?") {
			go io.Copy(io.Discard, lines)
			break
		}
	}
	fmt.Fprintln(types, "from-the-browser#state")
	types.Close()
	r := p.Wait()
	if r.Exit != 0 || !strings.Contains(r.Stderr, "a login was made in the session, and is stored") {
		t.Fatalf("%v", r)
	}
	for _, token := range []string{refresh, tr.key} { // the key last: it is asked for next
		tr.key = token
		tr.clean("login", r.Bytes())
	}
	tr.answers(tr.start(rig.Session{Args: []string{"claude", "-p", "say pong"}}))
}
