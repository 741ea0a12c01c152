// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// namespaceWays leave the session's cgroup and namespaces, or cover what it
// shows by mounts (R10, P10). A process made in a namespace of its own tries to
// get out from there.
var namespaceWays = map[string]way{
	"cgroup_files":   cgroupFiles,
	"cgroup_path":    cgroupPath,
	"cgroup_mount":   cgroupMount,
	"clone3":         clone3(0),
	"clone3_cgroup":  clone3(unix.CLONE_INTO_CGROUP),
	"clone_user":     cloned(unix.CLONE_NEWUSER, "tcp4"),
	"clone_net":      cloned(unix.CLONE_NEWUSER|unix.CLONE_NEWNET, "tcp4"),
	"clone_net_udp":  cloned(unix.CLONE_NEWUSER|unix.CLONE_NEWNET, "udp_sendto"),
	"clone_user_udp": cloned(unix.CLONE_NEWUSER, "udp_sendto"),
	"clone_user_raw": cloned(unix.CLONE_NEWUSER, "raw_icmp"),
	"clone_net_raw":  cloned(unix.CLONE_NEWUSER|unix.CLONE_NEWNET, "raw_icmp"),
	"clone_net_pack": cloned(unix.CLONE_NEWUSER|unix.CLONE_NEWNET, "packet"),
	"clone_net_nl":   cloned(unix.CLONE_NEWUSER|unix.CLONE_NEWNET, "nl_netfilter"),
	"clone_net_vs":   cloned(unix.CLONE_NEWUSER|unix.CLONE_NEWNET, "vsock"),
	"clone_user_if":  cloned(unix.CLONE_NEWUSER, "add_route"),
	"clone_mount":    cloned(unix.CLONE_NEWUSER|unix.CLONE_NEWNS, "read_policy"),
	"clone_pid":      cloned(unix.CLONE_NEWUSER|unix.CLONE_NEWPID, "processes"),
	"clone_cgroup":   cloned(unix.CLONE_NEWUSER|unix.CLONE_NEWCGROUP, "cgroup_path"),
	"clone_cgmount":  cloned(unix.CLONE_NEWUSER|unix.CLONE_NEWCGROUP|unix.CLONE_NEWNS, "cgroup_mount"),
	"clone_uncover":  cloned(unix.CLONE_NEWUSER|unix.CLONE_NEWNS, "uncover_policy"),
	"clone_remount":  cloned(unix.CLONE_NEWUSER|unix.CLONE_NEWNS, "remount_etc"),
	"clone_setattr":  cloned(unix.CLONE_NEWUSER|unix.CLONE_NEWNS, "mount_setattr"),
	"clone_bpf":      cloned(unix.CLONE_NEWUSER|unix.CLONE_NEWNS, "mount_bpf"),
	"clone_bpf_map":  cloned(unix.CLONE_NEWUSER|unix.CLONE_NEWNS, "bpf_map"),
	"clone_tun":      cloned(unix.CLONE_NEWUSER|unix.CLONE_NEWNET, "tun"),
	"clone_unix":     cloned(unix.CLONE_NEWUSER|unix.CLONE_NEWNET, "unix_work"),
	"clone_dns":      cloned(unix.CLONE_NEWUSER|unix.CLONE_NEWNET, "dns_system"),
	"unshare_user":   refused(unix.SYS_UNSHARE, unix.CLONE_NEWUSER),
	"unshare_net":    refused(unix.SYS_UNSHARE, unix.CLONE_NEWNET),
	"unshare_mount":  refused(unix.SYS_UNSHARE, unix.CLONE_NEWNS),
	"unshare_cgroup": refused(unix.SYS_UNSHARE, unix.CLONE_NEWCGROUP),
	"unshare_time":   refused(unix.SYS_UNSHARE, unix.CLONE_NEWTIME),
	"setns_init":     setnsInit,
	"setns_self":     setnsSelf,
	"setns_pidfd":    setnsPidfd,
	"setns_owner":    namespaceOwner,
	"mount_tmpfs":    mounted("tmpfs"),
	"mount_proc":     mounted("proc"),
	"mount_sysfs":    mounted("sysfs"),
	"mount_bpf":      mounted("bpf"),
	"mount_bind":     bound("/", "/tmp"),
	"mount_overlay":  mounted("overlay"),
	"remount_etc":    remounted("/etc"),
	"remount_sys":    remounted("/proc/sys"),
	"uncover_policy": uncovered("/etc/phantom-ns"),
	"uncover_run":    uncovered("/run"),
	"uncover_home":   uncovered("/home/phantom-test"),
	"open_tree":      refusedPath(unix.SYS_OPEN_TREE, "/", 0),
	"open_clone":     refusedPath(unix.SYS_OPEN_TREE, "/", unix.OPEN_TREE_CLONE|unix.AT_RECURSIVE),
	"fsopen":         refusedName(unix.SYS_FSOPEN, "tmpfs"),
	"move_mount":     refused(unix.SYS_MOVE_MOUNT, 0, 0, 0, 0, 0),
	"mount_setattr":  writableAgain("/etc"),
	"pivot_root":     pivotRoot,
	"chroot":         chrooted,
}

