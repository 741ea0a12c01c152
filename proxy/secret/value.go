// SPDX-License-Identifier: Apache-2.0

package secret

import (
	"fmt"
	"io"
	"log/slog"
)

const redacted = "[redacted]"

// Value holds the bytes of one credential. Copies share the bytes, so that
// wiping one wipes all. The zero Value is empty.
//
// The bytes are not the garbage collector's: the owner calls [Value.Wipe] when
// no request uses them any more.
type Value struct {
	// A pointer, so that printers which reach unexported fields by reflection
	// (where no method is called) show an address and not the bytes.
	m *memory
}

// New copies source into locked memory and wipes source, also when it returns
// an error. It fails when RLIMIT_MEMLOCK leaves no room.
func New(source []byte) (Value, error) {
	defer clear(source)
	if len(source) == 0 {
		return Value{}, nil
	}
	m, err := allocate(len(source))
	if err != nil {
		return Value{}, err
	}
	copy(m.data, source)
	m.length = len(source)
	return Value{m}, nil
}

// Reveal returns the bytes themselves, not a copy: nil when the value is empty
// or wiped. Wipe turns bytes revealed before into zeros.
func (v Value) Reveal() []byte {
	if v.m == nil || v.m.wiped.Load() {
		return nil
	}
	return v.m.data[:v.m.length:v.m.length]
}

// Len is the number of bytes: 0 after Wipe.
func (v Value) Len() int { return len(v.Reveal()) }

// Wipe overwrites the bytes and gives the memory back. It may be called again.
func (v Value) Wipe() {
	if v.m != nil {
		v.m.wipe()
	}
}

// String is "[redacted]".
func (Value) String() string { return redacted }

// GoString is "[redacted]".
func (Value) GoString() string { return redacted }

// Format writes "[redacted]" whatever the verb and flags.
func (Value) Format(s fmt.State, _ rune) { io.WriteString(s, redacted) }

// LogValue is "[redacted]".
func (Value) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalJSON is the string "[redacted]".
func (Value) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }

// MarshalText is "[redacted]".
func (Value) MarshalText() ([]byte, error) { return []byte(redacted), nil }
