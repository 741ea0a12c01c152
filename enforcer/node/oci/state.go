// SPDX-License-Identifier: Apache-2.0

package oci

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// maxState bounds what a hook reads; a runtime writes some hundred bytes, and
// annotations.
const maxState = 4 << 20

// State is what a runtime tells a hook (OCI runtime specification, "State").
type State struct {
	ID  string `json:"id"`
	PID int    `json:"pid"` // of the container's first process; 0 when it is gone
}

// ReadState reads a hook's standard input.
func ReadState(r io.Reader) (State, error) {
	var s State
	data, err := io.ReadAll(io.LimitReader(r, maxState))
	if err != nil {
		return s, fmt.Errorf("read state: %w", err)
	}
	if err := json.Unmarshal(data, &s); err != nil {
		return s, fmt.Errorf("decode state: %w", err)
	}
	if s.ID == "" {
		return s, errors.New("decode state: no id")
	}
	return s, nil
}
