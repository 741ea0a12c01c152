// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/containernetworking/cni/pkg/types"
)

// object is a JSON object, of which keys are taken one by one; what is left at
// the end is refused. Keys count as they are written: encoding/json would take
// "Policy" for "policy".
type object map[string]json.RawMessage

// field is a key, and where its value goes.
type field struct {
	key  string
	into any
}

// take decodes the values of keys, where they are there, and removes them.
func (o object) take(fields ...field) error {
	for _, f := range fields {
		raw, ok := o[f.key]
		delete(o, f.key)
		if !ok || isEmpty(raw) {
			continue
		}
		if err := json.Unmarshal(raw, f.into); err != nil {
			return types.NewError(types.ErrDecodingFailure, "decode configuration: "+f.key, err.Error())
		}
	}
	return nil
}

// done refuses what has not been taken. The specification wants key and value
// in the message; either may be of any length.
func (o object) done(of string) error {
	for _, key := range slices.Sorted(maps.Keys(o)) {
		return types.NewError(types.ErrUnsupportedField,
			fmt.Sprintf("key of the configuration is not supported: %.80q: %.80q", of+key, o[key]), manual)
	}
	return nil
}

// manual is where the keys are described.
const manual = "see phantom-cni(8)"

// isEmpty tells whether a value says nothing. Some runtimes write such a one
// for a key that was not there.
func isEmpty(raw json.RawMessage) bool {
	return len(raw) == 0 || bytes.Equal(raw, []byte("{}")) || bytes.Equal(raw, []byte("null"))
}
