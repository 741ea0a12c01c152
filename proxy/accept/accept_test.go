// SPDX-License-Identifier: Apache-2.0

package accept

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// failing is an accept that fails with errs, one after the other, and then
// gives 7.
func failing(errs ...error) func() (int, error) {
	return func() (int, error) {
		if len(errs) == 0 {
			return 7, nil
		}
		err := errs[0]
		errs = errs[1:]
		return 0, &net.OpError{Op: "accept", Err: err}
	}
}

// D7: the server goes on, and does not spin meanwhile.
func TestD7ShortagePasses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var text bytes.Buffer
		log, began := slog.New(slog.NewTextHandler(&text, nil)), time.Now()
		conn, err := Next(t.Context(), failing(syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS), log)
		if conn != 7 || err != nil {
			t.Errorf("accepted %d, %v", conn, err)
		}
		if waited := time.Since(began); waited != (5+10+20)*time.Millisecond {
			t.Errorf("after %v", waited)
		}
		if lines := strings.Count(text.String(), "too many open files"); lines != 2 || strings.Count(text.String(), "\n") != 3 {
			t.Errorf("logged %s", text.String())
		}
	})
}

func TestOtherErrorsEnd(t *testing.T) {
	for _, want := range []error{syscall.EBADF, syscall.EINVAL, net.ErrClosed} {
		if _, err := Next(t.Context(), failing(want), slog.New(slog.DiscardHandler)); !errors.Is(err, want) {
			t.Errorf("got %v, want %v", err, want)
		}
	}
}

func TestEndDuringAPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if _, err := Next(ctx, failing(syscall.EMFILE), slog.New(slog.DiscardHandler)); !errors.Is(err, syscall.EMFILE) || ctx.Err() == nil {
			t.Errorf("got %v", err)
		}
	})
}
