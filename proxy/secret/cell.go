// SPDX-License-Identifier: Apache-2.0

package secret

import (
	"crypto/subtle"
	"errors"
	"sync"
	"time"
)

// ErrNoValue is a credential without a value: revoked, or past its lifetime and
// not fetched again.
var ErrNoValue = errors.New("credential has no current value")

// Cell is the current value of one credential. It is replaced while others use
// it: whoever comes after [Cell.Set] has returned gets the new value, and the
// old one is overwritten. The zero Cell has no value.
type Cell struct {
	mu      sync.RWMutex
	value   Value
	expires time.Time // zero: never
}

// NewCell holds v, which it takes over.
func NewCell(v Value) *Cell { return &Cell{value: v} }

// Set replaces the value by v, which it takes over, and wipes the old one. The
// new one is not used after expires, by the wall clock, which goes on while the
// machine sleeps; the zero time is never.
func (c *Cell) Set(v Value, expires time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.value != v {
		c.value.Wipe()
	}
	c.value, c.expires = v, expires.Round(0)
}

// Use calls f with the value, which it must not keep: ErrNoValue when there is
// none. The value is not replaced before f has returned.
func (c *Cell) Use(f func(Value) error) error {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if c.value.Len() == 0 || !c.expires.IsZero() && time.Now().Round(0).After(c.expires) {
		return ErrNoValue
	}
	return f(c.value)
}

// Holds reports whether v is the value that the cell has, in constant time.
func (c *Cell) Holds(v Value) bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.value.Len() > 0 && v.Len() > 0 && subtle.ConstantTimeCompare(c.value.Reveal(), v.Reveal()) == 1
}

// Wipe leaves the cell without a value.
func (c *Cell) Wipe() { c.Set(Value{}, time.Time{}) }

// Fresh is the next value of a credential, and when it ends: see [Cell.Set].
type Fresh struct {
	Value   Value
	Expires time.Time
}
