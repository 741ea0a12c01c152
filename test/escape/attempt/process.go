// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// processWays reach for other processes (P1 to P3, P6 to P8).
var processWays = map[string]way{
	"ptrace_init":   refused(unix.SYS_PTRACE, unix.PTRACE_ATTACH, 1, 0, 0),
	"ptrace_seize":  refused(unix.SYS_PTRACE, unix.PTRACE_SEIZE, 1, 0, 0),
	"ptrace_parent": refused(unix.SYS_PTRACE, unix.PTRACE_ATTACH, uintptr(os.Getppid()), 0, 0),
	"ptrace_traced": refused(unix.SYS_PTRACE, unix.PTRACE_TRACEME, 0, 0, 0),
	"vm_read_init":  vmRead(1),
	"vm_read_self":  vmRead(os.Getpid()),
	"pidfd_getfd":   pidfdGetfd(1),
	"pidfd_parent":  pidfdGetfd(os.Getppid()),
	"kcmp":          refused(unix.SYS_KCMP, uintptr(os.Getpid()), 1, 0, 0, 0),
	"processes":     processes,
	"proc_init":     procInit,
	"proc_fd":       func() string { return fact("descriptors") },
	"proc_memory":   openedFile("/proc/1/mem"),
	"proc_kcore":    read("/proc/kcore"),
	"proc_kallsyms": read("/proc/kallsyms"),
	"proc_kmsg":     read("/proc/kmsg"),
	"proc_keys":     keys,
	"dmesg":         refused(unix.SYS_SYSLOG, 3, 0, 0), // SYSLOG_ACTION_READ_ALL
	"kill_init":     signalled(1, unix.SIGKILL),
	"stop_init":     signalled(1, unix.SIGSTOP),
	"quit_init":     signalled(1, unix.SIGQUIT), // Go would print every stack
	"limit_host":    limitHost,
	"fanotify":      refused(unix.SYS_FANOTIFY_INIT, unix.FAN_CLASS_CONTENT, 0), // which is asked before a file is opened
	"listns":        listNamespaces,
	"listmount":     listMounts,
	"kill_group":    signalled(0, 0),
	"kill_host":     killHost,
	"tiocsti":       control(unix.TIOCSTI),
	"tiocsti_high":  control(unix.TIOCSTI | 1<<32),
	"tioclinux":     control(0x541c),
	"tiocsetd":      control(unix.TIOCSETD),
	"terminals":     terminals,
	"tty":           openedFile("/dev/tty"),
	"console":       openedFile("/dev/console"),
	"keyctl":        refused(unix.SYS_KEYCTL, unix.KEYCTL_GET_KEYRING_ID, ^uintptr(2), 0), // KEY_SPEC_SESSION_KEYRING
	"keyctl_user":   refused(unix.SYS_KEYCTL, unix.KEYCTL_GET_KEYRING_ID, ^uintptr(3), 0), // KEY_SPEC_USER_KEYRING
	"add_key":       refused(unix.SYS_ADD_KEY, 0, 0, 0, 0, 0),
	"request_key":   refused(unix.SYS_REQUEST_KEY, 0, 0, 0, 0),
	"shm_sysv":      sharedMemory,
	"shm_posix":     shmPosix,
	"msg_sysv":      messageQueue,
	"core":          coreLimit,
	"modules":       refused(unix.SYS_INIT_MODULE, 0, 0, 0),
	"kexec":         refused(unix.SYS_KEXEC_LOAD, 0, 0, 0, 0),
	"reboot":        refused(unix.SYS_REBOOT, 0, 0, 0, 0),
	"settime":       refused(unix.SYS_CLOCK_SETTIME, 0, 0),
	"sethostname":   refused(unix.SYS_SETHOSTNAME, 0, 0),
	"personality":   refused(unix.SYS_PERSONALITY, 0x0008000), // PER_LINUX32
}

func vmRead(pid int) way {
	return func() string {
		var target [8]byte
		local := []unix.Iovec{{Base: &target[0], Len: 8}}
		remote := []unix.RemoteIovec{{Base: uintptr(unsafe.Pointer(&payload[0])), Len: len(payload)}}
		var s steps
		_, err := unix.ProcessVMReadv(pid, local, remote, 0)
		s.did("readv", err)
		_, err = unix.ProcessVMWritev(pid, local, remote, 0)
		s.did("writev", err)
		return s.String()
	}
}

func pidfdGetfd(pid int) way {
	return func() string {
		var s steps
		fd, err := unix.PidfdOpen(pid, 0)
		s.did("open", err)
		_, err = unix.PidfdGetfd(fd, 0, 0)
		s.did("getfd", err)
		return s.String()
	}
}

// processes names the programs of all processes that can be seen, the ways'
// own apart.
func processes() string {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return word(err)
	}
	var names []string
	for _, dir := range dirs {
		line, _ := os.ReadFile(dir + "/cmdline")
		program, rest, _ := strings.Cut(string(line), "\x00")
		if strings.HasPrefix(rest, "one\x00") {
			program = "way"
		}
		names = append(names, strings.ReplaceAll(filepath.Base(program), " ", "_"))
	}
	slices.Sort(names)
	return strings.Join(slices.Compact(names), ",")
}

