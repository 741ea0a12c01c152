// SPDX-License-Identifier: Apache-2.0

package secret

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// memory is whole pages that are locked and not dumped. length bytes of data
// are in use.
type memory struct {
	data   []byte
	length int
	wiped  atomic.Bool
}

// allocate maps pages for at least size > 0 bytes.
func allocate(size int) (*memory, error) {
	page := os.Getpagesize()
	size = (size + page - 1) / page * page
	data, err := mapSecret(size)
	if err != nil {
		// Before 5.14, with secretmem.enable=0 (the default before 6.5), or
		// beyond its limit: locked anonymous memory, which says why it fails.
		data, err = mapLocked(size)
	}
	if err != nil {
		return nil, fmt.Errorf("lock memory for a credential: %w", err)
	}
	return &memory{data: data}, nil
}

// mapSecret maps memory that the kernel takes out of its direct map: neither
// ptrace nor /proc/PID/mem reads it, root's included. Its pages are locked and
// undumped by nature.
func mapSecret(size int) ([]byte, error) {
	fd, err := unix.MemfdSecret(unix.O_CLOEXEC)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	if err := unix.Ftruncate(fd, int64(size)); err != nil {
		return nil, err
	}
	return unix.Mmap(fd, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
}

func mapLocked(size int) ([]byte, error) {
	data, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return nil, err
	}
	err = errors.Join(
		unix.Madvise(data, unix.MADV_DONTDUMP),
		unix.Madvise(data, unix.MADV_DONTFORK),
		unix.Mlock(data),
	)
	if err != nil {
		unix.Munmap(data)
		return nil, err
	}
	return data, nil
}

// wipe overwrites the bytes and puts the shared page of zeros in their place.
// The addresses stay mapped on purpose: a slice revealed before reads zeros,
// where unmapped memory would crash the process and reused memory would hand
// out another credential.
func (m *memory) wipe() {
	if !m.wiped.CompareAndSwap(false, true) {
		return
	}
	clear(m.data)
	// Best effort: the bytes are gone already.
	unix.MmapPtr(-1, 0, unsafe.Pointer(&m.data[0]), uintptr(len(m.data)),
		unix.PROT_READ, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_FIXED)
}

// readLocked reads r to its end straight into locked memory; ErrLong when there
// is more than a credential with its line end. The value is empty when an error
// is returned.
func readLocked(r io.Reader) (Value, error) {
	const limit = MaxLength + len("\r\n")
	m, err := allocate(1)
	if err != nil {
		return Value{}, err
	}
	for {
		if m.length > limit {
			m.wipe()
			return Value{}, ErrLong
		}
		if m.length == len(m.data) {
			if m, err = m.grow(); err != nil {
				return Value{}, err
			}
		}
		n, err := r.Read(m.data[m.length:])
		m.length += n
		if err == io.EOF && m.length <= limit {
			return Value{m}, nil
		}
		if err != nil && err != io.EOF {
			m.wipe()
			return Value{}, err
		}
	}
}

// grow moves the bytes into twice the room; the old memory is wiped.
func (m *memory) grow() (*memory, error) {
	defer m.wipe()
	wider, err := allocate(2 * len(m.data))
	if err != nil {
		return nil, err
	}
	wider.length = copy(wider.data, m.data[:m.length])
	return wider, nil
}
