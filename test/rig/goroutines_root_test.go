// SPDX-License-Identifier: Apache-2.0

//go:build root

package rig

import (
	"bufio"
	"fmt"
	"os/exec"
	"path/filepath"
	"testing"
)

func TestGoroutinesAreThoseThatLive(t *testing.T) {
	program := filepath.Join(t.TempDir(), "goroutines")
	if err := GoBuild(program, "./test/rig/testdata/goroutines"); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { stdin.Close(); cmd.Wait() }()
	answers := bufio.NewScanner(stdout)
	say := func(line string) {
		fmt.Fprintln(stdin, line)
		if !answers.Scan() {
			t.Fatalf("no answer to %q", line)
		}
	}
	say("0")
	say("")
	before := Goroutines(t, cmd.Process.Pid)
	say("50")
	if n := Goroutines(t, cmd.Process.Pid); n != before+50 {
		t.Errorf("%d, and %d before the 50", n, before)
	}
	say("")
	for Goroutines(t, cmd.Process.Pid) > before { // a wrong count is this test's timeout
	}
}
