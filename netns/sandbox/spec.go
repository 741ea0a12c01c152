// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"fmt"
	"os"
	"path"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/phantom-ns/phantom-ns/netns"
)

// ListenerPort is the TCP port of the listeners on 127.0.0.1 and ::1. It is
// below 1024, so that the agent can never bind it on another address.
const ListenerPort = netns.ListenerPort

// dnsPort is where the DNS stub is asked (RFC 1035 section 4.2).
const dnsPort = 53

// forwardLimit is the most forwarded ports: their sockets, two each, and the
// others share one message.
const forwardLimit = 100

// What Spec.HomeMode may be; empty is HomeOverlay.
const (
	HomeOverlay  = "overlay"   // writes go to memory and are discarded
	HomeReadOnly = "read-only" // writes are refused
)

// What Spec.Permit may hold.
const (
	PermitNestedSandbox = "nested_sandbox" // namespaces and mounts
	PermitPtrace        = "ptrace"
	PermitIOUring       = "io_uring"
)

// Config is what Start needs. Stdin, Stdout and Stderr become blocking where they
// reach the agent as they are: pipes and /dev/null. A terminal becomes one of the
// session's own; regular files, sockets and other devices become pipes; a folder
// is refused.
type Config struct {
	Cgroup     *os.File         // directory of the session's leaf in cgroup v2
	Namespace  *netns.Namespace // the session's
	Spec       Spec
	Stdin      *os.File // nil is /dev/null, here and below
	Stdout     *os.File
	Stderr     *os.File
	Streams    *Streams  // set: in the place of Stdin, Stdout and Stderr
	Attendant  Attendant // who holds the other end of Streams
	Executable string    // of init; empty is /proc/self/exe
}

// Spec is the agent's surroundings.
type Spec struct {
	User     User
	Dir      string   // working directory: absolute, without links
	DirRead  bool     // it is read-only; else it is written for real
	Hostname string   // empty keeps the host's
	IPv6     bool     // whether the namespace has it
	Forward  []uint16 // TCP ports opened inside on 127.0.0.1 and ::1
	Write    []string // more absolute paths written for real
	Protect  []string // absolute paths of folders that are read-only all the same
	Hide     []string // absolute paths covered by something empty
	Expose   []string // absolute paths shown, read-only, that a cover would hide
	HomeMode string
	Permit   []string
	Memlock  *unix.Rlimit // the agent's limit of locked memory, in bytes; nil keeps the supervisor's
}

// User is who the agent runs as; never uid 0.
type User struct {
	Name, Home, Shell string
	UID, GID          int
	Groups            []int // supplementary
}

// Launch is what the agent is given and what stands in its files.
type Launch struct {
	Argv        []string
	Path        string   // of the program; empty: Argv[0] is searched in PATH of Env
	Env         []string // the whole environment
	CA          []byte   // PEM, the session's
	SystemRoots []byte   // PEM, the host's
	Hosts       []byte   // /etc/hosts
	ResolvConf  []byte   // /etc/resolv.conf
	Nsswitch    []byte   // /etc/nsswitch.conf
	Covers      []Cover
	Given       []CoverFile // files of the session's own, in GivenDir; for everyone in it to read
}

// Cover is a copy that the agent sees in the place of a file or folder of the
// host. It is in memory, and writable where the place would be.
type Cover struct {
	Path     string // absolute, without links
	UID, GID int
	Mode     uint32 // permission bits

	Content []byte // of a file
	Folder  bool
	Files   []CoverFile // all that is in a folder
}

// CoverFile is a file in the copy of a folder.
type CoverFile struct {
	Name     string
	UID, GID int
	Mode     uint32
	Content  []byte
}

// Status is how the agent ended: Signal when it is not 0, else Code.
type Status struct {
	Code   int
	Signal syscall.Signal
}

// specBody is the bulk of kindSpec.
type specBody struct {
	Spec     Spec
	Outside  map[string]uint64 // the supervisor's namespaces: kind to inode
	Net      uint64            // inode of the session's network namespace
	Terminal *Terminal         // nil: none of 0, 1, 2 is one
}

// launchBody is the first part of the bulk of kindLaunch.
type launchBody struct {
	Argv    []string
	Path    string
	Env     []string
	Sockets []string // pathname sockets bound on the host
	Covers  []Cover
	Given   []CoverFile
}

// Terminal says which descriptors become a terminal of the session's own, and
// how it is set.
type Terminal struct {
	FDs  []int
	Mode unix.Termios
	Size unix.Winsize
}

// check refuses what no stage could make sense of.
func (s *Spec) check() error {
	switch {
	case s.User.UID <= 0 || s.User.GID < 0:
		return fmt.Errorf("run agent as uid %d, gid %d: %w", s.User.UID, s.User.GID, unix.EPERM)
	case !slices.Contains([]string{"", HomeOverlay, HomeReadOnly}, s.HomeMode):
		return fmt.Errorf("home mode %q: %w", s.HomeMode, unix.EINVAL)
	case len(s.Forward) > forwardLimit:
		return fmt.Errorf("forward %d ports, more than %d: %w", len(s.Forward), forwardLimit, unix.E2BIG)
	}
	for _, name := range s.Permit {
		if !slices.Contains([]string{PermitNestedSandbox, PermitPtrace, PermitIOUring}, name) {
			return fmt.Errorf("permit %q: %w", name, unix.EINVAL)
		}
	}
	for i, port := range s.Forward {
		if port == 0 || port == dnsPort || port == ListenerPort || slices.Contains(s.Forward[:i], port) {
			return fmt.Errorf("forward port %d: %w", port, unix.EADDRINUSE)
		}
	}
	return s.checkPaths()
}

func (s *Spec) checkPaths() error {
	all := append([]string{s.Dir}, s.Write...)
	all = slices.Concat(all, s.Protect, s.Hide, s.Expose)
	if s.User.Home != "" {
		all = append(all, s.User.Home)
	}
	for _, p := range all {
		if !path.IsAbs(p) {
			return fmt.Errorf("path %q is not absolute: %w", p, unix.EINVAL)
		}
	}
	return nil
}

func (s *Spec) permits(name string) bool { return slices.Contains(s.Permit, name) }
