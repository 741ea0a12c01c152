// SPDX-License-Identifier: Apache-2.0

package rig

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"github.com/phantom-ns/phantom-ns/netns/sandbox/mountinfo"
)

// Traces is what exists in the kernel and on the machine that a session could
// have left there, one line each: processes named for us, our cgroups, our
// state, network namespaces, mounts, BPF programs, maps and links.
type Traces []string

// Snapshot takes stock. Take one before a session for [Leftovers].
func Snapshot(t testing.TB) Traces {
	t.Helper()
	traces, err := snapshot()
	if err != nil {
		t.Fatalf("rig: take stock: %v", err)
	}
	return traces
}

// Leftovers returns what exists now and did not in before. The kernel frees
// BPF programs, cgroups and namespaces from work queues some time after their
// last user has gone and tells nobody, so it looks again for up to five
// seconds before it calls something left. Packages that use it must not be
// tested at the same time as others that start sessions (go test -p 1).
func Leftovers(t testing.TB, before Traces) Traces {
	t.Helper()
	deadline := time.NewTimer(5 * time.Second)
	defer deadline.Stop()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		left := Snapshot(t).without(before)
		if len(left) == 0 {
			return nil
		}
		select {
		case <-deadline.C:
			return left
		case <-again.C:
		}
	}
}

func (traces Traces) without(before Traces) Traces {
	return slices.DeleteFunc(traces, func(trace string) bool { return slices.Contains(before, trace) })
}

func snapshot() (Traces, error) {
	var all Traces
	for _, take := range []func() (Traces, error){processes, cgroups, sessions, mounts, programs, maps, links} {
		traces, err := take()
		if err != nil {
			return nil, err
		}
		all = append(all, traces...)
	}
	return all, nil
}

// processes lists our processes by name, and the network namespace of every
// process.
func processes() (Traces, error) {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, err
	}
	var out Traces
	for _, dir := range dirs {
		// Both are gone when the process is.
		line, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
		if name, _, _ := strings.Cut(string(line), "\x00"); strings.HasPrefix(filepath.Base(name), "phantom-ns") {
			out = append(out, "process "+filepath.Base(dir)+" "+name)
		}
		if ns, err := os.Readlink(filepath.Join(dir, "ns", "net")); err == nil {
			out = append(out, "namespace "+ns)
		}
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// cgroups lists the session directories below our parent, in every cgroup
// mount.
func cgroups() (Traces, error) {
	all, err := mountinfo.Read()
	if err != nil {
		return nil, err
	}
	var out Traces
	for _, m := range all {
		if m.Kind != "cgroup2" && m.Kind != "cgroup" { // v1 limits processes on hybrid hosts
			continue
		}
		parent := filepath.Join(m.Path, "phantom-ns")
		err := filepath.WalkDir(parent, func(path string, d fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err == nil && d.IsDir() && path != parent {
				out = append(out, "cgroup "+path)
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

func sessions() (Traces, error) {
	entries, err := os.ReadDir("/run/phantom-ns")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var out Traces
	for _, e := range entries {
		out = append(out, "state "+e.Name())
	}
	return out, nil
}

func mounts() (Traces, error) {
	all, err := mountinfo.Read()
	var out Traces
	for _, m := range all {
		out = append(out, "mount "+m.Kind+" "+m.Path)
	}
	return out, err
}

func programs() (Traces, error) {
	return ids("program", func(last uint32) (uint32, error) {
		id, err := ebpf.ProgramGetNextID(ebpf.ProgramID(last))
		return uint32(id), err
	})
}

func maps() (Traces, error) {
	return ids("map", func(last uint32) (uint32, error) {
		id, err := ebpf.MapGetNextID(ebpf.MapID(last))
		return uint32(id), err
	})
}

func ids(kind string, next func(uint32) (uint32, error)) (Traces, error) {
	var out Traces
	for id := uint32(0); ; {
		var err error
		id, err = next(id)
		if errors.Is(err, fs.ErrNotExist) {
			return out, nil
		}
		if err != nil {
			return nil, fmt.Errorf("list bpf %ss: %w", kind, err)
		}
		out = append(out, fmt.Sprintf("bpf %s %d", kind, id))
	}
}

func links() (Traces, error) {
	var out Traces
	all := new(link.Iterator)
	defer all.Close()
	for all.Next() {
		out = append(out, fmt.Sprintf("bpf link %d", all.ID))
	}
	if err := all.Err(); err != nil {
		return nil, fmt.Errorf("list bpf links: %w", err)
	}
	return out, nil
}
