// SPDX-License-Identifier: Apache-2.0

package secret

import (
	"context"
	"errors"
	"io/fs"
)

// causes are the refusals that a caller may have something to say about: their
// identity crosses the facts pipe as a word beside the text. An error that is
// several has the first: what a person can act on stands before what merely
// happened (a locked collection is told at the deadline, and is no timeout).
var causes = []struct {
	word  string
	cause error
}{
	{"root", ErrRoot}, {"unsupported", ErrUnsupported}, {"unsafe", ErrUnsafe}, {"unset", ErrUnset},
	{"elsewhere", ErrElsewhere}, {"absent", ErrAbsent}, {"ambiguous", ErrAmbiguous}, {"locked", ErrLocked}, {"no_service", ErrNoService},
	{"passphrase", ErrPassphrase}, {"wrong_passphrase", ErrWrongPassphrase}, {"no_passphrase", ErrNoPassphrase}, {"interrupted", ErrInterrupted},
	{"no_key", ErrNoKey}, {"key", ErrKey}, {"damaged", ErrDamaged}, {"version", ErrVersion},
	{"empty", ErrEmpty}, {"short", ErrShort}, {"long", ErrLong}, {"newline", ErrNewline}, {"nul", ErrNUL},
	{"control", ErrControl}, {"space", ErrSpace}, {"encoding", ErrEncoding},
	{"timeout", context.DeadlineExceeded}, {"missing", fs.ErrNotExist}, {"denied", fs.ErrPermission},
}

func causeOf(err error) string {
	for _, c := range causes {
		if errors.Is(err, c.cause) {
			return c.word
		}
	}
	return ""
}

func causeNamed(word string) error {
	for _, c := range causes {
		if c.word == word {
			return c.cause
		}
	}
	return nil
}

// causedRefusal is a Refusal that still is the error it was in the helper.
type causedRefusal struct {
	Refusal
	cause error
}

func (r *causedRefusal) Unwrap() []error { return []error{&r.Refusal, r.cause} }
