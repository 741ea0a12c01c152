// SPDX-License-Identifier: Apache-2.0

//go:build root

package node

import (
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/phantom-ns/phantom-ns/test/rig"
)

// manager plays the service manager: it listens on the node's socket, keeps
// what the daemon stores, and passes both to the next one, as systemd does.
type manager struct {
	*bed
	notify  *net.UnixConn
	socket  *os.File // listening
	daemon  *rig.Process
	told    chan string
	mu      sync.Mutex
	kept    map[string][]*os.File
	stopped sync.WaitGroup
	under   []string // a program that starts the daemon, and its arguments before that
}

// manage stops the rig's daemon and goes on under a manager.
func (b *bed) manage(under ...string) *manager {
	b.Helper()
	b.node.Stop()
	m := &manager{bed: b, under: under, told: make(chan string, 1024), kept: map[string][]*os.File{}}
	path := filepath.Join(b.node.Dir, "manager")
	var err error
	if m.notify, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"}); err != nil {
		b.Fatal(err)
	}
	os.Remove(b.node.Socket())
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: b.node.Socket(), Net: "unix"})
	if err != nil {
		b.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	if m.socket, err = l.File(); err != nil {
		b.Fatal(err)
	}
	l.Close()
	m.stopped.Go(m.listen)
	b.Cleanup(func() {
		m.notify.Close()
		m.stopped.Wait()
		for _, files := range m.kept {
			for _, f := range files {
				f.Close()
			}
		}
	})
	m.start()
	return m
}

// listen takes messages until the socket is closed.
func (m *manager) listen() {
	data, oob := make([]byte, 4096), make([]byte, unix.CmsgSpace(253*4))
	for {
		n, oobn, _, _, err := m.notify.ReadMsgUnix(data, oob)
		if err != nil {
			return
		}
		var files []*os.File
		messages, _ := unix.ParseSocketControlMessage(oob[:oobn])
		for i := range messages {
			fds, _ := unix.ParseUnixRights(&messages[i])
			for _, fd := range fds {
				unix.CloseOnExec(fd)
				files = append(files, os.NewFile(uintptr(fd), "kept"))
			}
		}
		m.obey(string(data[:n]), files)
	}
}

func (m *manager) obey(text string, files []*os.File) {
	said := map[string]string{}
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		said[name] = value
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	name := said["FDNAME"]
	switch {
	case said["FDSTORE"] == "1":
		m.kept[name] = append(m.kept[name], m.unknown(files)...)
	case said["FDSTOREREMOVE"] == "1":
		for _, f := range m.kept[name] {
			f.Close()
		}
		delete(m.kept, name)
	}
	if said["READY"] == "1" {
		m.told <- "ready"
	}
}

// unknown leaves out the descriptors that are kept already, as systemd does.
func (m *manager) unknown(files []*os.File) []*os.File {
	return slices.DeleteFunc(files, func(f *os.File) bool {
		for _, kept := range m.kept {
			if slices.ContainsFunc(kept, func(k *os.File) bool { return inode(k) == inode(f) }) {
				f.Close()
				return true
			}
		}
		return false
	})
}

func inode(f *os.File) uint64 {
	var st unix.Stat_t
	unix.Fstat(int(f.Fd()), &st)
	return st.Ino
}

// count is how many descriptors are kept, under how many names.
func (m *manager) count() (files, names int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, f := range m.kept {
		files += len(f)
	}
	return files, len(m.kept)
}

// start starts the daemon with everything that is kept, and waits until it is
// ready.
func (m *manager) start() {
	m.Helper()
	m.mu.Lock()
	files, names := []*os.File{m.socket}, []string{"phantom-ns.socket"}
	for _, name := range slices.Sorted(maps.Keys(m.kept)) {
		for _, f := range m.kept[name] {
			files, names = append(files, f), append(names, name)
		}
	}
	m.mu.Unlock()
	m.daemon = m.world.Program(rig.Session{
		Root: true, Dir: "/", Timeout: 5 * time.Minute, Files: files,
		Env: []string{
			"NOTIFY_SOCKET=" + m.notify.LocalAddr().String(),
			"LISTEN_FDS=" + fmt.Sprint(len(files)), "LISTEN_FDNAMES=" + strings.Join(names, ":"),
		},
	}, "sh", slices.Concat([]string{"-c", `LISTEN_PID=$$; export LISTEN_PID; exec "$@"`, "sh"}, m.under, []string{rig.Binary(m.T)}, m.node.Args())...)
	<-m.told
}

