// SPDX-License-Identifier: Apache-2.0

//go:build root

package bpf

import (
	"bufio"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// hasNodes says whether this kernel has nodes. One without must say so.
func hasNodes(t testing.TB) bool {
	t.Helper()
	missing := check(fullFeatures)
	if !errors.Is(missing, ErrNotSupported) {
		require(t, missing)
		return true
	}
	if _, err := OpenNode(nodeDir(t), newCgroup(t), 16); !errors.Is(err, ErrNotSupported) {
		t.Errorf("open node: %v, want %v", err, missing)
	}
	return false
}

// nodeDir mounts a bpffs of the test's own and names a directory in it.
func nodeDir(t testing.TB) string {
	t.Helper()
	mount := t.TempDir()
	require(t, MountBPF(mount))
	require(t, MountBPF(mount))
	t.Cleanup(func() { require(t, unix.Unmount(mount, 0)) })
	return filepath.Join(mount, "phantom-ns")
}

// newNodeRig is a rig without an object.
func newNodeRig(t testing.TB) (r *rig, dir string) {
	t.Helper()
	dir = nodeDir(t)
	return newBareRig(t), dir
}

// openNode opens the node for the rig's cgroup until the test ends or the rig closes it.
func (r *rig) openNode(dir string) {
	r.t.Helper()
	object, err := OpenNode(dir, r.cgroup, 16)
	require(r.t, err)
	r.object = object
}

// closeNode ends what a process holds of the node.
func (r *rig) closeNode() {
	r.t.Helper()
	require(r.t, r.object.Close())
}

// holdNode opens a node in a process of its own, with a session for the cookie, says so and waits to be killed.
func holdNode() string {
	cgroup, err := os.Open(os.Args[2])
	if err != nil {
		return err.Error()
	}
	object, err := OpenNode(os.Args[1], cgroup, 16)
	if err != nil {
		return err.Error()
	}
	cookie, err := strconv.ParseUint(os.Args[3], 10, 64)
	if err != nil {
		return err.Error()
	}
	if err := object.AddSession(cookie, syntheticSession()); err != nil {
		return err.Error()
	}
	os.Stdout.WriteString("ready\n")
	os.Stdin.Read(make([]byte, 1)) // never answered
	return "not killed"
}

// killedHolder starts holdNode and kills it when it is ready.
func (r *rig) killedHolder(dir string) {
	r.t.Helper()
	cmd := exec.Command("/proc/self/exe", dir, r.cgroup.Name(), strconv.FormatUint(r.cookie, 10))
	cmd.Args[0] = "bpf: hold node"
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	require(r.t, err)
	defer stdin.Close()
	stdout, err := cmd.StdoutPipe()
	require(r.t, err)
	require(r.t, cmd.Start())
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if line != "ready\n" {
		r.t.Errorf("the holder said %q: %v", line, err)
	}
	require(r.t, cmd.Process.Kill())
	cmd.Wait()
}

// O5: the process that opened the node is killed. Its sessions stay refused, strangers pass, and the next process knows
// the sessions, changes and removes them.
func TestNodeOutlivesItsProcess(t *testing.T) {
	if !hasNodes(t) {
		return
	}
	r, dir := newNodeRig(t)
	stranger := newBareRig(t)
	stranger.cgroup = r.cgroup
	r.killedHolder(dir)
	expect := func(session string) {
		t.Helper()
		if got, _ := r.act("bpf: connect"); got != session {
			t.Errorf("session: %s, want %s", got, session)
		}
		if got, _ := stranger.act("bpf: connect"); got != "ENETUNREACH" { // the kernel's own: no route
			t.Errorf("stranger: %s", got)
		}
	}
	expect("ECONNREFUSED")
	r.openNode(dir)
	expect("ECONNREFUSED")
	if _, err := OpenNode(dir, r.cgroup, 16); !errors.Is(err, ErrNodeBusy) {
		t.Errorf("second opener: %v", err)
	}
	known, err := r.object.Sessions()
	require(t, err)
	if !slices.Equal(known, []uint64{r.cookie}) {
		t.Errorf("sessions %d, want %d", known, r.cookie)
	}
	if err := r.object.AddSession(r.cookie, syntheticSession()); !errors.Is(err, ErrSessionExists) {
		t.Errorf("session of before: %v", err)
	}
	counts, err := r.object.Counts(r.cookie)
	require(t, err)
	if counts[ReasonUndeclared] != 2 {
		t.Errorf("counts %v, want those of before too", counts)
	}
	require(t, r.object.RemoveSession(r.cookie))
	expect("ENETUNREACH")
	r.emptyMaps()
	require(t, r.object.RemoveNode())
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("after removal: %v", err)
	}
	if n := r.attachedHooks(); n != 0 {
		t.Errorf("%d hooks after removal", n)
	}
}

func (r *rig) emptyMaps() {
	r.t.Helper()
	maps := r.object.objects.redirectMaps
	for _, m := range append(r.object.perSession(), maps.Sessions, maps.Prefixes) {
		key := make([]byte, m.KeySize())
		err := m.NextKey(nil, key)
		if err == nil && slices.Equal(key, make([]byte, 8)) { // the ledger of strangers
			err = m.NextKey(key, key)
		}
		if !errors.Is(err, ebpf.ErrKeyNotExist) {
			r.t.Errorf("%s is not empty: %x, %v", m, key, err)
		}
	}
}

// attachedHooks counts the programs at the cgroup when there is no object to ask.
func (r *rig) attachedHooks() int {
	r.object = &Object{}
	return r.attached()
}

