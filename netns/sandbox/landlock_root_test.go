// SPDX-License-Identifier: Apache-2.0

//go:build root

package sandbox

import (
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/phantom-ns/phantom-ns/netns/sandbox/fence"
)

// outsideFIFO makes a FIFO that anybody may write to, in a folder that is
// read-only for the agent, and opens it.
func outsideFIFO(t *testing.T) (name string, fd int) {
	t.Helper()
	name = folder(t, "fifo") + "/fifo"
	must(t, errors.Join(unix.Mkfifo(name, 0o666), os.Chmod(name, 0o666)))
	fd, err := unix.Open(name, unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	must(t, err)
	t.Cleanup(func() { must(t, unix.Close(fd)) })
	return name, fd
}

// P5: a read-only mount does not keep anybody from writing to a FIFO. Landlock
// does; without it what docs/THREATS.md says is true.
func TestP5FIFOOutside(t *testing.T) {
	name, fd := outsideFIFO(t)
	newRig(t).script("", "echo escaped 2>/dev/null > "+name+" || true")
	want := ""
	abi, err := fence.ABI()
	must(t, err)
	if abi < 2 {
		want = "escaped\n"
	}
	buffer := make([]byte, 64)
	n, err := unix.Read(fd, buffer)
	if got := string(buffer[:max(n, 0)]); got != want {
		t.Errorf("arrived outside: %q, %v", got, err)
	}
}

// P5: with nested sandboxes permitted there are no rules for files, which would
// forbid every mount; the FIFO is open then, and the manual says so.
func TestP5FIFOWithNestedSandboxes(t *testing.T) {
	name, fd := outsideFIFO(t)
	r := newRig(t)
	r.config.Spec.Permit = []string{PermitNestedSandbox}
	r.script("", "echo escaped > "+name)
	if n, err := unix.Read(fd, make([]byte, 64)); n != len("escaped\n") {
		t.Errorf("arrived outside: %d, %v", n, err)
	}
}

// What the rules must leave alone: moving and linking between folders, the
// session's own places, FIFOs inside, children's signals.
func TestRulesLeaveWorkAlone(t *testing.T) {
	r := newRig(t)
	r.script("moved\nmoved\nmoved\nin 2\n0\n143\n", `
for dir in . ~ /tmp; do
	mkdir $dir/a $dir/b && echo moved > $dir/a/file && mv $dir/a/file $dir/b/file && ln $dir/b/file $dir/a/link && cat $dir/a/link
done
mkfifo fifo; echo in > fifo & read -r line < fifo; wait; : > a/x; echo "$line" $(ls a | wc -l)`+"\n"+`
echo 0 > /proc/self/oom_score_adj; cat /proc/self/oom_score_adj
sleep 100 & kill $!; { wait $!; echo $?; } 2>/dev/null`)
}
