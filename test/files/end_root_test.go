// SPDX-License-Identifier: Apache-2.0

//go:build root

package files

import (
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/phantom-ns/phantom-ns/test/rig"
)

// attended runs a session whose stderr is a terminal and returns what the
// person there reads, line by line.
func attended(t *testing.T, w *rig.World, s rig.Session) []string {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer master.Close()
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	slave, _, errno := unix.Syscall(unix.SYS_IOCTL, master.Fd(), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY)
	if errno != 0 {
		t.Fatal(errno)
	}
	terminal := os.NewFile(slave, "terminal")
	read := make(chan string)
	go func() {
		text, _ := io.ReadAll(master) // ends with EIO when the last has closed the other side
		read <- string(text)
	}()
	s.Stderr = terminal
	r := w.Run(s)
	terminal.Close()
	text := <-read
	if r.Exit != 0 {
		t.Fatalf("%v\n%s", r, text)
	}
	var lines []string
	for line := range strings.Lines(strings.ReplaceAll(text, "\r\n", "\n")) {
		if line, ours := strings.CutPrefix(strings.TrimSpace(line), "phantom-ns: "); ours {
			lines = append(lines, line)
		}
	}
	return lines
}

// TestSummaryNamesRefusalsAndFiles: at the end of a session a person reads what
// was refused, what to do about it, and which files to look at; a script reads
// nothing.
func TestSummaryNamesRefusalsAndFiles(t *testing.T) {
	w := rig.New(t)
	upstream := rig.NewUpstream(t, w.Listen)
	upstream.Serve("docs.test", upstream.Anthropic("x"))
	w.Give(rig.Work+"/.git/config", []byte("[core]\n\tbare = false\n"), 0o644)
	w.Give(rig.Work+"/.git/hooks/pre-commit", []byte("#!/bin/sh\n"), 0o755)
	if err := w.Do(func() error { return os.Chown(rig.Work+"/.git", rig.UID, rig.GID) }); err != nil {
		t.Fatal(err)
	}
	s := rig.Session{
		Policy: "version: 1\n" + upstream.Hosts(), Allow: []string{"docs.test"},
		Args: []string{"sh", "-c", `curl -s https://docs.test/ >/dev/null; curl -s https://evil.test/x; curl -s -X POST https://docs.test/y >/dev/null
			printf "[core]\n\tfsmonitor = /tmp/x\n" >> .git/config; echo 'use nix' > .envrc; echo x > Makefile
			(echo x > .git/hooks/post-merge) 2>/dev/null || echo protected`},
	}
	lines := attended(t, w, s)
	want := []string{
		"2 requests, 2 refused",
		"refused evil.test: a name was asked for that no rule could allow (name_not_allowed); --allow evil.test lets the session read there",
		"refused as well: docs.test (1)",
		"changed by the agent, and run by your own tools without asking:",
		`  ".envrc", ".git/config"`,
	}
	if fmt.Sprint(lines) != fmt.Sprint(want) {
		t.Errorf("read %q\nwant %q", lines, want)
	}
	if r := w.Run(s); r.Stderr != "" || !strings.Contains(r.Stdout, "protected") {
		t.Errorf("a script read %v", r)
	}
}

func TestSummaryOfNothingIsNothing(t *testing.T) {
	if lines := attended(t, rig.New(t), rig.Session{Flags: []string{"--allow", "docs.test"}, Args: []string{"true"}}); len(lines) != 0 {
		t.Errorf("read %q", lines)
	}
}
