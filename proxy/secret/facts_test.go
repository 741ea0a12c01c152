// SPDX-License-Identifier: Apache-2.0

package secret

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
)

// told is what the supervisor learns of e and err.
func told(t *testing.T, e Entry, err error) (Facts, error) {
	t.Helper()
	r, w := pipe(t)
	if err := tellFacts(w, e, err); err != nil {
		t.Fatal(err)
	}
	return ReadFacts(r)
}

func TestFactsHoldNoValue(t *testing.T) {
	c := newCanary(t)
	r, w := pipe(t)
	e := Entry{c.value(t), []string{"api.openai.com"}, "openai", time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	if err := tellFacts(w, e, nil); err != nil {
		t.Fatal(err)
	}
	wire := make([]byte, maxHeader)
	n, err := r.Read(wire)
	if err != nil {
		t.Fatal(err)
	}
	c.absent(t, string(wire[:n]))
	facts, err := ReadFacts(strings.NewReader(string(wire[:n])))
	if err != nil || !reflect.DeepEqual(facts, Facts{e.Hosts, e.Provider, e.Created}) {
		t.Errorf("%+v, %v", facts, err)
	}
}

func TestCausesCrossThePipe(t *testing.T) {
	words := map[string]bool{}
	for _, c := range causes {
		_, err := told(t, Entry{}, fmt.Errorf("fetch credential store:a: %w", c.cause))
		var refusal *Refusal
		if !errors.Is(err, c.cause) || !errors.As(err, &refusal) || words[c.word] {
			t.Errorf("%s: %v", c.word, err)
		}
		words[c.word] = true
	}
	late := fmt.Errorf("%w: no one answered its prompt: %w", ErrLocked, timeout{time.Second})
	if _, err := told(t, Entry{}, late); !errors.Is(err, ErrLocked) || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a locked collection came as %v", err)
	}
	_, err := told(t, Entry{}, errors.New("something else"))
	var refusal *Refusal
	if !errors.As(err, &refusal) || refusal.Text != "something else" {
		t.Errorf("%v", err)
	}
}

func TestReadFactsRefuses(t *testing.T) {
	for _, wire := range []string{"", "{}", "[]\n", `{"ok":true,"value":"x"}` + "\n"} {
		if _, err := ReadFacts(strings.NewReader(wire)); !errors.Is(err, ErrFrame) {
			t.Errorf("%q: %v", wire, err)
		}
	}
	if _, err := ReadFacts(strings.NewReader(`{"ok":false,"error":"a\nb","cause":"unknown"}` + "\n")); err == nil || err.Error() != "a b" {
		t.Errorf("%v", err)
	}
}
