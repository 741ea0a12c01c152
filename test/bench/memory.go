// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
)

// footprint is what a node takes, in KiB, and how many descriptors.
type footprint struct {
	daemon, pool           int // PSS
	daemonFiles, poolFiles int
	kernel                 int // slab, per-CPU memory: of the whole machine
	bpf                    int // all programs and maps of the machine
}

func (d *daemon) footprint(ctx context.Context) (f footprint, err error) {
	status, err := d.client.Status(ctx)
	if err != nil {
		return f, err
	}
	var errs [6]error
	f.daemon, errs[0] = pss(status.PID)
	f.pool, errs[1] = pss(status.Pool.PID)
	f.daemonFiles, errs[2] = descriptors(status.PID)
	f.poolFiles, errs[3] = descriptors(status.Pool.PID)
	f.kernel, errs[4] = kernelMemory()
	f.bpf, errs[5] = bpfMemory()
	return f, errors.Join(errs[:]...)
}

// less is what has come since another.
func (f footprint) less(before footprint) footprint {
	return footprint{
		f.daemon - before.daemon, f.pool - before.pool, f.daemonFiles - before.daemonFiles,
		f.poolFiles - before.poolFiles, f.kernel - before.kernel, f.bpf - before.bpf,
	}
}

func descriptors(pid int) (int, error) {
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	return len(entries), err
}

// kernelMemory is what the kernel has for its own objects, in KiB: proc_meminfo(5).
func kernelMemory() (kib int, err error) {
	data, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(data)) {
		fields := strings.Fields(line)
		if fields[0] == "Slab:" || fields[0] == "Percpu:" {
			n, err := strconv.Atoi(fields[1])
			if err != nil {
				return 0, err
			}
			kib += n
		}
	}
	return kib, nil
}

// bpfMemory adds up what the kernel says of each program and map. One that goes
// while we look is not counted.
func bpfMemory() (kib int, err error) {
	total := uint64(0)
	for id := ebpf.ProgramID(0); ; {
		if id, err = ebpf.ProgramGetNextID(id); err != nil {
			break
		}
		total += programMemory(id)
	}
	for id := ebpf.MapID(0); ; {
		if id, err = ebpf.MapGetNextID(id); err != nil {
			break
		}
		total += mapMemory(id)
	}
	if errors.Is(err, os.ErrNotExist) {
		err = nil
	}
	return int(total / 1024), err
}

func programMemory(id ebpf.ProgramID) uint64 {
	p, err := ebpf.NewProgramFromID(id)
	if err != nil {
		return 0
	}
	defer p.Close()
	info, err := p.Info()
	if err != nil {
		return 0
	}
	n, _ := info.Memlock()
	return n
}

func mapMemory(id ebpf.MapID) uint64 {
	m, err := ebpf.NewMapFromID(id)
	if err != nil {
		return 0
	}
	defer m.Close()
	info, err := m.Info()
	if err != nil {
		return 0
	}
	n, _ := info.Memlock()
	return n
}
