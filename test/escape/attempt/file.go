// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// fileWays look for a path to the host (P10, P12, P14).
var fileWays = map[string]way{
	"read_policy":   read("/etc/phantom-ns/session.yaml"),
	"read_secret":   read("/etc/phantom-ns/demo.secret"),
	"read_store":    read("/var/lib/phantom-ns/store.age"),
	"read_audit":    read("/var/log/phantom-ns/audit.jsonl"),
	"read_shadow":   read("/etc/shadow"),
	"read_host_run": readFact("run_file"),
	"read_host_tmp": readFact("tmp_file"),
	"read_hidden":   read("/run/phantom-ns/home/upper"),
	"list_policy":   list("/etc/phantom-ns"),
	"list_state":    list("/var/lib/phantom-ns"),
	"list_audit":    list("/var/log/phantom-ns"),
	"list_run":      list("/run"),
	"list_devices":  list("/dev"),
	"list_bpf":      list("/sys/fs/bpf"),
	"list_cgroup":   list("/sys/fs/cgroup"),
	"list_debug":    list("/sys/kernel/debug"),
	"self_root":     throughRoot,
	"init_root":     list("/proc/1/root"),
	"init_cwd":      list("/proc/1/cwd"),
	"cwd_up":        above,
	"snapshot":      snapshot,
	"self_map":      list("/proc/self/map_files/../../1/root"),
	"handle_open":   openByHandle,
	"handle_name":   refused(unix.SYS_NAME_TO_HANDLE_AT, 0, 0, 0, 0, 0),
	"make_policy":   made("/etc/phantom-ns/policy.yaml"),
	"make_state":    made("/var/lib/phantom-ns/store.age"),
	"make_audit":    made("/var/log/phantom-ns/audit.jsonl"),
	"make_session":  made("/run/phantom-ns/session"),
	"make_ca":       made("/run/phantom-ns/ca.pem"),
	"make_etc":      made("/etc/profile.d/escape.sh"),
	"make_usr":      made("/usr/local/bin/escape"),
	"make_spool":    made("/var/spool/escape"),
	"make_hosts":    made("/etc/hosts"),
	"set_core":      made("/proc/sys/kernel/core_pattern"),
	"set_forward":   made("/proc/sys/net/ipv4/ip_forward"),
	"set_ping":      made("/proc/sys/net/ipv4/ping_group_range"),
	"set_ports":     made("/proc/sys/net/ipv4/ip_unprivileged_port_start"),
	"set_sysrq":     made("/proc/sysrq-trigger"),
	"set_uevent":    made("/sys/kernel/uevent_helper"),
	"set_oom":       made("/proc/1/oom_score_adj"),
}

// snapshot asks for a copy of the subvolume that the working directory is, which
// no cover would be on: BTRFS_IOC_SNAP_CREATE and its second form.
func snapshot() string {
	var s steps
	dir, err := unix.Open(".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if !s.did("open", err) {
		return s.String()
	}
	var volume [4096]byte
	copy(volume[8:], "copy")
	binary.NativeEndian.PutUint64(volume[:], uint64(dir))
	s.did("create", call(unix.SYS_IOCTL, uintptr(dir), 0x50009401, pointer(&volume)))
	clear(volume[8:])
	copy(volume[56:], "copy")
	s.did("second", call(unix.SYS_IOCTL, uintptr(dir), 0x50009417, pointer(&volume)))
	return s.String()
}

func read(path string) way {
	return func() string { return opens(path) }
}

func readFact(key string) way {
	return func() string { return opens(fact(key)) }
}

// opens reads a file: a cover in its place is empty.
func opens(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return word(err)
	}
	if len(data) == 0 {
		return "empty"
	}
	return "read"
}

func list(path string) way {
	return func() string {
		entries, err := os.ReadDir(path)
		if err != nil {
			return word(err)
		}
		names := []string{}
		for _, e := range entries {
			names = append(names, e.Name())
		}
		slices.Sort(names)
		if len(names) == 0 {
			return "empty"
		}
		return strings.Join(names, ",")
	}
}

// throughRoot reads files of the host's by way of links that lead to a root.
func throughRoot() string {
	var s steps
	for _, root := range []string{"/proc/self/root", "/proc/thread-self/root", "/dev/fd/../root"} {
		_, err := os.ReadFile(root + "/etc/phantom-ns/session.yaml")
		s.did("policy", err)
		_, err = os.ReadFile(root + fact("tmp_file"))
		s.did("file", err)
	}
	return s.String()
}

// above climbs from the working directory as far as it goes.
func above() string {
	var s steps
	up := "/proc/self/cwd/" + strings.Repeat("../", 64)
	_, err := os.ReadFile(filepath.Join(up, "etc/phantom-ns/session.yaml"))
	s.did("joined", err)
	_, err = os.ReadFile(up + "etc/phantom-ns/session.yaml")
	s.did("climbed", err)
	for range 64 {
		if err := os.Chdir(".."); err != nil {
			return word(err)
		}
	}
	_, err = os.ReadFile("etc/phantom-ns/session.yaml")
	s.did("walked", err)
	return s.String()
}

// openByHandle guesses the handle of a file system's root, inode 2.
func openByHandle() string {
	var s steps
	_, err := unix.OpenByHandleAt(0, unix.NewFileHandle(1, []byte{2, 0, 0, 0, 0, 0, 0, 0}), unix.O_RDONLY)
	s.did("open", err)
	return s.String()
}

// made writes to a file that is not the agent's, or makes it.
func made(path string) way {
	return func() string {
		var s steps
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o644)
		if s.did("open", err) {
			_, err = f.WriteString("1")
			s.did("write", err)
			f.Close()
		}
		return s.String()
	}
}
