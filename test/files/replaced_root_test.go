// SPDX-License-Identifier: Apache-2.0

//go:build root

package files

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/phantom-ns/phantom-ns/proxy/audit"
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
// outside does that saves it; or another folder in the place of the file's.
func (l *loot) replace(name, text string, folder bool) {
	l.Helper()
	place := rig.Home + "/" + name
	fresh := place + ".new"
	if folder {
		place = filepath.Dir(place)
		fresh = place + ".new"
		l.world.Give(fresh+"/"+filepath.Base(name), []byte(text), 0o600)
	} else {
		l.world.Give(fresh, []byte(text), 0o600)
	}
	err := l.world.Do(func() error {
		return errors.Join(os.Rename(place, place+".old"), os.Rename(fresh, place))
	})
	if err != nil {
		l.Fatal(err)
	}
}

// TestP9ReplacedMaskedFileIsTold: a masked or hidden file of a folder that is
// written for real, replaced by a program outside, is named, and so is one below
// a folder that is; a policy that allows no credential at rest ends the session.
// In the overlay of the home it stays covered, and nothing is said.
func TestP9ReplacedMaskedFileIsTold(t *testing.T) {
	const masked, hidden = ".codex/auth.json", "work/.env"
	const hide, read, strict = "filesystem: {hide: [.env]}\n", "filesystem: {home: read-only}\n", "strict: {key_at_rest: refuse}\n"
	const hint = "\nphantom-ns: keep other programs from replacing it"
	for kind, c := range map[string]struct {
		name, policy, profile, says string

		folder  bool
		verdict audit.Verdict // of the record; "": there is none
		exit    int
	}{
		"told":          {masked, "", "codex", `auth.json", or a folder above it, was moved or replaced, and the agent sees what stands there now`, false, audit.Allow, 0},
		"strict":        {masked, strict, "codex", `auth.json", or a folder above it, was moved or replaced: it is no longer covered` + hint, false, audit.Deny, 125},
		"overlay":       {masked, strict, "none", "", false, "", 0},
		"folder":        {masked, read, "none", `auth.json", or a folder above it, was moved or replaced, and the agent sees what stands there now`, true, audit.Allow, 0},
		"folder strict": {masked, read + strict, "none", `auth.json", or a folder above it, was moved or replaced: it is no longer covered` + hint, true, audit.Deny, 125},
		"hidden":        {hidden, hide, "none", `.env", or a folder above it, was moved or replaced, and the agent sees what stands there now`, false, audit.Allow, 0},
		"hidden strict": {hidden, hide + strict, "none", `.env", or a folder above it, was moved or replaced: it is no longer covered` + hint, false, audit.Deny, 125},
	} {
		t.Run(kind, func(t *testing.T) {
			l := newLoot(t)
			l.put(c.name, `{"OPENAI_API_KEY": "@@"}`)
			ready := lineWatch{make(chan struct{})}
			typed, types := io.Pipe()
			p := l.world.Start(rig.Session{
				Policy: "version: 1\n" + c.policy, Flags: []string{"--profile", c.profile}, Stdin: typed, Stdout: ready,
				Args: []string{"sh", "-c", "cat ~/" + c.name + "; echo; read x; cat ~/" + c.name},
			})
			<-ready.seen
			l.replace(c.name, `{"new": 1}`, c.folder)
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
			records := slices.DeleteFunc(l.world.Audit(), func(r audit.Record) bool { return r.Reason != audit.ReasonKeyAtRest })
			if len(records) > 1 || (len(records) == 1) != (c.verdict != "") ||
				len(records) == 1 && (records[0].Verdict != c.verdict || records[0].Path != rig.Home+"/"+c.name) {
				t.Errorf("recorded %+v", records)
			}
			l.clean(r)
		})
	}
}
