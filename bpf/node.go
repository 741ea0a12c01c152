// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// What a node's directory holds. Names in a bpffs may not contain dots.
//
//	links/HOOK                    one link for each hook
//	guards/COOKIE-IFINDEX-SIDE    one link for each side of a guarded device
//	maps-LAYOUT/NAME              the maps, of which programs of the same layout go on
//	making/                       maps that are not whole yet
const (
	linksDir   = "links"
	guardsDir  = "guards"
	mapsPrefix = "maps-"
	makingDir  = "making"
)

// ErrNodeBusy is returned by [OpenNode] while another process has the directory open.
var ErrNodeBusy = errors.New("another process holds the node's programs")

// ErrNodeForeign is returned by [OpenNode] for a directory in which others than root could put or remove names.
var ErrNodeForeign = errors.New("the directory is not root's alone")

// node is what an [Object] has beyond its own life.
type node struct {
	dir  string
	lock *os.File
}

// MountBPF mounts a bpffs at dir unless one is mounted there.
func MountBPF(dir string) error {
	if err := checkBPFFS(dir); err == nil {
		return nil
	}
	flags := uintptr(unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC)
	if err := unix.Mount("bpf", dir, "bpf", flags, "mode=0700"); err != nil {
		return fmt.Errorf("mount bpf file system: %s: %w", dir, err)
	}
	return nil
}

func checkBPFFS(dir string) error {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return fmt.Errorf("look at file system of %s: %w", dir, err)
	}
	if uint32(fs.Type) != unix.BPF_FS_MAGIC {
		return fmt.Errorf("%s is not in a bpf file system", dir)
	}
	return nil
}

// OpenNode loads the object that all sessions of a node share ([Options.Shared]), attaches it to the cgroup, the root of
// cgroup v2, and pins everything in dir, a directory of a bpffs, which it makes. What a process before left there goes
// on: its sessions are known, its guards stand, and its programs are replaced one by one, each in one step, so that
// there is no moment without a hook. Where the maps of before have another layout, each session of before is refused
// everything until [Object.SetSession] gives it its rules again.
//
// There is no legacy object for nodes: below 6.1 the error is [ErrNotSupported]. One process at a time has a node:
// [ErrNodeBusy]. The end of the process, by Close or otherwise, changes nothing: only [Object.RemoveNode] does.
func OpenNode(dir string, cgroup *os.File, sessions uint32) (*Object, error) {
	n, err := lockNode(dir)
	if err != nil {
		return nil, fmt.Errorf("open node: %w", err)
	}
	o := &Object{prefixes: map[uint64][]redirectPrefix{}, node: n}
	if err := o.open(cgroup, sessions); err != nil {
		return nil, errors.Join(fmt.Errorf("open node: %w", err), o.Close())
	}
	return o, nil
}

// lockNode makes the directory and holds it as long as the file is open. The lock goes with the process.
func lockNode(dir string) (*node, error) {
	if err := checkBPFFS(filepath.Dir(dir)); err != nil {
		return nil, err
	}
	lock, err := openNodeDir(dir)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		lock.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = ErrNodeBusy
		}
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	return &node{dir: dir, lock: lock}, nil
}

// openNodeDir makes the directory, or opens it where root made it. A bpffs that is mounted without a mode lets everybody
// make directories (01777 in kernel/bpf/inode.c), and whose the directory is could take the hooks away.
func openNodeDir(dir string) (*os.File, error) {
	if err := makeDir(dir); err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(dir, unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, fmt.Errorf("open directory: %w", err)
	}
	var stat unix.Stat_t
	if err = unix.Fstat(int(lock.Fd()), &stat); err == nil && (stat.Uid != 0 || stat.Mode&0o022 != 0) {
		err = ErrNodeForeign
	}
	for _, name := range []string{linksDir, guardsDir} {
		if err == nil {
			err = makeDir(filepath.Join(dir, name))
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open directory %s: %w", dir, err), lock.Close())
	}
	return lock, nil
}

func makeDir(path string) error {
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("make directory: %w", err)
	}
	return nil
}

// unlock does not leave it to the close: a child that is about to execute may share the descriptor a moment longer.
func (n *node) unlock() error {
	return errors.Join(unix.Flock(int(n.lock.Fd()), unix.LOCK_UN), n.lock.Close())
}

