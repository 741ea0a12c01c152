// SPDX-License-Identifier: Apache-2.0

//go:build root

package leak

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/phantom-ns/phantom-ns/test/rig"
)

// Sources that give nothing which can be used: the session does not start, the
// message names credential and source, and nobody reads what was printed.
func TestO4BadSourcesStartNoSession(t *testing.T) {
	w := rig.New(t)
	key := rig.Canary(t, "")
	for name, script := range map[string]string{
		"exits":   "echo " + key + "; echo denied " + key + " >&2; exit 1",
		"nothing": ":",
		"lines":   "echo " + key + "; echo " + key,
		"long":    "yes " + key + " | head -c 10485760",
		"endless": "yes " + key,
		"hangs":   "echo " + key + "; exec sleep 60",
		"killed":  "echo " + key + "; kill -9 $$",
	} {
		w.Write("/etc/phantom-ns/"+name, []byte("#!/bin/sh\n"+script+"\n"), 0o755)
	}
	w.Write("/etc/phantom-ns/nul", []byte(key+"\x00"), 0o600)
	for from, want := range map[string]string{
		"exec:/etc/phantom-ns/exits":   "exit status 1",
		"exec:/etc/phantom-ns/nothing": "empty",
		"exec:/etc/phantom-ns/lines":   "line",
		"exec:/etc/phantom-ns/long":    "longer than 65536 bytes",
		"exec:/etc/phantom-ns/endless": "longer than 65536 bytes",
		"exec:/etc/phantom-ns/hangs":   "10s",
		"exec:/etc/phantom-ns/killed":  "killed",
		"exec:/etc/phantom-ns/none":    "no such file",
		"exec:relative":                notAReference,
		"file:/etc/phantom-ns/nul":     "NUL",
		"file:/dev/zero":               "is not a regular file",
		"file:../key":                  notAReference,
		"store:none":                   "secret set NAME stores it",
		"store:A":                      notAReference,
		"env:NONE":                     "variable is not set",
		"keyring:user/none":            "put it where from: looks",
		"secret-service:a/b":           "no Secret Service on the session bus",
		"secret-service:a":             notAReference,
		"systemd:none":                 "put it where from: looks",
		"vault:a":                      notAReference,
	} {
		t.Run(strings.ReplaceAll(from, "/", "_"), func(t *testing.T) {
			refused(t, w, from, want, key)
		})
	}
}

// notAReference is said of what the policy's grammar does not have, in front of
// the line that holds it.
const notAReference = "session.yaml:4:11: credentials.from: want store:NAME"

func refused(t *testing.T, w *rig.World, from, want, key string) {
	t.Helper()
	r := w.Run(rig.Session{
		Policy: fmt.Sprintf("version: 1\ncredentials:\n  demo:\n    from: %q\n    env: [DEMO_KEY]\n    hosts: [%s]\n", from, host),
		Args:   []string{"echo", "the agent started"},
	})
	if r.Exit != 125 || r.Stdout != "" || want != notAReference && !strings.Contains(r.Stderr, `credential "demo": fetch credential `+from+": ") || !strings.Contains(strings.ReplaceAll(r.Stderr, from, ""), want) {
		t.Errorf("%v, want %q beside the reference", r, want)
	}
	if hits := rig.NewOracle(key).Bytes("output", r.Bytes()); len(hits) > 0 {
		t.Errorf("shown: %v", hits)
	}
}

// A store that is damaged, or whose key is another's, is named and left alone.
func TestO4DamagedStoreStartsNoSession(t *testing.T) {
	for name, damage := range map[string]func(files map[string][]byte){
		"a flipped byte": func(files map[string][]byte) { flip(files["store.age"]) },
		"a flipped key":  func(files map[string][]byte) { flip(files["key"]) },
		"a cut store":    func(files map[string][]byte) { files["store.age"] = files["store.age"][:10] },
		"an empty key":   func(files map[string][]byte) { files["key"] = nil },
	} {
		t.Run(name, func(t *testing.T) {
			w := rig.New(t)
			key := rig.Canary(t, "")
			if r := w.Command(strings.NewReader(key), "secret", "set", "demo", "--host", host); r.Exit != 0 {
				t.Fatal(r)
			}
			files := storeFiles(t, w)
			damage(files)
			for file, data := range files {
				w.Write(storeDirectory+"/"+file, data, 0o600)
			}
			refused(t, w, "store:demo", "demo", key)
			if r := w.Command(strings.NewReader(rig.Canary(t, "")), "secret", "set", "demo", "--host", host); r.Exit == 0 {
				t.Error("it was overwritten")
			}
			after := storeFiles(t, w)
			for file, data := range files {
				if string(after[file]) != string(data) {
					t.Errorf("%s has changed", file)
				}
				delete(after, file)
			}
			if len(after) > 0 {
				t.Errorf("there are new files: %v", slices.Sorted(maps.Keys(after)))
			}
		})
	}
}

const storeDirectory = "/var/lib/phantom-ns"

// storeFiles are the regular files of the store that are not empty.
func storeFiles(t *testing.T, w *rig.World) map[string][]byte {
	t.Helper()
	files := make(map[string][]byte)
	err := w.Do(func() error {
		paths, err := filepath.Glob(storeDirectory + "/*")
		for _, path := range paths {
			if data, rerr := os.ReadFile(path); rerr == nil && len(data) > 0 {
				files[filepath.Base(path)] = data
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// flip is behind what is a comment in the key's file.
func flip(data []byte) { data[len(data)-10] ^= 1 }
