// SPDX-License-Identifier: Apache-2.0

//go:build root

package trust

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const insideVariable = "PHANTOM_NS_TRUST_TEST_INSIDE"

// inside runs the calling test again in a private mount namespace with a tmpfs on /run and
// /tmp, and returns true there. Outside it reports the child's result and compares the host
// before and after: T2.
func inside(t *testing.T) bool {
	t.Helper()
	if os.Getenv(insideVariable) != "" {
		runtime.LockOSThread()
		for _, dir := range []string{"/run", "/tmp"} {
			must(t, unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755"))
		}
		must(t, os.Mkdir(Dir, 0o755))
		return true
	}
	if os.Getuid() != 0 {
		t.Fatal("needs root")
	}
	before := fingerprint(t)
	cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), insideVariable+"=1")
	// With CLONE_NEWNS here the runtime makes every mount private in the child.
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	out, err := cmd.CombinedOutput()
	t.Logf("inside:\n%s", out)
	if err != nil {
		t.Errorf("inside: %v", err)
	}
	if after := fingerprint(t); after != before {
		t.Errorf("the host changed:\n%s\n---\n%s", before, after)
	}
	return false
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// fingerprint is everything of the host that a cover could have written to or mounted over.
func fingerprint(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	roots := []string{"/etc/ssl", "/etc/pki", "/etc/ca-certificates", "/usr/lib/ssl"}
	for _, root := range roots {
		_ = filepath.WalkDir(root, func(name string, _ fs.DirEntry, err error) error {
			if err == nil {
				fmt.Fprintln(&b, describe(t, name))
			}
			return nil
		})
	}
	p, err := Build(hostOptions(newAuthority(t, sessionName)))
	must(t, err)
	for _, target := range p.targets {
		fmt.Fprintln(&b, describe(t, target.path))
		roots = append(roots, target.path)
	}
	// Mounts elsewhere may come and go: the machine is not ours alone.
	for line := range strings.Lines(mounts(t)) {
		for _, root := range roots {
			if strings.HasPrefix(strings.Fields(line)[4], root) {
				b.WriteString(line)
			}
		}
	}
	return b.String()
}

func describe(t *testing.T, name string) string {
	t.Helper()
	info, err := os.Lstat(name)
	must(t, err)
	line := fmt.Sprint(name, " ", info.Mode(), " ", info.Size(), " ", info.ModTime().UnixNano(), " ", info.Sys().(*syscall.Stat_t).Ino)
	if data, err := os.ReadFile(name); err == nil {
		sum := sha256.Sum256(data)
		line += " " + hex.EncodeToString(sum[:])
	}
	return line
}

func hostOptions(a *authority) Options {
	roots, _, _ := SystemRoots("/")
	return Options{SystemRoots: roots, CA: a.pem(), Home: os.Getenv("HOME"), Dir: "/var/empty", UID: 65534, Env: os.Environ()}
}

// applied covers the namespace and says what that cost.
func applied(t *testing.T, o Options) *Plan {
	t.Helper()
	start := time.Now()
	p, err := Build(o)
	must(t, err)
	built := time.Now()
	must(t, p.Apply(Dir))
	t.Logf("%d targets: build %v, apply %v", len(p.targets), built.Sub(start), time.Since(built))
	for _, warning := range p.Warnings {
		t.Logf("warning: %s", warning)
	}
	return p
}

func mounts(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile("/proc/thread-self/mountinfo")
	must(t, err)
	return string(data)
}

func TestApplyRefusesASharedNamespace(t *testing.T) {
	if !inside(t) {
		return
	}
	p, err := Build(hostOptions(newAuthority(t, sessionName)))
	must(t, err)
	// A peer group of this namespace alone: nothing of the host is in it.
	must(t, unix.Mount("", "/run", "", unix.MS_SHARED, ""))
	before := mounts(t)
	if err := p.Apply(Dir); err == nil || !strings.Contains(err.Error(), `"/run" is shared`) {
		t.Fatalf("error %v", err)
	}
	if mounts(t) != before {
		t.Fatal("something was mounted")
	}
}