// open is the order: maps with every session of before in them, then programs, then the hooks, one after the other.
func (o *Object) open(cgroup *os.File, sessions uint32) error {
	if err := check(fullFeatures); err != nil {
		return err
	}
	spec, err := o.spec(Options{Shared: true, Sessions: sessions})
	if err != nil {
		return err
	}
	layout, err := layoutOf(spec)
	if err != nil {
		return err
	}
	pinned, err := o.node.maps(spec, layout)
	if err != nil {
		return err
	}
	defer pinned.close()
	if err := spec.LoadAndAssign(&o.objects, &ebpf.CollectionOptions{MapReplacements: pinned}); err != nil {
		return fmt.Errorf("load redirect: %w", err)
	}
	if err := o.recover(layout); err != nil {
		return err
	}
	for _, hook := range o.hooks() {
		if err := o.hang(hook, cgroup); err != nil {
			return err
		}
	}
	if err := o.loadFence(sessions); err != nil {
		return err
	}
	return o.node.forgetLayouts(layout)
}

// hang puts a hook's program in the place of the one before, or at the cgroup if there is none.
func (o *Object) hang(hook hook, cgroup *os.File) error {
	path := filepath.Join(o.node.dir, linksDir, hook.name)
	l, err := link.LoadPinnedLink(path, nil)
	if errors.Is(err, os.ErrNotExist) {
		return o.hangFirst(hook, cgroup, path)
	}
	if err != nil {
		return fmt.Errorf("open link %s: %w", hook.name, err)
	}
	o.links = append(o.links, l)
	if err := sameCgroup(l, cgroup); err != nil {
		return fmt.Errorf("take over %s: %w", hook.name, err)
	}
	if err := l.Update(hook.program); err != nil {
		return fmt.Errorf("replace program of %s: %w", hook.name, err)
	}
	return nil
}

func (o *Object) hangFirst(hook hook, cgroup *os.File, path string) error {
	l, err := attachHook(hook, cgroup)
	if err != nil {
		return err
	}
	o.links = append(o.links, l)
	if err := l.Pin(path); err != nil {
		return fmt.Errorf("pin link %s: %w", hook.name, err)
	}
	return nil
}

// sameCgroup holds that the link is where it is wanted. A cgroup's id is the number of its directory.
func sameCgroup(l link.Link, cgroup *os.File) error {
	info, err := l.Info()
	if err != nil {
		return err
	}
	var stat unix.Stat_t
	if err := unix.Fstat(int(cgroup.Fd()), &stat); err != nil {
		return err
	}
	if at := info.Cgroup(); at == nil || at.CgroupId != stat.Ino {
		return fmt.Errorf("it is attached elsewhere than at %s", cgroup.Name())
	}
	return nil
}

// Sessions returns the cookies of all sessions, those of a process before included.
func (o *Object) Sessions() ([]uint64, error) {
	cookies, err := keysOf(o.objects.Sessions)
	if err != nil {
		return nil, fmt.Errorf("list sessions: %w", err)
	}
	return cookies, nil
}

// keysOf lists the keys of a map that is keyed by cookie. When a key is deleted meanwhile the kernel begins anew, hence
// the set.
func keysOf(m *ebpf.Map) ([]uint64, error) {
	keys := map[uint64]bool{}
	var key uint64
	for last := any(nil); ; last = key {
		err := m.NextKey(last, &key)
		if errors.Is(err, ebpf.ErrKeyNotExist) {
			return slices.Collect(maps.Keys(keys)), nil
		}
		if err != nil {
			return nil, fmt.Errorf("read keys of %s: %w", m, err)
		}
		keys[key] = true
	}
}

// RemoveNode detaches and unloads everything, pins included, and closes. Sessions that are left become strangers: it is
// for a node that has none.
func (o *Object) RemoveNode() error {
	if o.node == nil {
		return errors.New("remove node: the object is no node's")
	}
	err := errors.Join(o.Detach(), os.RemoveAll(o.node.dir), o.Close())
	if err != nil {
		return fmt.Errorf("remove node: %w", err)
	}
	return nil
}
