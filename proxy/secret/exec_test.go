// SPDX-License-Identifier: Apache-2.0

package secret

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// shell is an exec: reference of a script, which holds no single quote.
func shell(script string) string { return "exec:/bin/sh -c '" + script + "'" }

func TestExecSource(t *testing.T) {
	c := newCanary(t)
	key := string(c)
	for name, p := range map[string]struct {
		script string
		want   error
	}{
		"key":                 {"echo " + key, nil},
		"no newline":          {"printf %s " + key, nil},
		"crlf":                {`printf "%s\r\n" ` + key, nil},
		"chatter on stderr":   {"echo " + key + "; echo done " + key + " >&2", nil},
		"nothing":             {":", ErrEmpty},
		"two lines":           {"echo " + key + "; echo " + key, ErrNewline},
		"short":               {"echo no", ErrShort},
		"10 MiB":              {"head -c 10485760 /dev/zero", ErrLong},
		"without end":         {"yes " + key, ErrLong},
		"waits for input":     {"read line; echo $line", ErrEmpty},
		"asks on the console": {"{ echo " + key + " >/dev/tty; } 2>/dev/null && echo " + key + "; true", ErrEmpty},
	} {
		t.Run(name, func(t *testing.T) {
			if strings.Contains(p.script, "'") || strings.Contains(p.script, `\`) && p.want != nil {
				t.Fatal("script needs other quotes")
			}
			e, err := fetchAs(t, ordinary, c, shell(p.script), Env{})
			if !errors.Is(err, p.want) {
				t.Fatalf("%v, want %v", err, p.want)
			}
			if p.want == nil {
				c.same(t, e.Value)
			}
		})
	}
}

func TestExecFailureShowsTheComplaintWithoutLongWords(t *testing.T) {
	c := newCanary(t)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "key"), c, 0o600); err != nil {
		t.Fatal(err)
	}
	// The key is in a file, so that the reference, which errors name, lacks it.
	script := fmt.Sprintf("cat %s/key; echo token $(cat %s/key) has expired >&2; exit 3", dir, dir)
	_, err := fetchAs(t, ordinary, c, shell(script), Env{})
	if err == nil || !strings.Contains(err.Error(), "exit status 3") || !strings.Contains(err.Error(), "token […] has expired") {
		t.Errorf("%v", err)
	}
	_, err = fetchAs(t, ordinary, c, shell("head -c 100000 /dev/zero | tr \"\\\\0\" \"a \" >&2; exit 1"), Env{})
	if err == nil || len(err.Error()) > 2*maxComplaint+200 {
		t.Errorf("%d bytes of error", len(fmt.Sprint(err)))
	}
	_, err = fetchAs(t, ordinary, c, "exec:/bin/false", Env{})
	if err == nil || !strings.HasSuffix(err.Error(), "exit status 1") {
		t.Errorf("%v", err)
	}
}

func TestExecProgramSeesNothingOfOurs(t *testing.T) {
	t.Setenv("LD_PRELOAD_OF_A_TEST", "1")
	if _, err := unix.Dup(0); err != nil { // left open, and open across exec
		t.Fatal(err)
	}
	if err := closeOnExec(); err != nil {
		t.Fatal(err)
	}
	env := Env{UID: 4242, User: "me", Home: "/home/me"}
	output := func(argv ...string) string {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), DefaultTimeout)
		defer cancel()
		v, err := run(ctx, argv, env)
		if err != nil {
			t.Fatal(err)
		}
		defer v.Wipe()
		return string(v.Reveal())
	}
	want := "PATH=" + execPath + "\nHOME=/home/me\nUSER=me\nLANG=C.UTF-8\nXDG_RUNTIME_DIR=/run/user/4242\nDBUS_SESSION_BUS_ADDRESS=unix:path=/run/user/4242/bus"
	if got := output("/usr/bin/env"); got != want {
		t.Errorf("environment:\n%s", got)
	}
	if got := output("/bin/ls", "/proc/self/fd"); got != "0\n1\n2\n3" { // 3 is ls's own
		t.Errorf("descriptors: %q", got)
	}
	if got := output("/usr/bin/readlink", "/proc/self/fd/0"); got != "/dev/null" {
		t.Errorf("stdin: %q", got)
	}
	if got := output("/usr/bin/readlink", "/proc/self/cwd"); got != "/" {
		t.Errorf("directory: %q", got)
	}
}

func TestExecDeadlineKillsTheWholeGroup(t *testing.T) {
	// An emulated machine may not get as far as the script's first word in the shortest time.
	for timeout := 300 * time.Millisecond; timeout < time.Minute; timeout *= 4 {
		if killedAfter(t, timeout) {
			return
		}
	}
	t.Error("the script was never up before the deadline")
}

// killedAfter says whether the script was up when the deadline came.
func killedAfter(t *testing.T, timeout time.Duration) bool {
	t.Helper()
	path := filepath.Join(t.TempDir(), "alive")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	alive, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer alive.Close()
	script := fmt.Sprintf("exec 9>%s; echo up >&9; sleep 1000 & sleep 1000", path)
	began := time.Now()
	_, err = fetchAs(t, ordinary, nil, shell(script), Env{Timeout: timeout})
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "no answer within "+timeout.String()) {
		t.Errorf("%v", err)
	}
	if took := time.Since(began); took > timeout+5*time.Second {
		t.Errorf("took %s", took)
	}
	// End of file comes when no process has the FIFO open for writing.
	alive.SetReadDeadline(time.Now().Add(10 * time.Second))
	text, err := io.ReadAll(alive)
	if err != nil || string(text) != "" && string(text) != "up\n" {
		t.Errorf("a process outlived the deadline: %q, %v", text, err)
	}
	return len(text) > 0
}

func TestExecLeftoverProcessIsKilled(t *testing.T) {
	c := newCanary(t)
	_, err := fetchAs(t, ordinary, c, shell("sleep 1000 & echo "+string(c)), Env{})
	if err == nil || !strings.Contains(err.Error(), "holds its output open") {
		t.Errorf("%v", err)
	}
}

func TestExecRefusesWhatOthersCanWrite(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "tool")
	if err := errors.Join(os.WriteFile(path, []byte("#!/bin/sh\necho 0123456789abcdef\n"), 0o777), os.Chmod(path, 0o777)); err != nil {
		t.Fatal(err)
	}
	if _, err := fetchAs(t, ordinary, nil, "exec:"+path, Env{}); !errors.Is(err, ErrUnsafe) {
		t.Errorf("%v", err)
	}
	if _, err := fetchAs(t, ordinary, nil, "exec:/usr/bin", Env{}); !errors.Is(err, os.ErrPermission) {
		t.Errorf("a directory: %v", err)
	}
}

func TestNothingOfTheUsersRunsAsRoot(t *testing.T) {
	for _, text := range []string{"exec:/bin/echo 0123456789abcdef", "secret-service:a/b"} {
		if _, err := fetchAs(t, 0, nil, text, Env{}); !errors.Is(err, ErrRoot) {
			t.Errorf("%s: %v", text, err)
		}
	}
}
