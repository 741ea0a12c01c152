// SPDX-License-Identifier: Apache-2.0

package mint

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/phantom-ns/phantom-ns/proxy/secret"
)

func value(t testing.TB, text string) secret.Value {
	t.Helper()
	v, err := secret.New([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// counter gives token-0001, token-0002 … that live for life.
type counter struct {
	t     testing.TB
	life  time.Duration
	takes time.Duration
	err   error
	mu    sync.Mutex
	count int
}

func (c *counter) exchange(ctx context.Context, _ Upstream) (Token, error) {
	c.mu.Lock()
	c.count++
	n, err := c.count, c.err
	c.mu.Unlock()
	select {
	case <-time.After(c.takes):
	case <-ctx.Done():
		return Token{}, ctx.Err()
	}
	if err != nil {
		return Token{}, err
	}
	t := Token{Value: value(c.t, fmt.Sprintf("token-%04d-0123456789", n))}
	if c.life > 0 {
		t.Expires = time.Now().Add(c.life)
	}
	return t, nil
}

func (c *counter) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err = err
}

func (c *counter) asked() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.count
}

// bound makes a Minter, and what it has learnt so far.
func bound(t testing.TB, c *counter) (*Minter, *[]string) {
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	m, learnt := New(c.exchange), new([]string)
	m.Bind(ctx, nil, func(v secret.Value) error {
		*learnt = append(*learnt, string(v.Reveal()))
		return nil
	})
	return m, learnt
}

func current(t *testing.T, m *Minter) string {
	t.Helper()
	if err := m.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	text := ""
	if err := m.Cell().Use(func(v secret.Value) error { text = string(v.Reveal())[:10]; return nil }); err != nil {
		t.Fatal(err)
	}
	return text
}

// TestRenewal: one exchange for many requests, the next before the end, and
// nobody waits for that one.
func TestRenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &counter{t: t, life: time.Hour, takes: time.Second}
		m, learnt := bound(t, c)
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				if got := current(t, m); got != "token-0001" {
					t.Error(got)
				}
			})
		}
		wg.Wait()
		time.Sleep(time.Hour - earliest - 2*time.Second)
		if got := current(t, m); got != "token-0001" || c.asked() != 1 {
			t.Errorf("before its time: %s, %d exchanges", got, c.asked())
		}
		time.Sleep(2 * time.Second)
		began := time.Now()
		if got := current(t, m); got != "token-0001" || time.Since(began) != 0 {
			t.Errorf("while it is renewed: %s after %s", got, time.Since(began))
		}
		time.Sleep(2 * time.Second)
		if got := current(t, m); got != "token-0002" || c.asked() != 2 {
			t.Errorf("renewed: %s, %d exchanges", got, c.asked())
		}
		if want := []string{"token-0001-0123456789", "token-0002-0123456789"}; !slices.Equal(*learnt, want) {
			t.Errorf("learnt %q", *learnt)
		}
	})
}

// TestExpired: nothing that has ended is ever yielded.
func TestExpired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &counter{t: t, life: time.Minute}
		m, _ := bound(t, c)
		current(t, m)
		c.fail(errors.New("no"))
		time.Sleep(time.Minute - 7*time.Second)
		if got := current(t, m); got != "token-0001" { // renewal fails behind it
			t.Error(got)
		}
		time.Sleep(time.Second)
		if err := m.Ready(t.Context()); err == nil {
			t.Error("ready after its end")
		}
		c.fail(nil)
		time.Sleep(lastRetry)
		if got := current(t, m); got[:6] != "token-" || got == "token-0001" {
			t.Error(got)
		}
	})
}

// TestFailureIsNotHammered: a thousand requests in ten minutes are some twenty
// exchanges.
func TestFailureIsNotHammered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		refused := errors.New("refused")
		c := &counter{t: t, err: refused}
		m, _ := bound(t, c)
		for range 1000 {
			if err := m.Ready(t.Context()); !errors.Is(err, refused) {
				t.Fatalf("got %v", err)
			}
			time.Sleep(600 * time.Millisecond)
		}
		if n := c.asked(); n < 10 || n > 20 {
			t.Errorf("%d exchanges", n)
		}
	})
}

// TestLeaving: a request that is given up takes nobody else's token with it.
func TestLeaving(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &counter{t: t, takes: 10 * time.Second}
		m, _ := bound(t, c)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := m.Ready(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the one that left: %v", err)
		}
		if got := current(t, m); got != "token-0001" || c.asked() != 1 {
			t.Errorf("the one that stayed: %s, %d exchanges", got, c.asked())
		}
	})
}