// procInit opens what /proc shows of process 1.
func procInit() string {
	var s steps
	for _, name := range []string{"environ", "maps", "fd", "root/etc", "cwd/.", "exe", "io", "stack"} {
		fd, err := unix.Open("/proc/1/"+name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		s.did(filepath.Dir(name + "/")[:2], err)
		unix.Close(fd)
	}
	return s.String()
}

// descriptors lists what this process has open and of which kind. It is asked
// before anything else, so that all of it was given.
func descriptors() string {
	var s steps
	for fd := range 1024 {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil {
			continue
		}
		buffer := make([]byte, 64)
		n, err := unix.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd), buffer)
		if err != nil {
			return word(err)
		}
		kind, _, _ := strings.Cut(string(buffer[:n]), ":")
		s = append(s, fmt.Sprintf("%d=%s", fd, kind))
	}
	return s.String()
}

func signalled(pid int, signal unix.Signal) way {
	return func() string {
		var s steps
		s.did("kill", unix.Kill(pid, signal))
		s.did("alive", unix.Kill(1, 0))
		return s.String()
	}
}

// killHost signals every number that a process of the host could have, from
// the one that the test has. None exists here.
func killHost() string {
	pid, err := strconv.Atoi(fact("pid"))
	if err != nil {
		return word(err)
	}
	return signalled(pid, 0)()
}

// limitHost tries to slow a process of the host's down, and to hold it.
func limitHost() string {
	pid, err := strconv.Atoi(fact("pid"))
	if err != nil {
		return word(err)
	}
	var s steps
	s.did("prlimit", unix.Prlimit(pid, unix.RLIMIT_CPU, &unix.Rlimit{Cur: 1, Max: 1}, nil))
	s.did("priority", unix.Setpriority(unix.PRIO_PROCESS, pid, 19))
	s.did("affinity", unix.SchedSetaffinity(pid, &unix.CPUSet{1}))
	_, err = unix.PidfdOpen(pid, 0)
	s.did("pidfd", err)
	return s.String()
}

// listNamespaces counts those that the kernel names (listns, since 6.19) beside
// this process's own.
func listNamespaces() string {
	kinds, err := os.ReadDir("/proc/self/ns")
	if err != nil {
		return word(err)
	}
	own := make(map[uint64]bool)
	for _, k := range kinds {
		own[namespaceID(k.Name(), unix.NS_GET_ID)] = true
	}
	request := struct { // struct ns_id_req, linux/nsfs.h
		size, _ uint32
		after   uint64
		kind, _ uint32
		owner   uint64
	}{size: 32}
	var ids [256]uint64
	n, _, errno := unix.Syscall6(unix.SYS_LISTNS, pointer(&request), pointer(&ids), uintptr(len(ids)), 0, 0, 0)
	if errno != 0 {
		return "others=0"
	}
	others := slices.DeleteFunc(ids[:n], func(id uint64) bool { return own[id] })
	return fmt.Sprintf("others=%d", len(others))
}

// listMounts counts the mount namespaces, of the first thousands of a machine's,
// whose mounts can be listed by number (listmount, since 6.11 of others).
func listMounts() string {
	own, others := namespaceID("mnt", unix.NS_GET_MNTNS_ID), 0
	for id := uint64(1); id < 5000; id++ {
		request := struct { // struct mnt_id_req, linux/mount.h
			size, _      uint32
			mount, after uint64
			namespace    uint64
		}{size: 32, mount: ^uint64(0), namespace: id} // LSMT_ROOT
		var mounts [8]uint64
		if call(unix.SYS_LISTMOUNT, pointer(&request), pointer(&mounts), uintptr(len(mounts))) == nil && id != own {
			others++
		}
	}
	return fmt.Sprintf("others=%d", others)
}

// namespaceID is the kernel's number of one of this process's namespaces; 0
// where it has none.
func namespaceID(kind string, request uintptr) (id uint64) {
	f, err := os.Open("/proc/self/ns/" + kind)
	if err != nil {
		return 0
	}
	defer f.Close()
	if err := call(unix.SYS_IOCTL, f.Fd(), request, pointer(&id)); err != nil {
		return 0
	}
	return id
}

func control(request uintptr) way {
	return func() string {
		character := [8]byte{'x'}
		var s steps
		for fd := range uintptr(3) {
			s.did(fmt.Sprint(fd), call(unix.SYS_IOCTL, fd, request, pointer(&character)))
		}
		return s.String()
	}
}

func terminals() string {
	entries, err := os.ReadDir("/dev/pts")
	if err != nil {
		return word(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return strings.Join(names, ",")
}

// sharedMemory looks for a segment that the host has under this key.
func sharedMemory() string {
	key, err := strconv.Atoi(fact("shm"))
	if err != nil {
		return word(err)
	}
	_, err = unix.SysvShmGet(key, 0, 0)
	return word(err)
}

func messageQueue() string {
	key, err := strconv.Atoi(fact("shm"))
	if err != nil {
		return word(err)
	}
	return word(call(unix.SYS_MSGGET, uintptr(key), 0))
}

func shmPosix() string {
	entries, err := os.ReadDir("/dev/shm")
	if err != nil {
		return word(err)
	}
	return fmt.Sprintf("files=%d", len(entries))
}

// coreLimit tells whether a crash could write this process's memory anywhere.
func coreLimit() string {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_CORE, &limit); err != nil {
		return word(err)
	}
	var s steps
	s = append(s, fmt.Sprintf("limit=%d", limit.Max))
	s.did("raise", unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{Cur: 2, Max: 2}))
	return s.String()
}

// keys reads the list of keys. That the user has keyrings, as after any login
// through PAM, is no key.
func keys() string {
	data, err := os.ReadFile("/proc/keys")
	if err != nil {
		return word(err)
	}
	for line := range strings.Lines(string(data)) {
		if !strings.Contains(line, " keyring   _uid") {
			return "read"
		}
	}
	return "empty"
}
