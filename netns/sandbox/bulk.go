// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"

	"golang.org/x/sys/unix"
)

// bulkLimit is the longest bulk body, in bytes. The longest real one is an
// environment of 2 MiB (the kernel's limit) and two bundles of certificates.
const bulkLimit = 64 << 20

// A bulk body is a sealed memfd: parts, each a length of 8 bytes and its bytes.
// The first part is JSON, the others are as they are.

// newBulk makes a bulk body of header and blobs and returns its descriptor.
func newBulk(header any, blobs ...[]byte) (int, error) {
	text, err := json.Marshal(header)
	if err != nil {
		return -1, fmt.Errorf("encode bulk: %w", err)
	}
	fd, err := unix.MemfdCreate("bulk", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return -1, fmt.Errorf("make bulk: %w", err)
	}
	if err := fillBulk(fd, append([][]byte{text}, blobs...)); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("fill bulk: %w", err)
	}
	return fd, nil
}

func fillBulk(fd int, parts [][]byte) error {
	var all []byte
	for _, part := range parts {
		all = binary.LittleEndian.AppendUint64(all, uint64(len(part)))
		all = append(all, part...)
	}
	for len(all) > 0 {
		n, err := unix.Write(fd, all)
		if err != nil {
			return err
		}
		all = all[n:]
	}
	_, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS,
		unix.F_SEAL_SEAL|unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_WRITE)
	return err
}

// readBulk decodes the first part of the bulk body fd into header and returns
// the others, of which there must be count. It leaves fd open.
func readBulk(fd int, header any, count int) ([][]byte, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, fmt.Errorf("read bulk: %w", err)
	}
	if st.Size > bulkLimit {
		return nil, fmt.Errorf("read bulk: %w", unix.EFBIG)
	}
	all := make([]byte, st.Size)
	for at := 0; at < len(all); {
		n, err := unix.Pread(fd, all[at:], int64(at))
		if err == nil && n == 0 {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return nil, fmt.Errorf("read bulk: %w", err)
		}
		at += n
	}
	parts, err := splitBulk(all)
	if err != nil || len(parts) != count+1 {
		return nil, fmt.Errorf("read bulk: %d parts of %d: %w", len(parts), count+1, unix.EBADMSG)
	}
	if err := json.Unmarshal(parts[0], header); err != nil {
		return nil, fmt.Errorf("decode bulk: %w", err)
	}
	return parts[1:], nil
}

func splitBulk(all []byte) (parts [][]byte, err error) {
	for len(all) > 0 {
		if len(all) < 8 {
			return nil, unix.EBADMSG
		}
		size := binary.LittleEndian.Uint64(all)
		if all = all[8:]; size > uint64(len(all)) {
			return nil, unix.EBADMSG
		}
		parts = append(parts, all[:size])
		all = all[size:]
	}
	return parts, nil
}
