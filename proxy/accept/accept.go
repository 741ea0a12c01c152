// SPDX-License-Identifier: Apache-2.0

// Package accept guarantees that a server outlives a shortage: a process or a
// machine that is out of descriptors or memory accepts again when it has some.
package accept

import (
	"context"
	"errors"
	"log/slog"
	"syscall"
	"time"
)

// Pauses before accept is tried again.
const (
	minPause = 5 * time.Millisecond
	maxPause = time.Second
)

// Next returns what from, an Accept, does. It is called again after an error that
// passes. Each of those is logged; the pauses after them grow from 5 ms to a
// second. Ending ctx ends a pause, and with it Next, with that error.
func Next[C any](ctx context.Context, from func() (C, error), log *slog.Logger) (C, error) {
	for pause := minPause; ; pause = min(2*pause, maxPause) {
		conn, err := from()
		if err == nil || ctx.Err() != nil || !passes(err) {
			return conn, err
		}
		log.Warn("accept connection", "error", err, "pause", pause)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return conn, err
		}
	}
}

// passes reports whether accept may succeed later. Those of the protocol are
// of a connection that ended in the queue (accept(2)).
func passes(err error) bool {
	for _, errno := range []syscall.Errno{
		syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM,
		syscall.ECONNABORTED, syscall.EINTR, syscall.EPROTO, syscall.EPERM,
	} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}