// cgroupFiles looks for a file that would move this process.
func cgroupFiles() string {
	var s steps
	for _, dir := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/phantom-ns"} {
		f, err := os.OpenFile(dir+"/cgroup.procs", os.O_WRONLY, 0)
		if s.did("open", err) {
			_, err = f.WriteString("0")
			s.did("write", err)
		}
	}
	return s.String()
}

// cgroupMount looks for such a file in a hierarchy that it mounts itself.
func cgroupMount() string {
	var s steps
	if s.did("mount", unix.Mount("none", "/tmp", "cgroup2", 0, "")) {
		_, err := os.OpenFile("/tmp/cgroup.procs", os.O_WRONLY, 0)
		s.did("open", err)
		s.did("mkdir", os.Mkdir("/tmp/below", 0o755))
	}
	return s.String()
}

// cgroupPath shows that the cgroup's path says nothing about the host's tree.
func cgroupPath() string {
	data, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return word(err)
	}
	for line := range strings.Lines(string(data)) {
		if path, ok := strings.CutPrefix(line, "0::"); ok {
			return strings.TrimSpace(path)
		}
	}
	return "none"
}

// cloneArguments is struct clone_args of linux/sched.h.
type cloneArguments struct {
	flags, pidfd, childTID, parentTID, exitSignal, stack, stackSize, tls, setTID, setTIDSize, cgroup uint64
}

// clone3 must not return twice: the flag that is added is one that the kernel
// refuses (CLONE_FS with CLONE_NEWNS) where the filter did not.
func clone3(flags uint64) way {
	return func() string {
		arguments := cloneArguments{flags: flags | unix.CLONE_FS | unix.CLONE_NEWNS}
		return refused(unix.SYS_CLONE3, uintptr(unsafe.Pointer(&arguments)), unsafe.Sizeof(arguments))()
	}
}

// cloned runs another way as root of new namespaces.
func cloned(flags uintptr, name string) way {
	return func() string {
		cmd := exec.Command(os.Args[0], "one", name)
		cmd.SysProcAttr = inside(flags)
		out, err := cmd.Output()
		if cmd.ProcessState == nil {
			return "clone=" + word(err)
		}
		return "clone=ok," + strings.TrimSpace(string(out))
	}
}

// inside makes a child uid 0 of a new user namespace.
func inside(flags uintptr) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{
		Cloneflags:  flags,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
}

