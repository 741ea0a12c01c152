// SPDX-License-Identifier: Apache-2.0

// Command attempt is a hostile agent: it tries ways out of a session and says
// what became of each.
//
//	attempt all FACTS [NAME]...  every way, or these
//	attempt daemon FACTS         every way, from a process that outlived its parents
//	attempt root FACTS           every way, as root of a user namespace made inside
//	attempt one NAME             one way, FACTS in the environment
//	attempt linger               a daemon that holds standard output open for ever
//	attempt serve                servers of a session, for another one to reach
//
// FACTS is what a well-informed agent knows of the host: key=value, separated
// by spaces. Each way is a process of its own whose name is the way's, because
// the kernel's records carry that name, and prints one line within a second
// (times the fact "pace"): the steps it took, each with the errno it met.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// limit is what one way may take.
func limit() time.Duration { return pace() * 900 * time.Millisecond }

// patience is what a way waits for an answer that may never come.
func patience() time.Duration { return pace() * 400 * time.Millisecond }

// pace is the fact of that name: how many times slower than usual this machine
// is. 1 when it is not among the facts.
func pace() time.Duration {
	n, err := strconv.Atoi(known("pace"))
	if err != nil {
		return 1
	}
	return time.Duration(n)
}

// factsVariable carries FACTS to the process of a way.
const factsVariable = "ESCAPE_FACTS"

// way tries to get out and returns what happened, without spaces.
type way func() string

func main() {
	args := append(os.Args[1:], "", "")
	switch args[0] {
	case "all":
		all(args[1], os.Args[min(3, len(os.Args)):])
	case "daemon":
		daemon(args[1])
	case "root":
		root(args[1])
	case "one":
		one(args[1])
	case "linger":
		linger()
	case "serve":
		serve()
	default:
		fmt.Fprintf(os.Stderr, "attempt: unknown command %q\n", args[0])
		os.Exit(2)
	}
}

// ways lists everything this program can try.
func ways() map[string]way {
	every := make(map[string]way)
	for _, group := range []map[string]way{
		tcpWays, optionWays, udpWays, familyWays, doorWays, uringWays, dnsWays, tlsWays,
		unixWays, namespaceWays, processWays, privilegeWays, fileWays, nativeWays,
	} {
		for name, w := range group {
			if _, twice := every[name]; twice || len(name) > 15 { // TASK_COMM_LEN
				panic("attempt: bad name " + name)
			}
			every[name] = w
		}
	}
	return every
}

func one(name string) {
	// Who asks to be traced from another thread than the first is not gone until
	// the tracer waits for that thread by its own id, which no exec.Cmd does.
	runtime.LockOSThread()
	w := ways()[name]
	if w == nil {
		fmt.Println("unknown")
		return
	}
	time.AfterFunc(limit(), func() {
		fmt.Println("hung")
		os.Exit(1)
	})
	fmt.Println(w())
}

// all runs every way in turn, or only some.
func all(facts string, names []string) {
	os.Setenv(factsVariable, facts+" descriptors="+descriptors())
	if len(names) == 0 {
		names = slices.Sorted(maps.Keys(ways()))
	}
	dir, err := os.MkdirTemp("/tmp", "ways-")
	if err != nil {
		fail(err)
	}
	for _, name := range names {
		fmt.Printf("%s %s\n", name, run(dir, name))
	}
	os.RemoveAll(dir)
}

// run starts one way under its own name.
func run(dir, name string) string {
	link := filepath.Join(dir, name)
	if err := os.Symlink(executable(), link); err != nil {
		return word(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*limit())
	defer cancel()
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, link, "one", name)
	cmd.Stdout, cmd.WaitDelay = &out, limit()
	// The runtime's own signals would stop a thread that is traced, for good.
	cmd.Env = append(os.Environ(), "GODEBUG=asyncpreemptoff=1")
	err := cmd.Run()
	if state := cmd.ProcessState; state != nil && err != nil {
		if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
			return unix.SignalName(status.Signal())
		}
	}
	if ctx.Err() != nil {
		return "hung"
	}
	return strings.TrimSpace(out.String())
}

// executable is this program's file, whatever link it was started by.
func executable() string {
	path, err := os.Readlink("/proc/self/exe")
	if err != nil {
		fail(err)
	}
	return path
}

// fact is one of FACTS.
func fact(key string) string {
	value := known(key)
	if value == "" {
		fail(fmt.Errorf("fact %q is missing", key))
	}
	return value
}

// known is fact, or empty.
func known(key string) string {
	for _, field := range strings.Fields(os.Getenv(factsVariable)) {
		if k, v, _ := strings.Cut(field, "="); k == key {
			return v
		}
	}
	return ""
}

func fail(err error) {
	fmt.Println("attempt:" + strings.ReplaceAll(err.Error(), " ", "_"))
	os.Exit(1)
}

// steps is what happened, in order.
type steps []string

// did notes a step and reports whether it succeeded.
func (s *steps) did(what string, err error) bool {
	*s = append(*s, what+"="+word(err))
	return err == nil
}

func (s steps) String() string { return strings.Join(s, ",") }

// word is ok, the name of an errno, or an error's text in one word.
func word(err error) string {
	if err == nil {
		return "ok"
	}
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return unix.ErrnoName(errno)
	}
	return strings.ReplaceAll(err.Error(), " ", "_")
}

// call makes a system call.
func call(number uintptr, args ...uintptr) error {
	args = append(args, make([]uintptr, 6)...)
	_, _, errno := unix.Syscall6(number, args[0], args[1], args[2], args[3], args[4], args[5])
	if errno != 0 {
		return errno
	}
	return nil
}