// SetSession replaces rules: what both have goes on, what only the old ones had is gone.
func TestSetSession(t *testing.T) {
	if !hasNodes(t) {
		return
	}
	r, dir := newNodeRig(t)
	r.openNode(dir)
	defer func() { require(t, r.object.RemoveNode()) }()
	session := syntheticSession()
	require(t, r.object.SetSession(r.cookie, session)) // adds
	if got, _ := r.act("bpf: unanswered"); got != "ECONNREFUSED" {
		t.Errorf("connect: %s", got)
	}
	session.Synthetic4 = session.Synthetic4.Masked()
	session.Declared = append(session.Declared, mustPrefix("203.0.113.0/24"))
	require(t, r.object.SetSession(r.cookie, session))
	session.Declared = nil
	session.Synthetic4 = mustPrefix("198.18.0.0/24")
	require(t, r.object.SetSession(r.cookie, session))
	if got, err := count(r.object.objects.Prefixes); err != nil || got != 1 {
		t.Errorf("%d prefixes, want 1: %v", got, err)
	}
	counts, err := r.object.Counts(r.cookie)
	require(t, err)
	if counts[ReasonRedirect] != 200 {
		t.Errorf("counts %v: they are not to be lost", counts)
	}
}

func count(m *ebpf.Map) (n int, err error) {
	key, value := make([]byte, m.KeySize()), make([]byte, m.ValueSize())
	entries := m.Iterate()
	for entries.Next(&key, &value) {
		n++
	}
	return n, entries.Err()
}

// O6: the node is taken over again and again, with maps of the same layout and of others, while a client connects without
// a pause. No connect of its gets further than the hooks: the host has no route, so one that nobody refused says so.
func TestTakeOverLeavesNoGap(t *testing.T) {
	if !hasNodes(t) {
		return
	}
	r, dir := newNodeRig(t)
	r.openNode(dir)
	require(t, r.object.AddSession(r.cookie, syntheticSession()))
	stop, err := os.CreateTemp(t.TempDir(), "")
	require(t, err)
	done := make(chan string)
	go func() {
		out, _ := r.act("bpf: connect until", stop.Name())
		done <- out
	}()
	for i := range 6 {
		r.closeNode()
		sessions := uint32(16)
		if i%2 == 0 {
			sessions = 17 // another layout
		}
		object, err := OpenNode(dir, r.cgroup, sessions)
		require(t, err)
		r.object = object
		known, err := object.Sessions()
		require(t, err)
		if !slices.Equal(known, []uint64{r.cookie}) {
			t.Errorf("sessions %d", known)
		}
		require(t, object.SetSession(r.cookie, syntheticSession()))
	}
	require(t, os.Remove(stop.Name()))
	if out := <-done; out != "ok" {
		t.Errorf("client: %s", out)
	}
	layouts, err := filepath.Glob(filepath.Join(dir, mapsPrefix+"*"))
	require(t, err)
	if len(layouts) != 1 {
		t.Errorf("layouts %q", layouts)
	}
	require(t, r.object.RemoveNode())
}

// connectUntil connects to what is refused for as long as a file exists.
func connectUntil() string {
	for n := 0; ; n++ {
		if err := connectTo(undeclared, 1); !errors.Is(err, unix.ECONNREFUSED) {
			return errnoName(err)
		}
		if _, err := os.Stat(os.Args[1]); err != nil && n > 0 {
			return "ok"
		}
	}
}

// What a process had stored only in part when it was killed is swept.
func TestHalvesAreSwept(t *testing.T) {
	if !hasNodes(t) {
		return
	}
	r, dir := newNodeRig(t)
	r.openNode(dir)
	require(t, r.object.AddSession(r.cookie, syntheticSession()))
	require(t, forget(r.object.objects.Sessions, r.cookie)) // as if killed at this step of RemoveSession
	require(t, os.Mkdir(filepath.Join(dir, makingDir), 0o700))
	r.closeNode()
	r.openNode(dir)
	r.emptyMaps()
	require(t, r.object.AddSession(r.cookie, syntheticSession()))
	require(t, r.object.RemoveNode())
}

func TestNodeElsewhereIsRefused(t *testing.T) {
	if !hasNodes(t) {
		return
	}
	if _, err := OpenNode(filepath.Join(t.TempDir(), "node"), newCgroup(t), 16); err == nil {
		t.Error("opened outside a bpf file system")
	}
	r, dir := newNodeRig(t)
	r.openNode(dir)
	r.closeNode()
	if _, err := OpenNode(dir, newCgroup(t), 16); err == nil {
		t.Error("took over hooks of another cgroup")
	}
	r.openNode(dir)
	require(t, r.object.RemoveNode())
}

// P14: whoever is faster than the node where everybody may make directories would have its pins, and could take its
// hooks away.
func TestP14NodeInADirectoryOfOthersIsRefused(t *testing.T) {
	if !hasNodes(t) {
		return
	}
	cgroup := newCgroup(t)
	for name, plant := range map[string]func(dir string) error{
		"another's":   func(dir string) error { return errors.Join(os.Mkdir(dir, 0o700), os.Chown(dir, 65534, 65534)) },
		"open to all": func(dir string) error { return errors.Join(os.Mkdir(dir, 0o700), os.Chmod(dir, 0o777)) },
		"a link": func(dir string) error {
			return errors.Join(os.Mkdir(dir+"-own", 0o700), os.Symlink(dir+"-own", dir))
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := nodeDir(t)
			require(t, plant(dir))
			object, err := OpenNode(dir, cgroup, 16)
			if err == nil {
				t.Error("opened")
				require(t, object.RemoveNode())
			} else if name != "a link" && !errors.Is(err, ErrNodeForeign) {
				t.Errorf("refused with %v", err)
			}
		})
	}
}