// setnsInit tries to enter the namespaces of process 1.
func setnsInit() string {
	var s steps
	for _, kind := range []string{"net", "mnt", "user", "pid", "cgroup"} {
		fd, err := unix.Open("/proc/1/ns/"+kind, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if s.did(kind, err) {
			s.did("setns", unix.Setns(fd, 0))
		}
	}
	return s.String()
}

func setnsSelf() string {
	var s steps
	fd, err := unix.Open("/proc/self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	s.did("open", err)
	s.did("setns", unix.Setns(fd, unix.CLONE_NEWNET))
	return s.String()
}

func setnsPidfd() string {
	var s steps
	fd, err := unix.PidfdOpen(1, 0)
	s.did("pidfd", err)
	s.did("setns", unix.Setns(fd, unix.CLONE_NEWNET|unix.CLONE_NEWNS))
	return s.String()
}

// namespaceOwner asks for the user namespace that owns the network: the host's.
func namespaceOwner() string {
	var s steps
	fd, err := unix.Open("/proc/self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	s.did("open", err)
	_, err = unix.IoctlRetInt(fd, unix.NS_GET_USERNS)
	s.did("owner", err)
	return s.String()
}

// mounted mounts a file system on /tmp, of which the agent has its own.
func mounted(kind string) way {
	return func() string {
		var s steps
		s.did("mount", unix.Mount("none", "/tmp", kind, 0, ""))
		return s.String()
	}
}

func bound(from, to string) way {
	return func() string {
		var s steps
		s.did("mount", unix.Mount(from, to, "", unix.MS_BIND|unix.MS_REC, ""))
		return s.String()
	}
}

func remounted(path string) way {
	return func() string {
		var s steps
		s.did("mount", unix.Mount("", path, "", unix.MS_REMOUNT|unix.MS_BIND, ""))
		return s.String()
	}
}

// writableAgain takes the read-only flag off what holds path.
func writableAgain(path string) way {
	return func() string {
		attributes := unix.MountAttr{Attr_clr: unix.MOUNT_ATTR_RDONLY}
		var s steps
		s.did("clear", unix.MountSetattr(unix.AT_FDCWD, path, unix.AT_RECURSIVE, &attributes))
		return s.String()
	}
}

func uncovered(path string) way {
	return func() string {
		var s steps
		s.did("umount", unix.Unmount(path, unix.MNT_DETACH))
		return s.String()
	}
}

// refusedPath makes a call of the *at kind.
func refusedPath(number uintptr, path string, flags uintptr) way {
	return func() string {
		name, err := unix.BytePtrFromString(path)
		if err != nil {
			return word(err)
		}
		at := unix.AT_FDCWD
		return refused(number, uintptr(at), uintptr(unsafe.Pointer(name)), flags, 0, 0)()
	}
}

func refusedName(number uintptr, text string) way {
	return func() string {
		name, err := unix.BytePtrFromString(text)
		if err != nil {
			return word(err)
		}
		return refused(number, uintptr(unsafe.Pointer(name)), 0)()
	}
}

func pivotRoot() string {
	var s steps
	s.did("pivot_root", unix.PivotRoot("/tmp", "/tmp"))
	return s.String()
}

// chrooted is the old way up: a root below the working directory.
func chrooted() string {
	var s steps
	if !s.did("chroot", unix.Chroot("/tmp")) {
		return s.String()
	}
	for range 64 {
		if err := unix.Chdir(".."); err != nil {
			return word(err)
		}
	}
	s.did("chroot", unix.Chroot("."))
	_, err := os.ReadFile("/etc/phantom-ns/session.yaml")
	s.did("policy", err)
	return s.String()
}

// daemon starts a grandchild in a session of its own whose parent has gone, and
// shows what it says.
func daemon(facts string) {
	out, in, err := os.Pipe()
	if err != nil {
		fail(err)
	}
	middle := exec.Command("/bin/sh", "-c", `"$0" "$@" & exit 0`, executable(), "all", facts)
	middle.Stdout, middle.Stderr = in, os.Stderr
	middle.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := middle.Run(); err != nil {
		fail(err)
	}
	in.Close()
	fmt.Print(readAll(out))
}

// root runs every way as root of a user namespace.
func root(facts string) {
	cmd := exec.Command(executable(), "all", facts)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = inside(unix.CLONE_NEWUSER)
	if err := cmd.Run(); err != nil {
		fail(err)
	}
}
