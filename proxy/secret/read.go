// SPDX-License-Identifier: Apache-2.0

package secret

import "io"

// Read takes a credential from what a person or a program types, to its end:
// one line end is trimmed, then Check decides.
func Read(r io.Reader) (Value, error) {
	v, err := readLocked(r)
	if err != nil {
		return Value{}, err
	}
	v.tidy()
	if err := Check(v); err != nil {
		v.Wipe()
		return Value{}, err
	}
	return v, nil
}
