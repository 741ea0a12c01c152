// SPDX-License-Identifier: Apache-2.0

//go:build root

package logins

import (
	"fmt"
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
	file := rig.Home + "/.claude/.credentials.json"
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
	if r := s.world.Command(nil, "secret", "set", "claude", "--from-file", file); r.Exit != 0 {
		t.Fatalf("what the line says: %v", r)
	}
	if used := s.world.Run(session); strings.Contains(used.Stderr, line) || !strings.HasSuffix(used.Stdout, "200\n") {
		t.Errorf("stored: %v", used)
	}
	for _, args := range [][]string{{"rm", "claude"}, {"set", "anthropic"}} {
		if r := s.world.Command(strings.NewReader(rig.CanaryOf(t, "sk-ant-api03-", 108)), append([]string{"secret"}, args...)...); r.Exit != 0 {
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
