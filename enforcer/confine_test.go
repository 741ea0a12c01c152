// SPDX-License-Identifier: Apache-2.0

package enforcer

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/phantom-ns/phantom-ns/netns/sandbox/fence"
	"github.com/phantom-ns/phantom-ns/proxy/secret"
)

// TestMain is also a process that confines itself as the proxy or a helper does,
// the proxy, and a helper: the test binary runs itself again.
func TestMain(m *testing.M) {
	if what, ok := strings.CutPrefix(os.Args[0], "confined:"); ok {
		role, name, _ := strings.Cut(what, ":")
		os.Exit(runConfined(role, name))
	}
	if os.Args[0] == secret.Stage {
		secret.Main(ConfineSecret)
	}
	if os.Args[0] == ProxyStage {
		ProxyMain()
	}
	os.Exit(m.Run())
}

// runConfined is the confined process. It prints the errno of one attempt.
func runConfined(role, name string) int {
	err := hideProcess()
	if err == nil {
		err = confineAs(role)
	}
	if err != nil {
		fmt.Println("confine:", err)
		return 1
	}
	do := confinedAttempts[name].do
	if own, ok := helperAttempts[name]; ok {
		do = own
	}
	if path, ok := strings.CutPrefix(name, "read:"); ok {
		do = openFile(path, os.O_RDONLY)
	} else if name == "every thread" {
		do = lookEverywhere
	}
	var errno syscall.Errno
	if err := do(); err != nil && !errors.As(err, &errno) {
		fmt.Println(err)
		return 1
	}
	fmt.Println(unix.ErrnoName(errno))
	return 0
}

func confineAs(role string) error {
	switch role {
	case "proxy":
		return confine()
	case "mask":
		return ConfineMask()
	}
	return ConfineSecret(helperNeeds[role])
}

func bare(number, a, b, c uintptr) func() error {
	return func() error {
		if _, _, errno := unix.RawSyscall(number, a, b, c); errno != 0 {
			return errno
		}
		return nil
	}
}

func openFile(name string, flags int) func() error {
	return func() error {
		f, err := os.OpenFile(name, flags, 0o600)
		f.Close()
		return err
	}
}

// lookEverywhere reads what is forbidden on more threads than confine found.
func lookEverywhere() error {
	const threads = 32
	var all sync.WaitGroup
	var started sync.WaitGroup
	started.Add(threads)
	errs := make([]error, threads)
	for i := range threads {
		all.Go(func() {
			runtime.LockOSThread() // each is another one
			started.Done()
			started.Wait()
			errs[i] = openFile("/proc/self/status", os.O_RDONLY)()
		})
	}
	all.Wait()
	for _, err := range errs {
		if !errors.Is(err, unix.EACCES) {
			return err
		}
	}
	return unix.EACCES
}

const (
	killed = "SIGSYS"
	fine   = ""
)

