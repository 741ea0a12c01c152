// SPDX-License-Identifier: Apache-2.0

package enforcer

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/phantom-ns/phantom-ns/netns/sandbox/fence"
)

// proxyReads are the folders that the proxy reads from when it serves: names
// and how they resolve, the roots of TLS, time zones. Folders and not files, as
// programs that write these files replace them. What does not exist is left
// out.
var proxyReads = []string{
	"/etc", "/usr/share/zoneinfo", "/nix/store",
	"/usr/share/ca-certificates", "/usr/local/share/ca-certificates", "/usr/share/pki", "/var/lib/ca-certificates",
}

// resolverFiles are read when a name is resolved; where they are links, as
// /etc/resolv.conf is on systemd's hosts, the folder of what they lead to is
// read too.
var resolverFiles = []string{"/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf"}

// confine takes from the proxy, before it holds a credential, what it does not
// need to serve: capabilities, most system calls, and the host's files. What
// was taken is read back, of every thread.
//
// The order matters: the filter lets nothing pass that makes rules for files,
// and with them in force /proc cannot be read.
func confine() error {
	rules, err := proxyRules()
	if err != nil && !errors.Is(err, fence.ErrNoLandlock) {
		return err
	}
	if rules != nil {
		defer rules.Close()
	}
	if err := dropCapabilities(); err != nil {
		return fmt.Errorf("drop capabilities: %w", err)
	}
	if err := fence.Install(proxyFilter(unix.Getpid())); err != nil {
		return err
	}
	if err := checkConfined(); err != nil {
		return fmt.Errorf("read posture: %w", err)
	}
	if rules == nil {
		return nil // the filter alone forbids to write (docs/KERNEL.md)
	}
	if err := rules.RestrictAll(); err != nil {
		return err
	}
	if f, err := os.Open("/proc/self/status"); !errors.Is(err, unix.EACCES) {
		f.Close()
		return fmt.Errorf("read posture: rules for files are not in force: %w", errors.Join(err, unix.EPERM))
	}
	return nil
}

// proxyRules let the proxy read proxyReads, and write, execute and connect to
// nothing.
func proxyRules() (*fence.Ruleset, error) {
	rules, err := fence.NewRuleset(fence.Read|fence.Write|fence.Execute|fence.Connect, 0)
	if err != nil {
		return nil, err
	}
	folders := proxyReads
	for _, name := range resolverFiles {
		if real, err := filepath.EvalSymlinks(name); err == nil && filepath.Dir(real) != "/etc" {
			folders = append(folders, filepath.Dir(real))
		}
	}
	for _, name := range folders {
		if err := grantRead(rules, name); err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EACCES) {
			return nil, errors.Join(fmt.Errorf("let proxy read %s: %w", name, err), rules.Close())
		}
	}
	return rules, nil
}

func grantRead(rules *fence.Ruleset, name string) error {
	fd, err := unix.Open(name, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return rules.Grant(fd, fence.Read)
}

// dropCapabilities empties every set on every thread; what is left after the
// change of uid is the inheritable one.
func dropCapabilities() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	_, _, errno := syscall.AllThreadsSyscall(unix.SYS_CAPSET,
		uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&none)), 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// confined is what /proc/self/task/*/status says of a confined thread
// (proc_pid_status(5)).
var confined = map[string]string{
	"NoNewPrivs": "1", "Seccomp": "2",
	"CapInh": "0000000000000000", "CapPrm": "0000000000000000", "CapEff": "0000000000000000", "CapAmb": "0000000000000000",
}

// checkConfined reads back what the process and each of its threads has. A
// thread that is made meanwhile has what its maker has.
func checkConfined() error {
	if dumpable, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0); err != nil || dumpable != 0 {
		return fmt.Errorf("dumpable is %d: %w", dumpable, unix.EPERM)
	}
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return err
	}
	for _, thread := range threads {
		text, err := os.ReadFile("/proc/self/task/" + thread.Name() + "/status")
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ESRCH) {
			continue // it has ended
		}
		if err != nil {
			return err
		}
		if err := checkStatus(string(text)); err != nil {
			return fmt.Errorf("thread %s: %w", thread.Name(), err)
		}
	}
	return nil
}

func checkStatus(text string) error {
	missing := len(confined)
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(line, ":")
		want, asked := confined[key]
		if !asked {
			continue
		}
		if got := strings.TrimSpace(value); got != want {
			return fmt.Errorf("%s is %q, not %q: %w", key, got, want, unix.EPERM)
		}
		missing--
	}
	if missing > 0 {
		return fmt.Errorf("%d fields are missing: %w", missing, unix.EPERM)
	}
	return nil
}
