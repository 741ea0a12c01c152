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
// need to serve: capabilities, most system calls, and the host's files.
func confine() error {
	rules, err := proxyRules()
	if err != nil && !errors.Is(err, fence.ErrNoLandlock) {
		return err
	}
	return giveUp(0, proxyFilter(unix.Getpid()), rules)
}

// giveUp leaves the process the capabilities that are kept, the calls of the
// filter and the files of the rules, which it closes. What was taken is read
// back, of every thread. Without rules the filter alone forbids to write
// (docs/KERNEL.md).
//
// The order matters: the filter lets nothing pass that makes rules for files,
// and with them in force /proc cannot be read.
func giveUp(kept uint64, filter fence.Program, rules *fence.Ruleset) error {
	if rules != nil {
		defer rules.Close()
	}
	kept, err := limitCapabilities(kept)
	if err != nil {
		return fmt.Errorf("drop capabilities: %w", err)
	}
	// Per thread, and threads exist: the call is made on all of them.
	if _, _, errno := syscall.AllThreadsSyscall6(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0); errno != 0 {
		return fmt.Errorf("set no_new_privs: %w", errno)
	}
	if err := fence.Install(filter); err != nil {
		return err
	}
	if err := checkConfined(kept); err != nil {
		return fmt.Errorf("read posture: %w", err)
	}
	if rules == nil {
		return nil
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
		if err := grant(rules, name, fence.Read); err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EACCES) {
			return nil, errors.Join(fmt.Errorf("let proxy read %s: %w", name, err), rules.Close())
		}
	}
	return rules, nil
}

func grant(rules *fence.Ruleset, name string, rights uint64) error {
	fd, err := unix.Open(name, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return rules.Grant(fd, rights)
}

// limitCapabilities takes every capability from every set of every thread, but
// of those that are permitted the kept ones; it returns which those are. Of the
// proxy, after the change of uid, only the inheritable set holds any.
func limitCapabilities(kept uint64) (uint64, error) {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return 0, err
	}
	kept &= uint64(data[0].Permitted) | uint64(data[1].Permitted)<<32
	for i, half := range []uint32{uint32(kept), uint32(kept >> 32)} {
		data[i] = unix.CapUserData{Effective: half, Permitted: half}
	}
	_, _, errno := syscall.AllThreadsSyscall(unix.SYS_CAPSET,
		uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&data)), 0)
	if errno != 0 {
		return 0, errno
	}
	return kept, nil
}

// confined is what /proc/self/task/*/status says of a confined thread
// (proc_pid_status(5)) that keeps these capabilities.
func confined(kept uint64) map[string]string {
	const none = "0000000000000000"
	has := fmt.Sprintf("%016x", kept)
	return map[string]string{"NoNewPrivs": "1", "Seccomp": "2", "CapInh": none, "CapPrm": has, "CapEff": has, "CapAmb": none}
}

// checkConfined reads back what the process and each of its threads has. A
// thread that is made meanwhile has what its maker has.
func checkConfined(kept uint64) error {
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
		if err := checkStatus(string(text), confined(kept)); err != nil {
			return fmt.Errorf("thread %s: %w", thread.Name(), err)
		}
	}
	return nil
}

func checkStatus(text string, confined map[string]string) error {
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
