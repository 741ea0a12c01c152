// SPDX-License-Identifier: Apache-2.0

//go:build root

package escape

import (
	"bufio"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/phantom-ns/phantom-ns/bpf"
	"github.com/phantom-ns/phantom-ns/netns/sandbox/fence"
	"github.com/phantom-ns/phantom-ns/proxy/audit"
	"github.com/phantom-ns/phantom-ns/test/rig"
)

// P5: what the mounts cannot close. A server of the host's binds a socket in the
// working directory while the agent runs. Where the kernel calls LSM programs the
// agent is refused, and the log says of which socket, but where Landlock refuses
// before them; where there is neither, the agent gets through, as THREATS.md says,
// and no record claims otherwise.
func TestP5SocketBoundLater(t *testing.T) {
	w := rig.New(t)
	later := filepath.Join(rig.Work, "later")
	stdin, answer := io.Pipe()
	said, stdout := io.Pipe()
	p := w.Start(rig.Session{
		Args:  []string{"sh", "-c", `echo begun; read line; curl -s --unix-socket "$0" http://socket/; echo " $?"`, later},
		Stdin: stdin, Stdout: stdout,
	})
	lines := bufio.NewReader(said)
	if line, err := lines.ReadString('\n'); line != "begun\n" {
		t.Fatalf("%q, %v\n%v", line, err, p.Wait())
	}
	l, err := w.Listen("unix", later)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Do(func() error { return os.Chmod(later, 0o777) }); err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(to http.ResponseWriter, _ *http.Request) { io.WriteString(to, "reached") })}
	go server.Serve(l)
	t.Cleanup(func() { server.Close() })
	io.WriteString(answer, "\n")
	got, err := lines.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	answer.Close() // or the rig waits for more
	go io.Copy(io.Discard, said)
	if r := p.Wait(); r.Exit != 0 {
		t.Fatal(r)
	}
	records := slices.DeleteFunc(w.Audit(), func(r audit.Record) bool { return r.Reason != audit.ReasonUnix })
	called, landlock := callsLSM(t), refusesSockets(t)
	if !called && !landlock {
		if got != "reached 0\n" || len(records) > 0 {
			t.Errorf("without LSM programs: %q, records %v", got, records)
		}
		return
	}
	if got != " 7\n" { // CURLE_COULDNT_CONNECT
		t.Errorf("the agent got %q", got)
	}
	if landlock {
		return // it comes before bpf in lsm=, as a rule, and tells nobody
	}
	if len(records) != 1 || records[0].Path != later || records[0].Comm != "curl" || records[0].Proto != "unix" ||
		records[0].Verdict != audit.Deny || records[0].PID == 0 {
		t.Errorf("records %+v", records)
	}
}

// refusesSockets asks whether Landlock knows of pathname sockets, as from 7.1 on
// (landlock(7)).
func refusesSockets(t *testing.T) bool {
	t.Helper()
	const knows = 9
	abi, err := fence.ABI()
	if err != nil {
		t.Fatal(err)
	}
	return abi >= knows
}

// callsLSM asks the kernel, past what sessions have found out, whether it loads
// LSM programs, and looks in its own list whether it calls them.
func callsLSM(t *testing.T) bool {
	t.Helper()
	object, err := bpf.Load(bpf.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer object.Close()
	const nobody = 1 // the programs are not attached
	peers, absent := bpf.LoadPeers(object, nobody, "")
	if absent == nil {
		defer peers.Close()
	}
	dir := t.TempDir()
	if err := unix.Mount("securityfs", dir, "securityfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(dir, unix.MNT_DETACH)
	list, err := os.ReadFile(filepath.Join(dir, "lsm"))
	if err != nil {
		t.Fatal(err)
	}
	calls := absent == nil && slices.Contains(strings.Split(strings.TrimSpace(string(list)), ","), "bpf")
	t.Logf("LSM programs are called: %t (%s) %v", calls, strings.TrimSpace(string(list)), absent)
	return calls
}