// end ends the daemon, and returns what it said.
func (m *manager) end(signal syscall.Signal) rig.Result {
	m.Helper()
	if err := m.daemon.Process.Signal(signal); err != nil {
		m.Fatal(err)
	}
	return m.daemon.Wait()
}

// O6: restarts and upgrades during traffic. Under a service manager that keeps
// the listeners, connections wait: none is refused, however the daemon ended.
// Nothing ever reaches the stranger.
func TestO6RestartsWithoutAGap(t *testing.T) {
	b := newBed(t)
	out := b.newStranger()
	m := b.manage()
	sealed, plugged := b.newPod("web"), b.newPod("other")
	plugged.plug("10.99.0.2")
	sealed.attach()
	plugged.attach()
	loops := []*traffic{sealed.startTraffic(), plugged.startTraffic()}
	for range 3 {
		for _, l := range loops {
			l.until("200 0")
		}
		// The manager has read by now what it was told of them.
		if files, names := m.count(); names != 2 || files < 6 {
			t.Errorf("%d descriptors are kept under %d names", files, names)
		}
		if r := m.end(syscall.SIGTERM); r.Exit != 0 {
			t.Errorf("it ended with %v", r)
		}
		m.start()
	}
	for range 3 {
		for _, l := range loops {
			l.until("200 0")
		}
		m.end(syscall.SIGKILL)
		m.start()
	}
	for _, l := range loops {
		l.until("200 0")
		l.stands()
		for _, line := range l.failures() {
			if strings.HasSuffix(line, " 7") { // CURLE_COULDNT_CONNECT
				t.Errorf("%s: a connection was refused", l.Container)
			}
		}
		l.end()
	}
	out.heardNothing("restarted")
	sealed.detach()
	plugged.detach()
	if files, names := m.count(); files != 0 || names != 0 {
		t.Errorf("%d descriptors are still kept under %d names", files, names)
	}
	m.end(syscall.SIGTERM)
}

// failures returns the lines that are not of a request that went well.
func (t *traffic) failures() (other []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, line := range t.all {
		if line != "200 0" {
			other = append(other, line)
		}
	}
	return other
}

// The unit takes nothing away that the daemon needs.
func TestTheUnitsRightsAreEnough(t *testing.T) {
	unit := readUnit(t, "phantom-ns.service")
	set := "-all"
	for _, name := range strings.Fields(unit["Service.CapabilityBoundingSet"][0]) {
		if name != "CAP_SYS_RESOURCE" || hasResource() {
			set += ",+" + strings.ToLower(strings.TrimPrefix(name, "CAP_"))
		}
	}
	b := newBed(t)
	b.newStranger()
	m := b.manage("setpriv", "--bounding-set="+set)
	sealed, plugged := b.newPod("web"), b.newPod("other")
	plugged.plug("10.99.0.2")
	for _, p := range []*pod{sealed, plugged} {
		p.attach()
		p.swaps()
		p.stands()
	}
	m.end(syscall.SIGTERM)
	m.start()
	for _, p := range []*pod{sealed, plugged} {
		p.swaps()
		p.detach()
	}
	if r := m.end(syscall.SIGTERM); r.Exit != 0 {
		t.Errorf("it ended with %v", r)
	}
}

// hasResource tells whether this machine's root has CAP_SYS_RESOURCE; without
// it setpriv cannot keep it.
func hasResource() bool {
	has, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, unix.CAP_SYS_RESOURCE, 0, 0, 0)
	return err == nil && has == 1
}
