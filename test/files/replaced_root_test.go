// SPDX-License-Identifier: Apache-2.0

//go:build root

package files

import (
	"io"
	"os"
	"strings"
	"testing"

	"github.com/phantom-ns/phantom-ns/test/rig"
)

// lineWatch waits for the agent's first word.
type lineWatch struct{ seen chan struct{} }

func (l lineWatch) Write(p []byte) (int, error) {
	select {
	case <-l.seen:
	default:
		close(l.seen)
	}
	return len(p), nil
}

// replace puts another file in the place of one of the home's, as an editor
// outside does that saves it.
func (l *loot) replace(name, text string) {
	l.Helper()
	l.world.Give(rig.Home+"/"+name+".new", []byte(text), 0o600)
	if err := l.world.Do(func() error { return os.Rename(rig.Home+"/"+name+".new", rig.Home+"/"+name) }); err != nil {
		l.Fatal(err)
	}
}

// TestP9ReplacedMaskedFileIsTold: a masked file of a folder that is written for
// real, replaced by a program outside, is named; a policy that allows no
// credential at rest ends the session. In the overlay of the home it stays a
// copy, and nothing is said.
func TestP9ReplacedMaskedFileIsTold(t *testing.T) {
	const name = ".codex/auth.json"
	for kind, c := range map[string]struct {
		policy, profile, says string
		exit                  int
	}{
		"told":    {"version: 1\n", "codex", `auth.json" was replaced from outside, and the agent sees what is in it now`, 0},
		"strict":  {"version: 1\nstrict: {key_at_rest: refuse}\n", "codex", `auth.json" was replaced from outside: the copy that the agent sees no longer covers it`, 125},
		"overlay": {"version: 1\nstrict: {key_at_rest: refuse}\n", "none", "", 0},
	} {
		t.Run(kind, func(t *testing.T) {
			l := newLoot(t)
			l.put(name, `{"OPENAI_API_KEY": "@@"}`)
			ready := lineWatch{make(chan struct{})}
			typed, types := io.Pipe()
			p := l.world.Start(rig.Session{
				Policy: c.policy, Flags: []string{"--profile", c.profile}, Stdin: typed, Stdout: ready,
				Args: []string{"sh", "-c", "cat ~/" + name + "; echo; read x; cat ~/" + name},
			})
			<-ready.seen
			l.replace(name, `{"new": 1}`)
			go func() { // the strict one does not read it
				io.WriteString(types, "\n")
				types.Close()
			}()
			r := p.Wait()
			if r.Exit != c.exit || !strings.Contains(r.Stderr, c.says) || c.says == "" && strings.Contains(r.Stderr, "replaced") {
				t.Errorf("%v", r)
			}
			if kind == "overlay" && strings.Contains(r.Stdout, "new") {
				t.Errorf("the overlay shows what is below: %v", r)
			}
			l.clean(r)
		})
	}
}
