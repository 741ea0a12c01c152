// SPDX-License-Identifier: Apache-2.0

package rig

import (
	"debug/dwarf"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"os"
	"testing"
)

// dead is the state of a goroutine that has ended and waits to be used again
// (_Gdead of the runtime).
const dead = 6

// Goroutines counts those of a process that runs a Go program, the runtime's own
// too. It reads the runtime's list in the process's memory, for which it needs
// root; the program is not stripped.
func Goroutines(t testing.TB, pid int) int {
	t.Helper()
	count, err := goroutines(pid)
	if err != nil {
		t.Fatalf("rig: goroutines of %d: %v", pid, err)
	}
	return count
}

func goroutines(pid int) (int, error) {
	program, err := elf.Open(fmt.Sprintf("/proc/%d/exe", pid))
	if err != nil {
		return 0, err
	}
	defer program.Close()
	list, err := symbolAddress(program, "runtime.allgs")
	if err != nil {
		return 0, err
	}
	state, err := memberOffset(program, "runtime.g", "atomicstatus")
	if err != nil {
		return 0, err
	}
	memory, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
	if err != nil {
		return 0, err
	}
	defer memory.Close()
	all := make([]byte, 16) // a slice: where it begins, its length
	if _, err := memory.ReadAt(all, list); err != nil {
		return 0, err
	}
	pointers := make([]byte, 8*binary.NativeEndian.Uint64(all[8:]))
	if _, err := memory.ReadAt(pointers, int64(binary.NativeEndian.Uint64(all))); err != nil {
		return 0, err
	}
	living := 0
	for word := make([]byte, 4); len(pointers) > 0; pointers = pointers[8:] {
		if _, err := memory.ReadAt(word, int64(binary.NativeEndian.Uint64(pointers))+state); err != nil {
			return 0, err
		}
		if binary.NativeEndian.Uint32(word) != dead {
			living++
		}
	}
	return living, nil
}

func symbolAddress(program *elf.File, name string) (int64, error) {
	symbols, err := program.Symbols()
	if err != nil {
		return 0, err
	}
	for _, symbol := range symbols {
		if symbol.Name == name {
			return int64(symbol.Value), nil
		}
	}
	return 0, fmt.Errorf("no symbol %s", name)
}

func memberOffset(program *elf.File, structure, member string) (int64, error) {
	data, err := program.DWARF()
	if err != nil {
		return 0, err
	}
	for r := data.Reader(); ; {
		entry, err := r.Next()
		if err != nil || entry == nil {
			return 0, fmt.Errorf("no type %s: %w", structure, err)
		}
		if entry.Tag != dwarf.TagStructType || entry.Val(dwarf.AttrName) != structure {
			continue
		}
		kind, err := data.Type(entry.Offset)
		if err != nil {
			return 0, err
		}
		for _, field := range kind.(*dwarf.StructType).Field {
			if field.Name == member {
				return field.ByteOffset, nil
			}
		}
		return 0, fmt.Errorf("%s has no %s", structure, member)
	}
}