// confinedAttempts are what a proxy that was taken over would try, and a few
// things that it has to be able to do.
var confinedAttempts = map[string]struct {
	do   func() error
	want string
}{
	"own addresses": {func() error { _, err := net.InterfaceAddrs(); return err }, fine},
	"tcp":           {bare(unix.SYS_SOCKET, unix.AF_INET6, unix.SOCK_STREAM, unix.IPPROTO_TCP), fine},
	"udp":           {bare(unix.SYS_SOCKET, unix.AF_INET, unix.SOCK_DGRAM, 0), fine},
	"read hosts":    {openFile("/etc/hosts", os.O_RDONLY), fine},
	"anonymous memory": {func() error {
		_, err := unix.Mmap(-1, 0, 1, unix.PROT_READ, unix.MAP_PRIVATE|unix.MAP_ANON)
		return err
	}, fine},
	"memory with code": {func() error {
		_, err := unix.Mmap(-1, 0, 1, unix.PROT_EXEC, unix.MAP_PRIVATE|unix.MAP_ANON)
		return err
	}, "EPERM"},
	"file to write":       {openFile("/dev/null", os.O_WRONLY), "EPERM"},
	"file to make":        {openFile("/tmp/made", os.O_RDONLY|os.O_CREATE), "EPERM"},
	"folder to make":      {func() error { return os.Mkdir("/tmp/made", 0o700) }, "EPERM"},
	"file to remove":      {func() error { return unix.Unlink("/tmp/none") }, "EPERM"},
	"unix socket":         {bare(unix.SYS_SOCKET, unix.AF_UNIX, unix.SOCK_STREAM, 0), "EAFNOSUPPORT"},
	"unix socket, high":   {bare(unix.SYS_SOCKET, 1<<32|unix.AF_UNIX, unix.SOCK_STREAM, 0), "EAFNOSUPPORT"},
	"vsock":               {bare(unix.SYS_SOCKET, unix.AF_VSOCK, unix.SOCK_STREAM, 0), "EAFNOSUPPORT"},
	"packet":              {bare(unix.SYS_SOCKET, unix.AF_PACKET, unix.SOCK_RAW, 0), "EAFNOSUPPORT"},
	"netfilter":           {bare(unix.SYS_SOCKET, unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_NETFILTER), "EAFNOSUPPORT"},
	"sctp":                {bare(unix.SYS_SOCKET, unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_SCTP), "EPROTONOSUPPORT"},
	"listen":              {bare(unix.SYS_LISTEN, 0, 1, 0), "EPERM"},
	"signal to a parent":  {bare(unix.SYS_KILL, uintptr(unix.Getppid()), 0, 0), "EPERM"},
	"signal to a thread":  {bare(unix.SYS_TGKILL, uintptr(unix.Getppid()), uintptr(unix.Getppid()), 0), "EPERM"},
	"be dumpable":         {bare(unix.SYS_PRCTL, unix.PR_SET_DUMPABLE, 1, 0), "EPERM"},
	"file in memory":      {func() error { _, err := unix.MemfdCreate("code", 0); return err }, "EPERM"},
	"clone3":              {bare(unix.SYS_CLONE3, 0, 0, 0), "ENOSYS"},
	"later call":          {bare(fence.Newest+1, 0, 0, 0), "ENOSYS"},
	"become root":         {bare(unix.SYS_SETUID, 0, 0, 0), "EPERM"},
	"execute":             {bare(unix.SYS_EXECVE, 0, 0, 0), killed},
	"execute by file":     {bare(unix.SYS_EXECVEAT, 0, 0, 0), killed},
	"fork":                {bare(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0), killed},
	"ptrace":              {bare(unix.SYS_PTRACE, 0, 0, 0), killed},
	"memory of another":   {bare(unix.SYS_PROCESS_VM_READV, 0, 0, 0), killed},
	"socket of another":   {bare(unix.SYS_PIDFD_GETFD, 0, 0, 0), killed},
	"bpf":                 {bare(unix.SYS_BPF, 0, 0, 0), killed},
	"ring":                {bare(unix.SYS_IO_URING_SETUP, 0, 0, 0), killed},
	"keys":                {bare(unix.SYS_KEYCTL, 0, 0, 0), killed},
	"mount":               {bare(unix.SYS_MOUNT, 0, 0, 0), killed},
	"namespace":           {bare(unix.SYS_UNSHARE, 0, 0, 0), killed},
	"another's namespace": {bare(unix.SYS_SETNS, 0, 0, 0), killed},
}

// P1, P2, P3: a proxy that was taken over reaches nothing of the host but the
// network.
func TestConfinedProxyReachesNothing(t *testing.T) {
	for name, a := range confinedAttempts {
		t.Run(name, func(t *testing.T) { attemptConfined(t, "proxy", name, a.want) })
	}
}

// Where the kernel has Landlock the proxy reads no more than it has to, on no
// thread. Elsewhere the rights of its uid are what it has.
func TestConfinedProxyReadsOnlyNames(t *testing.T) {
	name, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	want := outcomeOutside(t)
	for _, path := range []string{name, "/proc/self/environ", "/dev/zero", filepath.Dir(name)} {
		t.Run(path, func(t *testing.T) { attemptConfined(t, "proxy", "read:"+path, want) })
	}
	if want != fine {
		attemptConfined(t, "proxy", "every thread", want)
	}
}

func attemptConfined(t *testing.T, role, name, want string) {
	t.Helper()
	var out strings.Builder
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = []string{"confined:" + role + ":" + name}
	cmd.Dir = t.TempDir()
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	var exit *exec.ExitError
	if want == killed && errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == unix.SIGSYS {
		return
	}
	if err != nil || strings.TrimSpace(out.String()) != want {
		t.Errorf("got %q and %v, want %q", out.String(), err, want)
	}
}

// A posture that differs in any field keeps the proxy from serving.
func TestPostureOfProxyIsRefused(t *testing.T) {
	good := "Name:\tproxy\nCapInh:\t0000000000000000\nCapPrm:\t0000000000000000\nCapEff:\t0000000000000000\n" +
		"CapBnd:\t000001ffffffffff\nCapAmb:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t1\n"
	if err := checkStatus(good, confined(0)); err != nil {
		t.Errorf("a confined thread: %v", err)
	}
	for _, change := range [][2]string{
		{"CapInh:\t0", "CapInh:\t1"}, {"CapPrm:\t0", "CapPrm:\t1"}, {"CapEff:\t0", "CapEff:\t1"}, {"CapAmb:\t0", "CapAmb:\t1"},
		{"NoNewPrivs:\t1", "NoNewPrivs:\t0"}, {"Seccomp:\t2", "Seccomp:\t0"}, {"Seccomp:\t2\n", ""},
	} {
		if err := checkStatus(strings.Replace(good, change[0], change[1], 1), confined(0)); !errors.Is(err, unix.EPERM) {
			t.Errorf("%q for %q: %v", change[1], change[0], err)
		}
	}
}