func TestApplyRefusesAStagingOnDisk(t *testing.T) {
	if !inside(t) {
		return
	}
	p, err := Build(hostOptions(newAuthority(t, sessionName)))
	must(t, err)
	if err := p.Apply("/etc"); err == nil || !strings.Contains(err.Error(), "not on a tmpfs") {
		t.Fatalf("error %v", err)
	}
}

func TestCoversCannotBeWritten(t *testing.T) {
	if !inside(t) {
		return
	}
	p := applied(t, hostOptions(newAuthority(t, sessionName)))
	mountsReadOnly := unix.MountSetattr(-1, "", 0, new(unix.MountAttr)) != unix.ENOSYS
	for _, target := range p.targets {
		name := target.path
		if target.kind == hashedKind || target.kind == anchorKind {
			name = filepath.Join(name, copiedCA)
		}
		var st unix.Stat_t
		must(t, unix.Stat(name, &st))
		if st.Uid != 0 || st.Mode&0o222 != 0 {
			t.Errorf("%s is %d's, mode %o", name, st.Uid, st.Mode)
		}
		// Even for root: the mount itself is read-only, since Linux 5.12.
		file, err := os.OpenFile(name, os.O_WRONLY, 0)
		if err == nil {
			file.Close()
		}
		if mountsReadOnly != errors.Is(err, unix.EROFS) {
			t.Errorf("%s is opened for writing: %v", name, err)
		}
	}
}

// What is in a hashed directory and not copied is still there, with its own rights.
func TestCarriedEntriesStayTheOriginals(t *testing.T) {
	if !inside(t) {
		return
	}
	must(t, unix.Mount("tmpfs", "/etc/ssl/certs", "tmpfs", 0, "mode=755"))
	must(t, os.MkdirAll("/etc/ssl/certs/sub/deep", 0o755))
	must(t, os.WriteFile("/etc/ssl/certs/sub/deep/file", []byte("deep"), 0o640))
	must(t, os.WriteFile("/etc/ssl/certs/private.pem", []byte("key"), 0o600))
	must(t, os.WriteFile("/etc/ssl/certs/ca-certificates.crt", []byte("old"), 0o644))
	a := newAuthority(t, sessionName)
	applied(t, hostOptions(a))
	for name, want := range map[string]string{"sub/deep/file": "deep", "private.pem": "key"} {
		if data, err := os.ReadFile("/etc/ssl/certs/" + name); err != nil || string(data) != want {
			t.Errorf("%s: %q %v", name, data, err)
		}
	}
	info, err := os.Stat("/etc/ssl/certs/private.pem")
	must(t, err)
	if info.Mode().Perm() != 0o600 {
		t.Errorf("private file has mode %v", info.Mode())
	}
	data, err := os.ReadFile("/etc/ssl/certs/ca-certificates.crt")
	must(t, err)
	if !strings.HasSuffix(string(data), string(a.pem())) {
		t.Error("the bundle inside is not the merged one")
	}
}

// The hash of every certificate of the host is the name OpenSSL gave it.
func TestSubjectHashOfEveryHostRoot(t *testing.T) {
	names, err := filepath.Glob("/etc/ssl/certs/????????.[0-9]")
	must(t, err)
	if len(names) < 50 {
		t.Fatalf("only %d hashed names on this host", len(names))
	}
	for _, name := range names {
		data, err := os.ReadFile(name)
		must(t, err)
		ca, err := parseCA(data)
		if err != nil {
			continue // a name that Go's parser refuses has no bearing on ours
		}
		hash, err := subjectHash(ca.RawSubject)
		if got := fmt.Sprintf("%08x", hash); err != nil || got != strings.SplitN(filepath.Base(name), ".", 2)[0] {
			t.Errorf("%s: %s %v", name, got, err)
		}
	}
}
