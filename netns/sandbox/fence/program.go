// SPDX-License-Identifier: Apache-2.0

package fence

import (
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// What a filter answers (seccomp(2)).
const (
	Allow uint32 = unix.SECCOMP_RET_ALLOW
	Kill  uint32 = unix.SECCOMP_RET_KILL_PROCESS
)

// Deny is the answer that makes a call fail with errno.
func Deny(errno unix.Errno) uint32 { return unix.SECCOMP_RET_ERRNO | uint32(errno) }

// Offsets in struct seccomp_data (seccomp(2)), on little-endian machines: of an
// argument the low half, which is all that a call with an int looks at.
const (
	offNumber = 0
	offArch   = 4

	Arg0 = 16
	Arg1 = 24
	Arg2 = 32
)

// Newest is the last system call that was judged here (Linux 7.0). Later ones
// answer ENOSYS, as they do on the kernels of today: a filter of what is refused
// would let them through.
const Newest = unix.SYS_RSEQ_SLICE_YIELD

// Program is a filter in the making. Between its blocks the number of the call
// is in the accumulator; a block about arguments ends in an answer.
type Program []bpf.Instruction

// New returns a filter that has judged architecture and range.
func New() Program {
	return Program{
		bpf.LoadAbsolute{Off: offArch, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: Arch, SkipTrue: 1},
		bpf.RetConstant{Val: Kill}, // another architecture's numbers mean other calls
		bpf.LoadAbsolute{Off: offNumber, Size: 4},
		// Later calls and, on amd64, those of x32 (0x40000000).
		bpf.JumpIf{Cond: bpf.JumpGreaterThan, Val: Newest, SkipFalse: 1},
		bpf.RetConstant{Val: Deny(unix.ENOSYS)},
	}
}

// On adds a block for one system call.
func (p *Program) On(number uint32, block ...bpf.Instruction) {
	*p = append(*p, bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: number, SkipTrue: uint8(len(block))})
	*p = append(*p, block...)
}

// Answer adds the same answer for each of some system calls.
func (p *Program) Answer(answer uint32, numbers ...uint32) {
	for _, number := range numbers {
		p.On(number, bpf.RetConstant{Val: answer})
	}
}

// End adds the answer for every other call.
func (p *Program) End(answer uint32) { *p = append(*p, bpf.RetConstant{Val: answer}) }

// OneOf is a block that answers hit when the argument at offset is one of at
// most 250 values.
func OneOf(offset uint32, values []uint32, hit, miss uint32) []bpf.Instruction {
	block := Program{bpf.LoadAbsolute{Off: offset, Size: 4}}
	for i, v := range values {
		block = append(block, bpf.JumpIf{Cond: bpf.JumpEqual, Val: v, SkipTrue: uint8(len(values) - i)})
	}
	return append(block, bpf.RetConstant{Val: miss}, bpf.RetConstant{Val: hit})
}

// Bits is a block that answers set when the argument at offset has one of the
// bits.
func Bits(offset, bits, set, clear uint32) []bpf.Instruction {
	return []bpf.Instruction{
		bpf.LoadAbsolute{Off: offset, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: bits, SkipFalse: 1},
		bpf.RetConstant{Val: set},
		bpf.RetConstant{Val: clear},
	}
}
