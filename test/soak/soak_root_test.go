// SPDX-License-Identifier: Apache-2.0

//go:build root

package soak

import (
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/phantom-ns/phantom-ns/test/rig"
)

const policy = `version: 1
credentials:
  soak:
    from: env:SOAK_KEY
    env: [SOAK_KEY]
    hosts: [api.soak.test]
egress:
  - host: docs.soak.test
`

// number is what the environment says, or otherwise; an emulated machine does a
// part of that.
func number(t *testing.T, name string, otherwise int) int {
	t.Helper()
	text := os.Getenv(name)
	if pace := os.Getenv("RIG_PACE"); text == "" && pace != "" {
		n, err := strconv.Atoi(pace)
		if err != nil {
			t.Fatal(err)
		}
		return max(1, otherwise/n)
	}
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestO9SessionsLeaveNothing runs many sessions in a row, each with a
// credential and with refusals of every layer, and compares what the machine
// holds before and after.
func TestO9SessionsLeaveNothing(t *testing.T) {
	count := number(t, "SOAK_SESSIONS", 200)
	w := rig.New(t)
	key := rig.Canary(t, "")
	session := rig.Session{
		Policy: policy, Env: []string{"SOAK_KEY=" + key},
		Args: []string{"sh", "-c", `test -n "$SOAK_KEY" && ! getent hosts away.soak.test && getent hosts api.soak.test`},
	}
	w.Run(session) // what the first session makes once: directories, a seed
	tap := w.Tap(nil)
	before := rig.Snapshot(t)
	for i := range count {
		if r := w.Run(session); r.Exit != 0 || strings.Contains(r.Stdout, key) {
			t.Fatalf("session %d: %v", i, r)
		}
	}
	if left := rig.Leftovers(t, before); len(left) > 0 {
		t.Errorf("left after %d sessions: %v", count, left)
	}
	if packets := tap.Stop(); len(packets) > 0 {
		t.Errorf("%d packets on the tap, the first: %v", len(packets), packets[0])
	}
}
