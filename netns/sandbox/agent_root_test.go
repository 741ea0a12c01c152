// SPDX-License-Identifier: Apache-2.0

//go:build root

package sandbox

import (
	"fmt"
	"net"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// testAgents are what the test binary does as an agent. Each writes what it
// finds to its output.
var testAgents = map[string]func([]string) error{
	"posture": agentPosture,
	"calls":   agentCalls,
	"connect": agentConnect,
	"ask":     agentAsk,
	"resize":  agentResize,
	"poke":    agentPoke,
	"unix":    agentUnix,
}

// agentPosture writes what the kernel says of the agent.
func agentPosture([]string) error {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return err
	}
	status := parseStatus(string(text))
	for _, key := range []string{
		"Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp",
		"Umask", "PPid", "SigIgn", "SigBlk", "TracerPid",
	} {
		fmt.Println(key, status[key])
	}
	fds, err := names("/proc/self/fd")
	if err != nil {
		return err
	}
	slices.Sort(fds)
	for _, fd := range fds {
		target, err := os.Readlink("/proc/self/fd/" + fd)
		if err == nil && !strings.Contains(target, "/fd") && !strings.Contains(target, "anon_inode") {
			kind, _, _ := strings.Cut(target, ":")
			fmt.Println("fd", fd, kind)
		}
	}
	var core unix.Rlimit
	err = unix.Getrlimit(unix.RLIMIT_CORE, &core)
	fmt.Println("core", core.Cur, core.Max)
	cgroup, _ := os.ReadFile("/proc/self/cgroup")
	for line := range strings.Lines(string(cgroup)) {
		if strings.HasPrefix(line, "0::") {
			fmt.Print("cgroup ", line)
		}
	}
	entries, _ := names("/proc")
	processes := 0
	for _, e := range entries {
		if _, err := strconv.Atoi(e); err == nil {
			processes++
		}
	}
	fmt.Println("processes", processes)
	return err
}

// agentCalls makes system calls and writes their errors.
func agentCalls([]string) error {
	null := uintptr(0)
	for _, c := range testCalls {
		_, _, errno := syscall.RawSyscall6(c.number, c.a, c.b, c.c, null, null, null)
		fmt.Println(c.name, int(errno))
	}
	return nil
}

// agentConnect connects to each address by TCP and writes what it reads.
func agentConnect(addresses []string) error {
	for _, address := range addresses {
		conn, err := net.DialTimeout("tcp", address, 10*time.Second)
		if err != nil {
			return err
		}
		buffer := make([]byte, 100)
		n, err := conn.Read(buffer)
		fmt.Println(address, string(buffer[:n]), err)
		conn.Close()
	}
	return nil
}

// agentAsk sends a datagram to each address and writes the answer and whence it
// came.
func agentAsk(addresses []string) error {
	for _, address := range addresses {
		conn, err := net.Dial("udp", address)
		if err != nil {
			return err
		}
		conn.SetDeadline(time.Now().Add(10 * time.Second))
		if _, err := conn.Write([]byte("question")); err != nil {
			return err
		}
		buffer := make([]byte, 100)
		n, err := conn.Read(buffer)
		if err != nil {
			return err
		}
		fmt.Println(address, string(buffer[:n]))
		conn.Close()
	}
	return nil
}

// agentResize writes its terminal's size whenever that changes, until it is
// the size that it was told to wait for.
func agentResize(want []string) error {
	changed := make(chan os.Signal, 10)
	signal.Notify(changed, unix.SIGWINCH)
	fmt.Println("ready")
	for {
		size, err := unix.IoctlGetWinsize(0, unix.TIOCGWINSZ)
		if err != nil {
			return err
		}
		if text := fmt.Sprint(size.Row, "x", size.Col); text == want[0] {
			fmt.Println(text)
			return nil
		}
		<-changed
	}
}

// agentPoke tries the processes above it.
func agentPoke(outside []string) error {
	for _, path := range []string{"mem", "environ", "maps", "cwd", "root", "exe", "fd", "fdinfo", "ns/net", "auxv", "syscall", "stack"} {
		name := "/proc/1/" + path
		if _, err := os.Open(name); err == nil {
			fmt.Println("opened", name)
		}
		if target, err := os.Readlink(name); err == nil {
			fmt.Println("read", name, target)
		}
	}
	for _, pid := range outside {
		n, err := strconv.Atoi(pid)
		if err != nil {
			return err
		}
		if _, err := os.Stat("/proc/" + pid); err == nil {
			fmt.Println("saw", pid)
		}
		if err := unix.Kill(n, 0); err != unix.ESRCH {
			fmt.Println("found", pid, err)
		}
		if fd, err := unix.PidfdOpen(n, 0); err == nil {
			fmt.Println("opened pidfd", fd)
		}
	}
	if fd, err := unix.PidfdOpen(1, 0); err != nil {
		fmt.Println("pidfd of init:", err)
	} else if _, err := unix.PidfdGetfd(fd, controlFD, 0); err != unix.EPERM {
		fmt.Println("took init's control socket:", err)
	}
	var vm [1]byte
	local := unix.Iovec{Base: &vm[0], Len: 1}
	remote := unix.RemoteIovec{Base: uintptr(unsafe.Pointer(&vm[0])), Len: 1}
	if _, err := unix.ProcessVMReadv(1, []unix.Iovec{local}, []unix.RemoteIovec{remote}, 0); err != unix.EPERM {
		fmt.Println("read init's memory:", err)
	}
	if err := unix.PtraceAttach(1); err != unix.EPERM {
		fmt.Println("attached to init:", err)
	}
	return nil
}

// agentUnix connects to unix sockets.
func agentUnix(paths []string) error {
	for _, path := range paths {
		conn, err := net.Dial("unix", path)
		if err != nil {
			fmt.Println(err)
			continue
		}
		fmt.Println("connected to", path)
		conn.Close()
	}
	return nil
}