// TestHangingExchange ends at its deadline.
func TestHangingExchange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, _ := bound(t, &counter{t: t, takes: time.Hour})
		began := time.Now()
		if err := m.Ready(t.Context()); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != Deadline {
			t.Errorf("%v after %s", err, time.Since(began))
		}
	})
}

// TestUnlearnt: a value that answers cannot be searched for is not used.
func TestUnlearnt(t *testing.T) {
	c := &counter{t: t}
	m := New(c.exchange)
	refused := errors.New("too short")
	_ = m.Bind(t.Context(), nil, func(secret.Value) error { return refused })
	if err := m.Ready(t.Context()); !errors.Is(err, refused) {
		t.Errorf("%v", err)
	}
	if err := m.Cell().Use(func(secret.Value) error { return nil }); !errors.Is(err, secret.ErrNoValue) {
		t.Errorf("the cell: %v", err)
	}
}

// TestBoundWhileAsking: a reload binds anew what is in use; what comes then is
// learnt by the reloaded rules. With -race this is about the lock, too.
func TestBoundWhileAsking(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, before := bound(t, &counter{t: t, takes: time.Second})
		time.AfterFunc(time.Millisecond, func() {
			m.Bind(t.Context(), nil, func(v secret.Value) error {
				*before = append(*before, "anew: "+string(v.Reveal()))
				return nil
			})
		})
		if err := m.Ready(t.Context()); err != nil || !slices.Equal(*before, []string{"anew: token-0001-0123456789"}) {
			t.Errorf("learnt %q, %v", *before, err)
		}
	})
}

// TestReject: what the upstream did not take is replaced once, not for each
// refusal.
func TestReject(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &counter{t: t, life: time.Hour}
		m, _ := bound(t, c)
		current(t, m)
		m.Reject()
		if got := current(t, m); got != "token-0001" {
			t.Errorf("a fresh one: %s", got)
		}
		time.Sleep(2 * lastRetry)
		m.Reject()
		if got := current(t, m); got != "token-0002" {
			t.Errorf("an older one: %s", got)
		}
		m.Reject()
		if got := current(t, m); got != "token-0002" {
			t.Errorf("rejected again, late: %s", got)
		}
	})
}

// TestRevoked: nothing comes after it, not what was asked for before either.
func TestRevoked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &counter{t: t, life: time.Minute, takes: time.Second}
		m, _ := bound(t, c)
		current(t, m)
		time.Sleep(50 * time.Second)
		current(t, m) // the renewal is on its way
		m.Revoke()
		time.Sleep(time.Minute)
		if err := m.Ready(t.Context()); !errors.Is(err, secret.ErrNoValue) || c.asked() != 2 {
			t.Errorf("%v, %d exchanges", err, c.asked())
		}
		if err := m.Cell().Use(func(secret.Value) error { return nil }); !errors.Is(err, secret.ErrNoValue) {
			t.Errorf("the cell: %v", err)
		}
	})
}

// TestRestarted: what was asked for before is not taken, the next request waits
// for another, at once and after a Revoke, too.
func TestRestarted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &counter{t: t, life: time.Minute, takes: time.Second}
		m, _ := bound(t, c)
		current(t, m)
		m.Restart(secret.Value{})
		if got := current(t, m); got != "token-0002" {
			t.Errorf("restarted within a second: %s", got)
		}
		time.Sleep(50 * time.Second)
		current(t, m) // the renewal is on its way
		m.Restart(secret.Value{})
		if err := m.Cell().Use(func(secret.Value) error { return nil }); !errors.Is(err, secret.ErrNoValue) {
			t.Errorf("the cell: %v", err)
		}
		if err := m.Ready(t.Context()); !errors.Is(err, secret.ErrNoValue) {
			t.Errorf("the one on its way: %v", err)
		}
		if got := current(t, m); got != "token-0004" {
			t.Errorf("after it: %s", got)
		}
		m.Revoke()
		m.Restart(secret.Value{})
		if got := current(t, m); got != "token-0005" {
			t.Errorf("taken back: %s", got)
		}
	})
}

// TestEnded: no exchange outside the session.
func TestEnded(t *testing.T) {
	c := &counter{t: t}
	m := New(c.exchange)
	if err := m.Ready(t.Context()); !errors.Is(err, ErrUnbound) {
		t.Errorf("before: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	m.Bind(ctx, nil, nil)
	cancel()
	if err := m.Ready(t.Context()); !errors.Is(err, ErrUnbound) || c.asked() != 0 {
		t.Errorf("after: %v, %d exchanges", err, c.asked())
	}
}
