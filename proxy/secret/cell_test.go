// SPDX-License-Identifier: Apache-2.0

package secret

import (
	"bytes"
	"errors"
	"sync"
	"testing"
	"time"
)

func TestC12CellGivesTheNewValueAndWipesTheOld(t *testing.T) {
	before, after := newCanary(t), newCanary(t)
	old := before.value(t)
	revealed := old.Reveal()
	cell := NewCell(old)
	cell.Set(after.value(t), time.Time{})
	if err := cell.Use(func(v Value) error { after.same(t, v); return nil }); err != nil {
		t.Fatal(err)
	}
	if old.Len() != 0 || !bytes.Equal(revealed, make([]byte, len(revealed))) {
		t.Error("the old value was not wiped")
	}
	cell.Wipe()
	if err := cell.Use(func(Value) error { return nil }); !errors.Is(err, ErrNoValue) {
		t.Errorf("wiped: %v", err)
	}
	if err := new(Cell).Use(func(Value) error { return nil }); !errors.Is(err, ErrNoValue) {
		t.Errorf("zero: %v", err)
	}
}

func TestCellExpires(t *testing.T) {
	c := newCanary(t)
	cell := NewCell(Value{})
	for when, want := range map[time.Time]error{
		{}:                               nil,
		time.Now().Add(time.Hour):        nil,
		time.Now().Add(-time.Nanosecond): ErrNoValue,
	} {
		cell.Set(c.value(t), when)
		if err := cell.Use(func(Value) error { return nil }); !errors.Is(err, want) {
			t.Errorf("%v: %v, want %v", when, err, want)
		}
	}
}

// A value is whole for as long as it is used, however often it is replaced.
func TestCellIsReplacedUnderUse(t *testing.T) {
	values := []canary{newCanary(t), newCanary(t)}
	cell := NewCell(values[0].value(t))
	var users sync.WaitGroup
	for range 4 {
		users.Go(func() {
			for range 2000 {
				err := cell.Use(func(v Value) error {
					if b := v.Reveal(); !bytes.Equal(b, values[0]) && !bytes.Equal(b, values[1]) {
						return errors.New("neither of both")
					}
					return nil
				})
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for i := range 200 {
		cell.Set(values[i%2].value(t), time.Time{})
	}
	users.Wait()
}
