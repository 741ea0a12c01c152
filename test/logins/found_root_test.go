// SPDX-License-Identifier: Apache-2.0

//go:build root

package logins

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/phantom-ns/phantom-ns/test/rig"
)

// TestLoginOnTheDiskIsFound: a login that its tool has left in the home is named
// by the profile with what stores it, stays outside, and is in use once it is
// stored; where the session has a key instead, nothing is said.
func TestLoginOnTheDiskIsFound(t *testing.T) {
	const line = "profile claude: the login in ~/.claude/.credentials.json is not in use; store it: sudo phantom-ns secret set claude --from-file ~/.claude/.credentials.json\n"
	s := claude(t)
	file := claudeFile
	s.world.Give(file, fmt.Appendf(nil, `{"claudeAiOauth":{"accessToken":%q,"refreshToken":%q,"expiresAt":%d}}`,
		s.service.access, s.service.refresh, farAway.UnixMilli()), 0o600)
	session := s.session(`cat ~/.claude/.credentials.json; ` + useClaude)
	session.With, session.Flags = nil, []string{"--profile", "claude"}
	found := s.world.Run(session)
	if strings.Count(found.Stderr, line) != 1 || strings.Contains(found.Stderr, "no credential is stored") || !strings.HasPrefix(found.Stdout, `{"claudeAiOauth":{"accessToken":"","refreshToken":"",`) {
		t.Errorf("found: %v", found)
	}
	if hits := rig.NewOracle(s.real...).Bytes("output", found.Bytes()); len(hits) > 0 {
		t.Errorf("the login is not outside: %v", hits)
	}
	if r := s.world.Command(nil, "secret", "set", "claude", "--from-file", file); r.Exit != 0 || !strings.HasSuffix(r.Stderr, "which ends the tool's own login in "+file+"\n") {
		t.Fatalf("what the line says: %v", r)
	}
	if used := s.world.Run(session); strings.Contains(used.Stderr, line) || !strings.HasSuffix(used.Stdout, "200\n") {
		t.Errorf("stored: %v", used)
	}
	for _, args := range [][]string{{"rm", "claude"}, {"set", "anthropic"}} {
		if r := s.world.Command(strings.NewReader(rig.CanaryOf(t, "sk-ant-api03-", 108)), append([]string{"secret"}, args...)...); r.Exit != 0 || strings.Contains(r.Stderr, "login") {
			t.Fatalf("%v: %v", args, r)
		}
	}
	if key := s.world.Run(session); strings.Contains(key.Stderr, line) {
		t.Errorf("with a key instead: %v", key)
	}
	// The file without its login.
	s.world.Give(file, fmt.Appendf(nil, `{"claudeAiOauth":{"accessToken":"","refreshToken":"","expiresAt":%d}}`, time.Now().UnixMilli()), 0o600)
	if r := s.world.Command(nil, "secret", "rm", "anthropic"); r.Exit != 0 {
		t.Fatal(r)
	}
	if none := s.world.Run(session); strings.Contains(none.Stderr, line) || !strings.Contains(none.Stderr, "no credential is stored; store one") {
		t.Errorf("no login: %v", none)
	}
}

// giveClaude puts a login where Claude Code keeps it.
func (s *stay) giveClaude(ends time.Time) string {
	s.Helper()
	text := fmt.Sprintf("{\n  \"claudeAiOauth\": {\"accessToken\": %q, \"refreshToken\": %q, \"expiresAt\": %d}\n}\n", s.service.access, s.service.refresh, ends.UnixMilli())
	s.world.Give(claudeFile, []byte(text), 0o600)
	return text
}

const claudeFile = rig.Home + "/.claude/.credentials.json"

// inPlace is a session that a policy lets use the login in its tool's file.
func (s *stay) inPlace(script string) rig.Session {
	session := s.session(script)
	session.With = nil
	session.Policy += "profile: claude\ncredentials:\n  claude: {from: \"file:" + claudeFile + "\"}\n"
	return session
}

// TestLoginInPlace: a policy may name the tool's own file. Its token is used as
// long as it lasts and never refreshed here; what the tool outside has refreshed
// is taken over; the agent has placeholders.
func TestLoginInPlace(t *testing.T) {
	s := claude(t)
	text := s.giveClaude(farAway)
	lasts := s.world.Run(s.inPlace(useClaude + `; grep -c "$CLAUDE_CODE_OAUTH_TOKEN" ~/.claude/.credentials.json`))
	if !strings.HasSuffix(lasts.Stdout, "200\n1\n") || strings.Contains(lasts.Stderr, "is not in use") || strings.Contains(lasts.Stderr, "take it out") {
		t.Errorf("a token that lasts: %v", lasts)
	}
	if s.service.count+s.service.spent != 0 || string(s.world.Read(claudeFile)) != text {
		t.Errorf("%d refreshes, and the file is %q", s.service.count+s.service.spent, s.world.Read(claudeFile))
	}

	s.giveClaude(time.Now().Add(2 * time.Minute))
	said, says := io.Pipe()
	typed, types := io.Pipe()
	session := s.inPlace(useClaude + `; read line; until ` + useClaude + ` | grep -q welcome; do sleep 0.1; done; echo taken over`)
	session.Stdin, session.Stdout = typed, says
	p := s.world.Start(session)
	lines := bufio.NewReader(said)
	if line, err := lines.ReadString('\n'); err != nil || !strings.HasPrefix(line, "welcome Bearer sk-ant-oat01-") {
		t.Errorf("a token that ends soon: %q, %v", line, err)
	}
	awaitLine(t, lines, "200")
	s.service.mu.Lock()
	s.service.access, s.service.refresh = s.service.make("access"), s.service.make("refresh")
	s.service.mu.Unlock()
	s.giveClaude(farAway)
	io.WriteString(types, "\n")
	types.Close()
	awaitLine(t, lines, "taken over")
	go io.Copy(io.Discard, lines)
	overtaken := p.Wait()
	if s.service.count+s.service.spent != 0 {
		t.Errorf("%d refreshes", s.service.count+s.service.spent)
	}

	s.giveClaude(time.Now().Add(-time.Hour))
	if ended := s.world.Run(s.inPlace(useClaude)); ended.Exit != 125 || !strings.Contains(ended.Stderr, "the login ends, and its tool has not refreshed it: start the tool outside once, or store the login: phantom-ns secret set claude --from-file ~/.claude/.credentials.json") {
		t.Errorf("a token that has ended: %v", ended)
	}
	if hits := rig.NewOracle(s.real...).Bytes("output", append(lasts.Bytes(), overtaken.Bytes()...)); len(hits) > 0 {
		t.Errorf("the login is not outside: %v", hits)
	}
}
