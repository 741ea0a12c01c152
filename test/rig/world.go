// SPDX-License-Identifier: Apache-2.0

package rig

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// The invoking user of a world's sessions. It exists in the world's own
// /etc/passwd alone. The uid lies in the one range that systemd's
// UIDS-GIDS.md leaves unused (60578–61183), so that no process of the machine
// can have it.
const (
	User = "phantom-test"
	UID  = 60990
	GID  = 60990
	Home = "/home/phantom-test"
	// Work is the working directory of a session unless it names another; the
	// user owns it.
	Work = Home + "/work"
)

// etc is where a world's own policies and credential files are. Root's.
const etc = "/etc/phantom-ns"

// World is a private view of the machine: own /etc, /home, /var/lib and
// /var/log (changes to them vanish), a home for [User], and a network of its
// own with a default route. Processes, cgroups and /run are the machine's.
//
// It is one thread: namespaces belong to threads, and a child inherits those
// of the thread that forks it.
type World struct {
	t     testing.TB
	calls chan func()
	// Tun keeps the outside link up for as long as it is open.
	tun *os.File
	// local are loopback ports of the world that servers of the test own. A
	// tap reads it while the test adds to it.
	mu    sync.Mutex
	local map[uint16]bool
}

// New makes a world and removes it when the test ends.
func New(t testing.TB) *World {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("rig: this test needs root")
	}
	w := &World{t: t, calls: make(chan func()), local: make(map[uint16]bool)}
	scratch := t.TempDir()
	entered := make(chan error)
	go w.live(scratch, entered)
	if err := <-entered; err != nil {
		t.Fatalf("rig: make world: %v", err)
	}
	t.Cleanup(w.end)
	return w
}

// T is the test that the world is for.
func (w *World) T() testing.TB { return w.t }

// live is the world's thread. It never unlocks: the runtime then ends the
// thread with the goroutine, and the namespaces go with it.
func (w *World) live(scratch string, entered chan<- error) {
	runtime.LockOSThread()
	if unix.Gettid() == unix.Getpid() {
		// The first thread cannot be ended and /proc/self shows its
		// namespaces; another one must be the world's.
		done := make(chan struct{})
		go func() { defer close(done); w.live(scratch, entered) }()
		<-done
		runtime.UnlockOSThread()
		return
	}
	err := w.enter(scratch)
	entered <- err
	if err != nil {
		return
	}
	for call := range w.calls {
		call()
	}
}

func (w *World) enter(scratch string) error {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("unshare: %w", err)
	}
	if err := Isolate(scratch); err != nil {
		return err
	}
	var err error
	w.tun, err = plugIn()
	return err
}

func (w *World) end() {
	close(w.calls)
	w.tun.Close()
}

// Do runs f inside the world: what f opens, listens on or starts is the
// world's. f must not end the test.
func (w *World) Do(f func() error) error {
	done := make(chan error, 1)
	w.calls <- func() { done <- f() }
	return <-done
}

// Listen is net.Listen inside the world. A [Tap] regards traffic with a
// loopback port opened here as the test's own.
func (w *World) Listen(network, address string) (net.Listener, error) {
	var l net.Listener
	err := w.Do(func() error {
		var err error
		l, err = net.Listen(network, address)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listen in world: %w", err)
	}
	if a, ok := l.Addr().(*net.TCPAddr); ok {
		w.mu.Lock()
		w.local[uint16(a.Port)] = true
		w.mu.Unlock()
	}
	return l, nil
}

// Write makes a file inside the world, with root as its owner, and its
// directories.
func (w *World) Write(path string, data []byte, mode os.FileMode) {
	w.t.Helper()
	w.must("write file", func() error { return writeFile(path, data, mode, 0, 0) })
}

// Give makes a file inside the world that belongs to the invoking user.
func (w *World) Give(path string, data []byte, mode os.FileMode) {
	w.t.Helper()
	w.must("give file", func() error { return writeFile(path, data, mode, UID, GID) })
}

// Bind shows the directory from of the machine, read-only, at path inside the
// world.
func (w *World) Bind(from, path string) {
	w.t.Helper()
	w.must("bind "+from, func() error {
		if err := os.MkdirAll(path, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(from, path, "", unix.MS_BIND, ""); err != nil {
			return err
		}
		return unix.Mount("", path, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, "")
	})
}

// Unbind takes what [World.Bind] showed at path away.
func (w *World) Unbind(path string) {
	w.t.Helper()
	w.must("unbind "+path, func() error { return unix.Unmount(path, unix.UMOUNT_NOFOLLOW) })
}

func writeFile(path string, data []byte, mode os.FileMode, uid, gid int) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(path, data, mode); err != nil {
		return err
	}
	if err := os.Chown(path, uid, gid); err != nil {
		return err
	}
	return os.Chmod(path, mode) // whatever the umask
}

// Read returns a file of the world; nil when there is none.
func (w *World) Read(path string) []byte {
	w.t.Helper()
	var data []byte
	w.must("read file", func() error {
		var err error
		data, err = os.ReadFile(path)
		if os.IsNotExist(err) {
			return nil
		}
		return err
	})
	return data
}

// Secret writes a real credential to a file that root alone may read and
// returns the policy's reference to it.
func (w *World) Secret(name, value string) string {
	w.t.Helper()
	path := filepath.Join(etc, name+".secret")
	w.Write(path, []byte(value+"\n"), 0o600)
	return "file:" + path
}

func (w *World) must(what string, f func() error) {
	w.t.Helper()
	if err := w.Do(f); err != nil {
		w.t.Fatalf("rig: %s: %v", what, err)
	}
}
