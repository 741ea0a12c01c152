// SPDX-License-Identifier: Apache-2.0

package secret

import (
	"fmt"
	"io"
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

// ReadFacts reads what one helper wrote on FactsFD. It returns a *Refusal when
// the helper had no credential (which is also ErrAbsent, ErrLocked … where it
// was), and ErrFrame when it died or wrote something else.
func ReadFacts(r io.Reader) (Facts, error) {
	var line factsLine
	if err := readHeader(r, &line, maxHeader); err != nil {
		return Facts{}, fmt.Errorf("read facts: %w", err)
	}
	if !line.OK {
		refusal := Refusal{oneLine(line.Error, maxRefusal)}
		if cause := causeNamed(line.Cause); cause != nil {
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
