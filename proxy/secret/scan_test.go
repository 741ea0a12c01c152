// SPDX-License-Identifier: Apache-2.0

package secret

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"unsafe"
)

// scanStage is this test binary as a process that obtains a credential and then
// looks for it in its own memory: argv = stage, and a reference or "reply" for
// a reply on stdin. It prints how many copies there are outside the Value.
const scanStage = "secret.test: scan"

func scanMain() {
	e, err := obtain(os.Args[1])
	if err == nil && len(os.Args) > 2 { // the proof that a copy is found
		kept = bytes.Clone(e.Value.Reveal())
	}
	var copies int
	if err == nil {
		copies, err = scan(e.Value.Reveal())
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(copies, "copies")
	os.Exit(0)
}

var kept []byte

func obtain(what string) (Entry, error) {
	if what == "reply" {
		return ReadReply(os.Stdin)
	}
	ref, err := ParseRef(what)
	if err != nil {
		return Entry{}, err
	}
	return fetch(context.Background(), ref, Env{UID: os.Getuid()}, ordinary)
}

// scan counts needle in what is mapped writable, except where needle itself is.
func scan(needle []byte) (copies int, err error) {
	own := uintptr(unsafe.Pointer(&needle[0]))
	maps, err := os.Open("/proc/self/maps")
	if err != nil {
		return 0, err
	}
	defer maps.Close()
	mem, err := os.Open("/proc/self/mem")
	if err != nil {
		return 0, err
	}
	defer mem.Close()
	window := make([]byte, 1<<20)
	defer clear(window)
	for lines := bufio.NewScanner(maps); lines.Scan(); {
		var from, to uintptr
		var mode string
		if n, _ := fmt.Sscanf(lines.Text(), "%x-%x %s", &from, &to, &mode); n != 3 || !strings.HasPrefix(mode, "rw") || from <= own && own < to {
			continue
		}
		// Windows overlap, so that a copy on an edge is seen, perhaps twice.
		for at := from; at < to; at += uintptr(len(window) - len(needle)) {
			part := window[:min(uintptr(len(window)), to-at)]
			n, _ := mem.ReadAt(part, int64(at)) // other values' memory is not readable
			copies += bytes.Count(part[:n], needle)
			clear(part)
		}
	}
	return copies, nil
}

func TestValuesDoNotPassThroughTheHeap(t *testing.T) {
	c := newCanary(t)
	path := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(path, append(c, '\n'), 0o600); err != nil {
		t.Fatal(err)
	}
	var reply bytes.Buffer
	if err := writeReply(&reply, Entry{Value: c.value(t)}, nil); err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) string {
		t.Helper()
		// A pipe, not a buffer of os/exec's: as the proxy has it.
		r, w := pipe(t)
		if _, err := io.Copy(w, bytes.NewReader(reply.Bytes())); err != nil {
			t.Fatal(err)
		}
		w.Close()
		cmd := exec.Command("/proc/self/exe")
		cmd.Args, cmd.Stdin = append([]string{scanStage}, args...), r
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return strings.TrimSpace(string(out))
	}
	for _, what := range []string{"reply", "file:" + path, "exec:/bin/cat " + path} {
		if got := run(what); got != "0 copies" {
			t.Errorf("%s: %s", what, got)
		}
	}
	if got := run("reply", "keep one"); got == "0 copies" {
		t.Error("a copy on the heap was not found")
	}
}
