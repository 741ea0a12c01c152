// SPDX-License-Identifier: Apache-2.0

//go:build root

package leak

import (
	"os"
	"strings"
	"testing"

	"github.com/phantom-ns/phantom-ns/test/rig"
)

// typed is a descriptor that a passphrase can be read from.
func typed(t *testing.T, phrase string) *os.File {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	if _, err := w.WriteString(phrase + "\n"); err != nil {
		t.Fatal(err)
	}
	w.Close()
	return r
}

// lock stores a credential as demo and sets a passphrase.
func lock(t *testing.T, world *rig.World) (key, phrase string) {
	t.Helper()
	key, _ = (*rotating)(nil).set(world)
	phrase = rig.Canary(t, "")
	r := world.CommandWith([]*os.File{typed(t, phrase)}, nil, "secret", "passphrase", "--new-passphrase-fd", "3")
	if r.Exit != 0 || strings.Contains(r.Stdout+r.Stderr, phrase) {
		t.Fatalf("set passphrase: %v", r)
	}
	return key, phrase
}

// Without the passphrase nothing starts, and nothing changes.
func TestO4LockedStoreStartsNoSession(t *testing.T) {
	world := rig.New(t)
	key, phrase := lock(t, world)
	store := string(world.Read("/var/lib/phantom-ns/key")) + string(world.Read("/var/lib/phantom-ns/store.age"))
	agent := rig.Session{With: []string{"demo"}, Args: []string{"echo", "the agent runs"}}
	wrong, empty := agent, agent
	wrong.Files, wrong.Flags = []*os.File{typed(t, rig.Canary(t, ""))}, []string{"--passphrase-fd", "3"}
	empty.Files, empty.Flags = []*os.File{typed(t, "")}, []string{"--passphrase-fd", "3"}
	closed := agent
	closed.Flags = []string{"--passphrase-fd", "77"}
	for want, s := range map[string]rig.Session{
		"store is locked by a passphrase, and there is no terminal": agent,
		"passphrase does not open the key of the store":             wrong,
		"no passphrase was given":                                   empty,
		"77: not an open descriptor from 3 on":                      closed,
	} {
		r := world.Run(s)
		if r.Exit != 125 || r.Stdout != "" || !strings.Contains(r.Stderr, want) {
			t.Errorf("want %q: %v", want, r)
		}
		if strings.Contains(r.Stderr, key) || strings.Contains(r.Stderr, phrase) {
			t.Error("it is shown")
		}
	}
	for _, args := range [][]string{{"list"}, {"rm", "demo"}, {"set", "demo", "--host", host}, {"passphrase", "--remove"}} {
		r := world.Command(strings.NewReader(rig.Canary(t, "")), append([]string{"secret"}, args...)...)
		if r.Exit != 125 || !strings.Contains(r.Stderr, "store is locked by a passphrase") || !strings.Contains(r.Stderr, "--passphrase-fd") {
			t.Errorf("secret %s: %v", args, r)
		}
	}
	if now := string(world.Read("/var/lib/phantom-ns/key")) + string(world.Read("/var/lib/phantom-ns/store.age")); now != store {
		t.Error("the store changed")
	}
	unused := rig.Session{Args: []string{"true"}}
	if r := world.Run(unused); r.Exit != 0 {
		t.Errorf("a session that has no use for the store: %v", r)
	}
}

// Passphrase and key are in helpers alone; a running session goes on to open the
// store for what is stored anew.
func TestL8PassphraseIsInNoOtherProcess(t *testing.T) {
	world := rig.New(t)
	before, phrase := lock(t, world)
	r := startRotatingAs(t, world, rig.Session{Files: []*os.File{typed(t, phrase)}, Flags: []string{"--passphrase-fd", "3"}}, "store:demo", "")
	if status := r.send("/1"); status != "200" || r.sent() != before {
		t.Fatalf("%s, upstream got %q", status, r.sent())
	}
	after := rig.Canary(t, "")
	set := world.CommandWith([]*os.File{typed(t, phrase)}, strings.NewReader(after), "secret", "set", "demo", "--host", host, "--passphrase-fd", "3")
	if set.Exit != 0 || !strings.Contains(set.Stderr, "running sessions that use it now: 1") {
		t.Fatalf("secret set: %v", set)
	}
	if status := r.send("/2"); status != "200" || r.sent() != after {
		t.Errorf("%s, upstream got %q, want the new one", status, r.sent())
	}
	removed := world.CommandWith([]*os.File{typed(t, phrase)}, nil, "secret", "passphrase", "--remove", "--passphrase-fd", "3")
	if removed.Exit != 0 {
		t.Fatalf("remove: %v", removed)
	}
	family, identity := r.family(t), keyLine(t, world)
	for _, name := range []string{"supervisor", "sh", "phantom-ns: init", "phantom-ns: proxy"} {
		for _, what := range []string{phrase, identity} {
			if searched, found := searchMemory(t, family[name], []byte(what)); found || searched == 0 {
				t.Errorf("memory of %s: %d bytes read, found %v", name, searched, found)
			}
		}
	}
}

// keyLine is the store's key, in the clear.
func keyLine(t *testing.T, world *rig.World) string {
	t.Helper()
	for line := range strings.Lines(string(world.Read("/var/lib/phantom-ns/key"))) {
		if strings.HasPrefix(line, "AGE-SECRET-KEY-") {
			return strings.TrimSpace(line)
		}
	}
	t.Fatal("no key in the clear")
	return ""
}
