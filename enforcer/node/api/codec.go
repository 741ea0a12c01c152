// SPDX-License-Identifier: Apache-2.0

package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// errTooLong and errTrailing are messages that are none.
var (
	errTooLong  = errors.New("message is too long")
	errTrailing = errors.New("more than one value")
)

// maxDepth bounds nesting. The deepest message has three levels.
const maxDepth = 16

// Decode reads one message of at most limit bytes into v, strictly.
func Decode(r io.Reader, limit int64, v any) error {
	data, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return fmt.Errorf("read message: %w", err)
	}
	if int64(len(data)) > limit {
		return fmt.Errorf("read message: %w (%d bytes at most)", errTooLong, limit)
	}
	if err := checkKeys(json.NewDecoder(bytes.NewReader(data)), 0); err != nil {
		return fmt.Errorf("decode message: %w", err)
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return fmt.Errorf("decode message: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("decode message: %w", errTrailing)
	}
	return nil
}

// checkKeys reads one value and refuses an object with a key given twice, for
// which encoding/json takes the last one in silence and other readers the
// first, or in other than lower case, which it takes for the same key.
func checkKeys(d *json.Decoder, depth int) error {
	token, err := d.Token()
	if err != nil {
		return err
	}
	open, ok := token.(json.Delim)
	if !ok {
		return nil
	}
	if depth == maxDepth {
		return fmt.Errorf("nested deeper than %d", maxDepth)
	}
	seen := map[string]bool{}
	for d.More() {
		if open == '{' {
			name, err := d.Token()
			if err != nil {
				return err
			}
			key := name.(string)
			if seen[key] {
				return fmt.Errorf("key %.80q is given twice", key)
			}
			if strings.ContainsFunc(key, func(r rune) bool { return (r < 'a' || r > 'z') && r != '_' }) {
				return fmt.Errorf("key %.80q is none of a message", key)
			}
			seen[key] = true
		}
		if err := checkKeys(d, depth+1); err != nil {
			return err
		}
	}
	_, err = d.Token()
	return err
}
