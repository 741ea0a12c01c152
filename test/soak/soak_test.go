// SPDX-License-Identifier: Apache-2.0

//go:build soak

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

// TestO9SessionsLeaveNothing runs many sessions in a row, each with a
// credential and with refusals of every layer, and compares what the machine
// holds before and after. SOAK_SESSIONS says how many; 1,000 by default.
func TestO9SessionsLeaveNothing(t *testing.T) {
	count := 1000
	if text := os.Getenv("SOAK_SESSIONS"); text != "" {
		var err error
		if count, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
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
