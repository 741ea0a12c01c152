// SPDX-License-Identifier: Apache-2.0

package netns

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

var (
	// ErrNotNamespace is what Open answers for anything but a network namespace.
	ErrNotNamespace = errors.New("not a network namespace")
	// ErrHostNetwork is what Open answers for the namespace of PID 1 or of this
	// process: what a container in it did, the host would do.
	ErrHostNetwork = errors.New("the host's own network namespace")
)

// identity is a file whose inode number is that of a namespace's own /proc/net.
// Unlike /proc/PID/ns/net it can be asked for PID 1 without the right to trace it.
const identity = "/net/dev"

// Open returns a handle to the network namespace at path: a mount as runtimes
// make below /run, or /proc/PID/ns/net. The handle pins the namespace: it stays
// the same one when the path comes to name another.
//
// Open reads nothing and waits for nothing, whatever is at path. It follows no
// link and passes no folder that anyone but root could have put there, so that
// who wrote path alone says which namespace it is. Other errors than this
// package's are those of openat(2).
func Open(path string) (*Namespace, error) {
	file, err := openNamespace(path)
	if err != nil {
		// A path comes from outside and may be of any length.
		return nil, fmt.Errorf("open network namespace %.256q: %w", path, err)
	}
	ns := &Namespace{file: file}
	if err = ns.checkHost(); err == nil {
		err = ns.lookIPv6()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open network namespace %.256q: %w", path, err), ns.Close())
	}
	return ns, nil
}

func openNamespace(path string) (*os.File, error) {
	found, err := locate(path)
	if err != nil {
		return nil, err
	}
	defer unix.Close(found)
	var fs unix.Statfs_t
	if err := unix.Fstatfs(found, &fs); err != nil {
		return nil, err
	}
	if fs.Type != unix.NSFS_MAGIC {
		return nil, ErrNotNamespace
	}
	// Now that it is known to be no FIFO and no device, it may be opened.
	file, err := os.Open("/proc/self/fd/" + strconv.Itoa(found))
	if err != nil {
		return nil, err
	}
	if err := checkNamespace(file); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

// checkNamespace accepts network namespaces that are not the host's.
func checkNamespace(file *os.File) error {
	kind, err := unix.IoctlRetInt(int(file.Fd()), unix.NS_GET_NSTYPE)
	if err != nil || kind != unix.CLONE_NEWNET {
		return ErrNotNamespace
	}
	return nil
}

// checkHost refuses the namespaces of this process and of PID 1, which differ
// when it runs in one of its own.
func (n *Namespace) checkHost() error {
	var found unix.Stat_t
	if err := n.Do(func() error { return unix.Stat("/proc/thread-self"+identity, &found) }); err != nil {
		return err
	}
	for _, process := range []string{"/proc/self", "/proc/thread-self", "/proc/1"} {
		var ours unix.Stat_t
		if err := unix.Stat(process+identity, &ours); err != nil {
			return fmt.Errorf("look at namespace of %s: %w", process, err)
		}
		if ours.Ino == found.Ino {
			return ErrHostNetwork
		}
	}
	return nil
}

// lookIPv6 notes whether lo has IPv6, which runtimes switch off where their
// network has none.
func (n *Namespace) lookIPv6() error {
	return n.Do(func() error {
		value, err := os.ReadFile("/proc/sys/net/ipv6/conf/lo/disable_ipv6")
		if errors.Is(err, os.ErrNotExist) {
			return nil // ipv6.disable=1, or built without
		}
		if err != nil {
			return fmt.Errorf("look for IPv6: %w", err)
		}
		n.ipv6.Store(string(value) == "0\n")
		return nil
	})
}
