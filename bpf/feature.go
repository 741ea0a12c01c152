// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"errors"
	"fmt"
	"math"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/features"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// ErrNotSupported is what an error is (errors.Is) when the kernel lacks a feature.
var ErrNotSupported = ebpf.ErrNotSupported

// FeatureError names a feature the kernel lacks.
type FeatureError struct {
	Feature string
	Since   string // the first kernel version that has it
	Err     error  // what the probe said
}

// Error names the feature and the version that brought it.
func (e *FeatureError) Error() string {
	return fmt.Sprintf("%s: needs kernel %s: %v", e.Feature, e.Since, e.Err)
}

// Unwrap returns what the probe said, which is [ErrNotSupported].
func (e *FeatureError) Unwrap() error { return e.Err }

type feature struct {
	name  string
	since string
	probe func() error
}

// fullFeatures are what the full object needs beyond the floor.
var fullFeatures = []feature{
	{"network namespace cookie in sock_ops", "5.15", helper(ebpf.SockOps, asm.FnGetNetnsCookie)},
	{"errno from socket address hooks (bpf_set_retval)", "6.1", setRetval(ebpf.CGroupSockAddr, ebpf.AttachCGroupInet4Connect)},
	{"errno from sock_create (bpf_set_retval)", "6.1", setRetval(ebpf.CGroupSock, ebpf.AttachCGroupInetSockCreate)},
}

// floorFeatures are what either object needs. All of them together are 5.9; 5.10 is the first that was tried.
var floorFeatures = []feature{
	{"cgroup socket option hooks (CONFIG_CGROUP_BPF)", "5.3", programType(ebpf.CGroupSockopt)},
	{"ring buffer map", "5.8", mapType(ebpf.RingBuf)},
	{"socket storage in socket address hooks", "5.8", helper(ebpf.CGroupSockAddr, asm.FnSkStorageGet)},
	{"socket storage in sock_create", "5.9", helper(ebpf.CGroupSock, asm.FnSkStorageGet)},
}

// fenceFeatures are what guards of pods need; without, clsact filters serve.
var fenceFeatures = []feature{
	{"programs at a device that outlive their process (tcx links)", "6.6", tcx},
}

// peerFeatures are what [Peers] need. Without, nobody stops: the mounts and the filter of system calls stand alone.
var peerFeatures = []feature{
	{"LSM programs at a cgroup (CONFIG_BPF_LSM, `bpf` in `lsm=`)", "6.0", func() error { _, err := askKernel(); return err }},
}

// missingFence tells a kernel without tcx from other faults.
func missingFence(err error) error {
	if !errors.Is(err, ErrNotSupported) {
		return nil
	}
	return &FeatureError{Feature: fenceFeatures[0].name, Since: fenceFeatures[0].since, Err: err}
}

// tcx asks for a link to a device that cannot exist; the library tells what that says from a kernel without.
func tcx() error {
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.SchedCLS, License: "GPL", Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
	})
	if err != nil {
		return err
	}
	defer p.Close()
	l, err := link.AttachTCX(link.TCXOptions{Interface: math.MaxInt32, Program: p, Attach: ebpf.AttachTCXIngress})
	if err == nil {
		return l.Close()
	}
	if errors.Is(err, unix.ENODEV) {
		return nil
	}
	return err
}

// steerFeatures are what the second layer needs.
var steerFeatures = []feature{
	{"sk_lookup programs", "5.9", programType(ebpf.SkLookup)},
}

func helper(program ebpf.ProgramType, function asm.BuiltinFunc) func() error {
	return func() error { return features.HaveProgramHelper(program, function) }
}

// setRetval loads a program that uses the helper. The library's probe leaves the argument unset, which the verifier of 7.2
// takes for a fault of the program instead of an answer.
func setRetval(program ebpf.ProgramType, attach ebpf.AttachType) func() error {
	return func() error {
		p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
			Type: program, AttachType: attach, License: "GPL",
			Instructions: asm.Instructions{
				asm.Mov.Imm(asm.R1, 0), asm.FnSetRetval.Call(), asm.Mov.Imm(asm.R0, 1), asm.Return(),
			},
		})
		if errors.Is(err, unix.EINVAL) { // unknown helper
			return fmt.Errorf("%w: %w", ErrNotSupported, err)
		}
		if err != nil {
			return err
		}
		return p.Close()
	}
}

func programType(program ebpf.ProgramType) func() error {
	return func() error { return features.HaveProgramType(program) }
}

func mapType(m ebpf.MapType) func() error {
	return func() error { return features.HaveMapType(m) }
}

// check returns the first feature that is missing as a [FeatureError], or the fault that kept a probe from telling.
func check(list []feature) error {
	for _, feature := range list {
		err := feature.probe()
		if errors.Is(err, ErrNotSupported) {
			return &FeatureError{Feature: feature.name, Since: feature.since, Err: err}
		}
		if err != nil {
			return fmt.Errorf("probe %s: %w", feature.name, err)
		}
	}
	return nil
}

// memcgVersion is 5.11 in the form of LINUX_VERSION_CODE. Maps are charged to the memory cgroup from there on, and to
// RLIMIT_MEMLOCK (often 64 KiB) below.
const memcgVersion = 5<<16 | 11<<8

// raiseMemlock lifts the limit for good where it counts, because sessions are added later.
func raiseMemlock() error {
	version, err := features.LinuxVersionCode()
	if err != nil {
		return fmt.Errorf("read kernel version: %w", err)
	}
	if version >= memcgVersion {
		return nil
	}
	unlimited := unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY}
	if err := unix.Setrlimit(unix.RLIMIT_MEMLOCK, &unlimited); err != nil {
		return fmt.Errorf("raise RLIMIT_MEMLOCK: %w", err)
	}
	return nil
}
