// SPDX-License-Identifier: Apache-2.0

//go:build root

package cli

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/phantom-ns/phantom-ns/test/rig"
)

func TestO7ExitStatusIsTheAgents(t *testing.T) {
	w := rig.New(t)
	tests := []struct {
		name string
		args []string
		exit int
	}{
		{"success", []string{"true"}, 0},
		{"its own", []string{"sh", "-c", "exit 42"}, 42},
		{"125 is its own too", []string{"sh", "-c", "exit 125"}, 125},
		{"killed by a signal", []string{"sh", "-c", "kill -9 $$"}, 128 + 9},
		{"terminated", []string{"sh", "-c", "kill -15 $$"}, 128 + 15},
		{"flags of the command stay its own", []string{"sh", "-c", `exit "$1"`, "--policy", "7"}, 7},
	}
	before := rig.Snapshot(t)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if r := w.Run(rig.Session{Args: test.args}); r.Exit != test.exit {
				t.Errorf("want %d, got %v", test.exit, r)
			}
		})
	}
	if left := rig.Leftovers(t, before); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestStandardStreamsPassThrough(t *testing.T) {
	w := rig.New(t)
	r := w.Run(rig.Session{Args: []string{"sh", "-c", "cat; echo err >&2"}, Stdin: strings.NewReader("through\n")})
	if r.Exit != 0 || r.Stdout != "through\n" || !strings.HasSuffix(r.Stderr, "err\n") {
		t.Errorf("got %v", r)
	}
}

func TestSecretIsStoredListedAndRemoved(t *testing.T) {
	w := rig.New(t)
	canary := rig.Canary(t, "sk-proj-")
	if r := w.Command(strings.NewReader(canary+"\n"), "secret", "set", "openai"); r.Exit != 0 || !strings.Contains(r.Stderr, "api.openai.com") {
		t.Fatalf("set: %v", r)
	}
	r := w.Command(nil, "secret", "list", "--json")
	var listed []struct{ Name, Provider string }
	if err := json.Unmarshal([]byte(r.Stdout), &listed); err != nil || len(listed) != 1 || listed[0].Name != "openai" || listed[0].Provider != "openai" {
		t.Errorf("list: %v %v", err, r)
	}
	if strings.Contains(r.Stdout, canary) {
		t.Error("list shows the value")
	}
	if hits := rig.NewOracle(canary).Bytes("store.age", w.Read("/var/lib/phantom-ns/store.age")); len(hits) > 0 {
		t.Errorf("the store holds the value: %v", hits)
	}
	if r := w.Command(nil, "secret", "rm", "openai"); r.Exit != 0 {
		t.Errorf("rm: %v", r)
	}
	if r := w.Command(nil, "secret", "list"); r.Exit != 0 || r.Stdout != "" {
		t.Errorf("after rm: %v", r)
	}
}

func TestSecretSetRefuses(t *testing.T) {
	w := rig.New(t)
	tests := []struct {
		name, value string
		args        []string
		names       string
	}{
		{"no hosts", "0123456789abcdef0123", []string{"work"}, "hosts"},
		{"unknown provider", "0123456789abcdef0123", []string{"work", "--provider", "nobody"}, "nobody"},
		{"bad host", "0123456789abcdef0123", []string{"work", "--host", "127.1"}, "127.1"},
		{"bad name", "0123456789abcdef0123", []string{"../work", "--host", "a.example"}, "work"},
		{"empty", "", []string{"openai"}, "empty"},
		{"newline inside", "0123456789\nabcdef0123", []string{"openai"}, "line break"},
		{"too short", "0123", []string{"openai"}, "shorter"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := w.Command(strings.NewReader(test.value), append([]string{"secret", "set"}, test.args...)...)
			if r.Exit != 125 || !strings.Contains(r.Stderr, test.names) {
				t.Errorf("got %v", r)
			}
			if test.value != "" && strings.Contains(r.Stderr, test.value) {
				t.Error("the message shows the value")
			}
		})
	}
}
