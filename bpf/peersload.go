// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"
)

// kernelFields is what the programs of [Peers] have to know of this kernel, by program.
type kernelFields struct {
	Build    string // of the object and the kernel that it is about
	Absent   string // why the kernel has no such programs; "": it has
	Programs map[string]programFields
}

// programFields says which function of the kernel's a program hangs at, and what its relocated instructions, in their
// order, become.
type programFields struct {
	Hook   btf.TypeID
	Fields []relocated
}

type relocated struct {
	Offset   int16
	Constant int64
}

// fieldsOf reads what is known of the running kernel, and asks it what is not.
func fieldsOf(cache string) (*kernelFields, error) {
	build, err := buildOf()
	if err != nil {
		return nil, err
	}
	if known := readFields(cache, build); known != nil {
		return known, known.absence()
	}
	fields, err := askKernel()
	fields.Build = build
	if err == nil || lastsUntilBoot(err) {
		// What cannot be kept is asked again: an unwritable folder costs time, and no guard.
		_ = fields.write(cache)
	}
	return fields, err
}

func (k *kernelFields) absence() error {
	if k.Absent == "" {
		return nil
	}
	return errors.New(k.Absent)
}

// lastsUntilBoot tells a kernel that has no such programs from one that could not say so now, as where memory or
// descriptors are short. It says EINVAL of a kind of program that it does not know, and EPERM where it lets nobody load
// that kind, root included.
func lastsUntilBoot(err error) bool {
	return errors.Is(err, ErrNotSupported) || errors.Is(err, btf.ErrNotFound) ||
		errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EPERM)
}

// buildOf names the object and the kernel.
func buildOf() (string, error) {
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return "", fmt.Errorf("read kernel version: %w", err)
	}
	hash := sha256.New()
	hash.Write(_LsmBytes)
	hash.Write(uts.Release[:])
	hash.Write(uts.Version[:])
	return hex.EncodeToString(hash.Sum(nil)), nil
}

// readFields returns nil where there is nothing that is known.
func readFields(cache, build string) *kernelFields {
	if cache == "" {
		return nil
	}
	data, err := os.ReadFile(cache)
	if err != nil {
		return nil
	}
	var k kernelFields
	if err := json.Unmarshal(data, &k); err != nil || k.Build != build {
		return nil
	}
	return &k
}

// write replaces the file in one step.
func (k *kernelFields) write(cache string) error {
	if cache == "" {
		return nil
	}
	data, err := json.Marshal(k)
	if err != nil {
		return fmt.Errorf("keep kernel's fields: %w", err)
	}
	fresh, err := os.CreateTemp(filepath.Dir(cache), "."+filepath.Base(cache)+"-*") // mode 0600
	if err != nil {
		return fmt.Errorf("keep kernel's fields: %w", err)
	}
	_, err = fresh.Write(data)
	if err = errors.Join(err, fresh.Close()); err == nil {
		err = os.Rename(fresh.Name(), cache)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("keep kernel's fields: %w", err), os.Remove(fresh.Name()))
	}
	return nil
}

// askKernel looks into the kernel's description of itself, and tries whether it takes such a program at all: one that
// lets everything go on.
func askKernel() (*kernelFields, error) {
	k := &kernelFields{Programs: map[string]programFields{}}
	if err := k.ask(); err != nil {
		return &kernelFields{Absent: err.Error()}, err
	}
	return k, nil
}

func (k *kernelFields) ask() error {
	kernel, err := btf.LoadKernelSpec()
	if err != nil {
		return err
	}
	spec, err := loadLsm()
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(spec.Programs)) { // one kernel, one reason
		program := spec.Programs[name]
		if k.Programs[name], err = locate(kernel, program); err != nil {
			return fmt.Errorf("locate fields of %s: %w", name, err)
		}
		willing := &ebpf.ProgramSpec{Name: name, ByteOrder: program.ByteOrder, Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 1), asm.Return()}}
		p, err := k.load(willing, nil)
		if err != nil {
			return fmt.Errorf("try %s: %w", name, err)
		}
		p.Close()
	}
	return nil
}

