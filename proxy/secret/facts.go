// SPDX-License-Identifier: Apache-2.0

package secret

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Facts are what was recorded with a credential and is not secret. Only store:
// references have any. The supervisor, which never sees a value, learns from
// them how to resolve the policy, and from a refusal why there is none.
type Facts struct {
	Hosts    []string  `json:"hosts,omitempty"`
	Provider string    `json:"provider,omitempty"`
	Created  time.Time `json:"created,omitzero"`
}

// factsLine is the one line on FactsFD: a reply without its length and value.
type factsLine struct {
	OK    bool   `json:"ok"`
	Error string `json:"error,omitempty"`
	Cause string `json:"cause,omitempty"`
	Facts
}

// causes are the refusals that a caller may have something to say about: their
// identity crosses the pipe beside their text.
var causes = map[string]error{
	"absent": ErrAbsent, "ambiguous": ErrAmbiguous, "locked": ErrLocked, "unset": ErrUnset, "unsafe": ErrUnsafe,
	"missing": fs.ErrNotExist, "denied": fs.ErrPermission, "unsupported": ErrUnsupported, "empty": ErrEmpty, "newline": ErrNewline, "short": ErrShort,
	"no_key": ErrNoKey, "key": ErrKey, "timeout": context.DeadlineExceeded,
}

func causeOf(err error) string {
	for word, cause := range causes {
		if errors.Is(err, cause) {
			return word
		}
	}
	return ""
}

// causedRefusal is a Refusal that still is the error it was in the helper.
type causedRefusal struct {
	Refusal
	cause error
}

func (r *causedRefusal) Unwrap() []error { return []error{&r.Refusal, r.cause} }

// ReadFacts reads what one helper wrote on FactsFD. It returns a *Refusal when
// the helper had no credential (which is also ErrAbsent, ErrLocked … where it
// was), and ErrFrame when it died or wrote something
// else.
func ReadFacts(r io.Reader) (Facts, error) {
	var line factsLine
	if err := readHeader(r, &line, maxHeader); err != nil {
		return Facts{}, fmt.Errorf("read facts: %w", err)
	}
	if !line.OK {
		refusal := Refusal{oneLine(line.Error, maxRefusal)}
		if cause, ok := causes[line.Cause]; ok {
			return Facts{}, &causedRefusal{refusal, cause}
		}
		return Facts{}, &refusal
	}
	return line.Facts, nil
}

// openFacts takes FactsFD. A caller that wants no facts gives no pipe there,
// and then the number may be the runtime's own poller.
func openFacts() *os.File {
	var st unix.Stat_t
	if unix.Fstat(FactsFD, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFIFO {
		return nil
	}
	return os.NewFile(FactsFD, "facts")
}

// tellFacts is the other end of ReadFacts.
func tellFacts(w *os.File, e Entry, err error) error {
	if w == nil {
		return nil
	}
	defer w.Close()
	line := factsLine{OK: err == nil, Facts: Facts{e.Hosts, e.Provider, e.Created}}
	if err != nil {
		line.Error, line.Cause = oneLine(err.Error(), maxRefusal), causeOf(err)
	}
	if err := writeHeader(w, line, maxHeader); err != nil {
		return fmt.Errorf("tell facts: %w", err)
	}
	return nil
}
