// SPDX-License-Identifier: Apache-2.0

package secret

import (
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// FactsFD is a pipe's write end on which the helper says what is not secret
// about its answer, for [ReadFacts]. The supervisor, which never sees the
// value, learns from it how to resolve the policy, and why there is none.
const FactsFD = 5

// Facts are what was recorded with a credential. Only store: references have
// any.
type Facts struct {
	Hosts    []string  `json:"hosts,omitempty"`
	Provider string    `json:"provider,omitempty"`
	Created  time.Time `json:"created,omitzero"`
}

// factsLine is the one line on FactsFD: a reply without its length and value.
type factsLine struct {
	OK    bool   `json:"ok"`
	Error string `json:"error,omitempty"`
	Facts
}

// ReadFacts reads what one helper wrote on FactsFD. It returns a *Refusal when
// the helper had no credential, and ErrFrame when it died or wrote something
// else.
func ReadFacts(r io.Reader) (Facts, error) {
	var line factsLine
	if err := readHeader(r, &line, maxHeader); err != nil {
		return Facts{}, fmt.Errorf("read facts: %w", err)
	}
	if !line.OK {
		return Facts{}, &Refusal{oneLine(line.Error, maxRefusal)}
	}
	return line.Facts, nil
}

// tellFacts is the other end of ReadFacts. A caller that wants no facts gives
// no descriptor.
func tellFacts(e Entry, err error) error {
	if _, open := unix.FcntlInt(FactsFD, unix.F_GETFD, 0); open != nil {
		return nil
	}
	w := os.NewFile(FactsFD, "facts")
	defer w.Close()
	line := factsLine{OK: err == nil, Facts: Facts{e.Hosts, e.Provider, e.Created}}
	if err != nil {
		line.Error = oneLine(err.Error(), maxRefusal)
	}
	if err := writeHeader(w, line, maxHeader); err != nil {
		return fmt.Errorf("tell facts: %w", err)
	}
	return nil
}