// locate finds the hook and the fields of one program.
func locate(kernel *btf.Spec, program *ebpf.ProgramSpec) (programFields, error) {
	var hook *btf.Func
	if err := kernel.TypeByName("bpf_lsm_"+program.AttachTo, &hook); err != nil {
		return programFields{}, err
	}
	id, err := kernel.TypeID(hook)
	if err != nil {
		return programFields{}, err
	}
	moved := relocations(slices.Clone(program.Instructions))
	var wanted []*btf.CORERelocation
	for _, instruction := range moved {
		wanted = append(wanted, btf.CORERelocationMetadata(instruction))
	}
	found := programFields{Hook: id}
	if len(moved) == 0 {
		return found, nil
	}
	fixups, err := btf.CORERelocate(wanted, []*btf.Spec{kernel}, program.ByteOrder, noTypeIDs)
	if err != nil {
		return programFields{}, err
	}
	for i, instruction := range moved {
		if err := fixups[i].Apply(instruction); err != nil {
			return programFields{}, err
		}
		found.Fields = append(found.Fields, relocated{instruction.Offset, instruction.Constant})
	}
	return found, nil
}

// noTypeIDs: only offsets are relocated.
func noTypeIDs(t btf.Type) (btf.TypeID, error) {
	return 0, fmt.Errorf("type id of %s is not known", t.TypeName())
}

// relocations are the instructions to be relocated, in their order.
func relocations(instructions asm.Instructions) []*asm.Instruction {
	var moved []*asm.Instruction
	for i := range instructions {
		if btf.CORERelocationMetadata(&instructions[i]) != nil {
			moved = append(moved, &instructions[i])
		}
	}
	return moved
}

// progLoad is the command BPF_PROG_LOAD of bpf(2), as far as it is used (linux/bpf.h, union bpf_attr). The library loads
// no program for BPF_LSM_CGROUP: it does not look for the hook of one (v0.22).
type progLoad struct {
	programType, count uint32
	instructions       uint64
	license            uint64
	_                  [4]uint32 // log level, size and buffer
	_                  [2]uint32 // kernel version, flags
	name               [16]byte
	_                  uint32 // device
	attachType         uint32
	_                  [9]uint32 // the program's own BTF
	hook               btf.TypeID
	_                  uint32 // the object that the hook is in: 0, the kernel
}

const programTypeLSM = 29 // BPF_PROG_TYPE_LSM

// load loads one program with this kernel's fields.
func (k *kernelFields) load(spec *ebpf.ProgramSpec, maps map[string]*ebpf.Map) (*ebpf.Program, error) {
	code, err := k.link(spec, maps)
	if err != nil {
		return nil, err
	}
	license := []byte("GPL\x00")
	var pinned runtime.Pinner
	defer pinned.Unpin()
	pinned.Pin(&code[0])
	pinned.Pin(&license[0])
	attr := progLoad{
		programType: programTypeLSM, count: uint32(len(code) / asm.InstructionSize),
		instructions: uint64(uintptr(unsafe.Pointer(&code[0]))), license: uint64(uintptr(unsafe.Pointer(&license[0]))),
		attachType: uint32(ebpf.AttachLSMCgroup), hook: k.Programs[spec.Name].Hook,
	}
	copy(attr.name[:len(attr.name)-1], spec.Name)
	const bpfProgLoad = 5
	for {
		fd, _, errno := unix.Syscall(unix.SYS_BPF, bpfProgLoad, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
		if errno == unix.EAGAIN { // a signal came while the verifier was at work
			continue
		}
		if errno != 0 {
			return nil, errno
		}
		return ebpf.NewProgramFromFD(int(fd))
	}
}

// link puts maps and fields into a program's instructions.
func (k *kernelFields) link(spec *ebpf.ProgramSpec, maps map[string]*ebpf.Map) ([]byte, error) {
	instructions := slices.Clone(spec.Instructions)
	moved, fields := relocations(instructions), k.Programs[spec.Name].Fields
	if len(moved) > 0 && len(moved) != len(fields) {
		return nil, fmt.Errorf("%d fields of %d are known", len(fields), len(moved))
	}
	for i, instruction := range moved {
		instruction.Offset, instruction.Constant = fields[i].Offset, fields[i].Constant
	}
	for i := range instructions {
		instruction := &instructions[i]
		if !instruction.IsLoadFromMap() {
			continue
		}
		if err := instruction.AssociateMap(maps[instruction.Reference()]); err != nil {
			return nil, fmt.Errorf("map %s: %w", instruction.Reference(), err)
		}
	}
	var code bytes.Buffer
	if err := instructions.Marshal(&code, spec.ByteOrder); err != nil {
		return nil, err
	}
	return code.Bytes(), nil
}
