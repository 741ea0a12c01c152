// SPDX-License-Identifier: Apache-2.0

//go:build root

package files

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/phantom-ns/phantom-ns/proxy/audit"
	"github.com/phantom-ns/phantom-ns/test/rig"
)

const strict = `version: 1
credentials:
  openai: {hosts: [api.openai.com]}
strict: {key_at_rest: refuse}
`

// left puts the session's credential where people leave theirs.
func left(t *testing.T) (l *loot, key string) {
	l = newLoot(t)
	key = rig.CanaryOf(t, "sk-proj-", 60)
	if r := l.world.Command(strings.NewReader(key), "secret", "set", "openai"); r.Exit != 0 {
		t.Fatal(r)
	}
	return l, key
}

func TestP15KeyAtRestIsNamed(t *testing.T) {
	l, key := left(t)
	l.world.Give(rig.Home+"/.bashrc", []byte("alias ll='ls -l'\nexport OPENAI_API_KEY="+key+"\n"), 0o600)
	l.world.Give(rig.Work+"/.env", []byte("A=1\nB=2\nKEY="+base64.StdEncoding.EncodeToString([]byte("x:"+key))+"\n"), 0o600)
	l.world.Give(rig.Home+"/.zsh_history", []byte(": 1:0;echo hello\n"), 0o600)
	l.world.Write("/etc/hidden", []byte(key), 0o600)
	// A file that is masked holds nothing for the agent.
	l.world.Give(rig.Home+"/.codex/auth.json", []byte(`{"OPENAI_API_KEY": "`+key+`"}`), 0o600)
	r := l.world.Run(rig.Session{With: []string{"openai"}, Args: []string{"true"}})
	if r.Exit != 0 {
		t.Fatal(r)
	}
	for _, want := range []string{
		`credential "openai" stands in "` + rig.Home + `/.bashrc", line 2`, `credential "openai" stands in "` + rig.Work + `/.env", line 3`,
	} {
		if !strings.Contains(r.Stderr, want) {
			t.Errorf("not told: %s", want)
		}
	}
	if n := strings.Count(r.Stderr, "stands in"); n != 2 || len(rig.NewOracle(key).Bytes("output", r.Bytes())) > 0 {
		t.Errorf("%d places: %v", n, r)
	}
	named := 0
	for _, record := range l.world.Audit() {
		if record.Reason == audit.ReasonKeyAtRest && record.Credential == "openai" && record.Verdict == audit.Allow {
			named++
		}
	}
	if named != 2 {
		t.Errorf("%d records", named)
	}
	if hits := rig.NewOracle(key).Bytes("audit", l.world.Read(rig.AuditLog)); len(hits) > 0 {
		t.Error(hits)
	}
}

func TestP15StrictRefusesToStart(t *testing.T) {
	l, key := left(t)
	if r := l.world.Run(rig.Session{Policy: strict, Args: []string{"echo", "started"}}); r.Exit != 0 || r.Stdout != "started\n" || r.Stderr != "" {
		t.Fatalf("with nothing at rest: %v", r)
	}
	l.world.Give(rig.Work+"/config/prod.yaml", []byte("key: "+key+"\n"), 0o644)
	r := l.world.Run(rig.Session{Policy: strict, Args: []string{"echo", "started"}})
	if r.Exit != 125 || r.Stdout != "" || !strings.Contains(r.Stderr, `"`+rig.Work+`/config/prod.yaml", line 1`) || !strings.Contains(r.Stderr, "take the value out") {
		t.Errorf("%v", r)
	}
	if hits := rig.NewOracle(key).Bytes("output", r.Bytes()); len(hits) > 0 {
		t.Error(hits)
	}
	hidden := strict + "filesystem: {hide: [config]}\n"
	if r := l.world.Run(rig.Session{Policy: hidden, Args: []string{"ls", "config"}}); r.Exit != 0 || r.Stdout != "" || r.Stderr != "" {
		t.Errorf("where it is hidden: %v", r)
	}
}
