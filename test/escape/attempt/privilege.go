// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"golang.org/x/sys/unix"
)

// privilegeWays gain rights (P4).
var privilegeWays = map[string]way{
	"identity":      identity,
	"posture":       posture,
	"suid":          gained("suid"),
	"filecaps":      gained("filecaps"),
	"suid_made":     suidMade,
	"setuid":        refused(unix.SYS_SETUID, 0),
	"setresuid":     refused(unix.SYS_SETRESUID, 0, 0, 0),
	"setgid":        refused(unix.SYS_SETGID, 0),
	"setgroups":     setgroups,
	"capset":        capset,
	"ambient":       refused(unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, unix.CAP_NET_RAW, 0, 0),
	"bounding":      bounding,
	"new_privs_off": refused(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0),
	"securebits":    refused(unix.SYS_PRCTL, unix.PR_SET_SECUREBITS, 0, 0, 0, 0),
	"seccomp_off":   refused(unix.SYS_PRCTL, unix.PR_SET_SECCOMP, 0, 0, 0, 0),
	"mknod":         madeDevice("/tmp/null-of-mine", 1, 3),
	"chown_root":    chownRoot,
	"iopl":          iopl,
}

// identity prints who this process is.
func identity() string {
	return fmt.Sprintf("uid=%d,euid=%d,gid=%d,egid=%d", os.Getuid(), os.Geteuid(), os.Getgid(), os.Getegid())
}

// posture reads what the kernel says of this process.
func posture() string {
	f, err := os.Open("/proc/self/status")
	if err != nil {
		return word(err)
	}
	defer f.Close()
	var words []string
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		key, value, _ := strings.Cut(lines.Text(), ":")
		switch key {
		case "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb":
			words = append(words, key[3:]+"="+strings.TrimLeft(strings.TrimSpace(value), "0"))
		case "NoNewPrivs", "Seccomp":
			words = append(words, key+"="+strings.TrimSpace(value))
		}
	}
	return strings.Join(words, ",")
}

// gained runs a copy of this program that root has prepared on the host, and
// prints who that became.
func gained(key string) way {
	return func() string {
		words := make([]string, 0, 2)
		for _, question := range []string{"identity", "posture"} {
			out, err := exec.Command(fact(key), "one", question).Output()
			if err != nil {
				return word(err)
			}
			words = append(words, strings.TrimSpace(string(out)))
		}
		return strings.Join(words, ",")
	}
}

// suidMade tries what a file of one's own gives.
func suidMade() string {
	var s steps
	path := "/tmp/suid-of-mine"
	s.did("write", os.WriteFile(path, []byte("#!/bin/true\n"), 0o755))
	s.did("chmod", unix.Chmod(path, 0o4755))
	s.did("chown", unix.Chown(path, 0, 0))
	s.did("caps", unix.Setxattr(path, "security.capability", make([]byte, 20), 0))
	os.Remove(path)
	return s.String()
}

func setgroups() string {
	var s steps
	s.did("setgroups", call(unix.SYS_SETGROUPS, 0, 0))
	return s.String()
}

// capset asks for everything.
func capset() string {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	data := [2]unix.CapUserData{{Effective: ^uint32(0), Permitted: ^uint32(0)}, {Effective: 0x1ff, Permitted: 0x1ff}}
	var s steps
	s.did("capset", unix.Capset(&header, &data[0]))
	return s.String()
}

// bounding tries to have a right for a later program.
func bounding() string {
	kept, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, unix.CAP_NET_ADMIN, 0, 0, 0)
	if err != nil {
		return word(err)
	}
	return fmt.Sprintf("net_admin=%d", kept)
}

func chownRoot() string {
	var s steps
	path := "/tmp/root-of-mine"
	s.did("write", os.WriteFile(path, nil, 0o600))
	s.did("chown", unix.Chown(path, 0, 0))
	os.Remove(path)
	return s.String()
}
