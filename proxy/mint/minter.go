// SPDX-License-Identifier: Apache-2.0

package mint

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/phantom-ns/phantom-ns/proxy/secret"
)

// Token is what an exchange gave.
type Token struct {
	Value   secret.Value
	Expires time.Time // zero: it does not
	// Also are values that no request carries but that an answer could: a refresh
	// token.
	Also []secret.Value
}

// Upstream sends one request to the host of its URL: over verified TLS, through
// the dial guard, to where the policy says the name is. It follows no redirect,
// and its errors hold nothing of the request.
type Upstream interface {
	Do(*http.Request) (*http.Response, error)
}

// Exchange obtains a fresh token. It is not called twice at once for one
// [Minter]; ctx ends after [Deadline].
type Exchange func(ctx context.Context, up Upstream) (Token, error)

// Times of a Minter.
const (
	// Deadline bounds one exchange.
	Deadline = 30 * time.Second
	// earliest is how long before its end a token is renewed, at most; one that
	// lives less than four times as long is renewed after three quarters.
	earliest = 5 * time.Minute
	// slack is how long before its end a token is not sent any more, for the way
	// to the server and a clock that goes ahead; at most a tenth of its life.
	slack = 10 * time.Second
	// firstRetry doubles with each failure, up to lastRetry.
	firstRetry = time.Second
	lastRetry  = time.Minute
)

// ErrUnbound is answered before [Minter.Bind] and after the session.
var ErrUnbound = errors.New("mint credential: the session does not serve")

// Minter keeps one credential current. It is safe for concurrent use.
type Minter struct {
	exchange Exchange
	cell     *secret.Cell
	from     *secret.Cell // what tokens are made from, where the Minter has it; else nil

	mu       sync.Mutex
	ctx      context.Context // of the session; nil before Bind
	upstream Upstream
	learn    func(secret.Value) error

	also     []secret.Value // not yet learnt
	revoked  bool
	restarts int       // how often what tokens are made from has changed
	held     bool      // the cell has a value
	expires  time.Time // of it; zero: never
	obtained time.Time
	flight   chan struct{} // of the exchange under way; else nil
	failures int
	retry    time.Time // no exchange before
	err      error     // of the last exchange
}

// New makes a Minter; nothing is asked for before the first [Minter.Ready].
func New(exchange Exchange) *Minter { return &Minter{exchange: exchange, cell: new(secret.Cell)} }

// Cell has the value after [Minter.Ready]: what a credential is applied from.
func (m *Minter) Cell() *secret.Cell { return m.cell }

// Bind says with what to exchange, until ctx ends. learn is called with each
// value before it is used, and may refuse it.
func (m *Minter) Bind(ctx context.Context, up Upstream, learn func(secret.Value) error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ctx, m.upstream, m.learn = ctx, up, learn
	also := m.also
	m.also = nil
	cells := []*secret.Cell{m.from, m.cell}
	if !m.held {
		cells = cells[:1]
	}
	for _, c := range cells {
		if c == nil {
			continue
		}
		if err := c.Use(learn); err != nil && !errors.Is(err, secret.ErrNoValue) {
			return err
		}
	}
	return learnAll(learn, also)
}

// learnAll makes values known and wipes them.
func learnAll(learn func(secret.Value) error, values []secret.Value) (err error) {
	for _, v := range values {
		if err == nil {
			err = learn(v)
		}
		v.Wipe()
	}
	return err
}

// Start gives a token that is known already, such as one that was stored, and
// says since when. It is the Minter's from now on.
func (m *Minter) Start(t Token, obtained time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.also = append(m.also, t.Also...)
	m.take(t, obtained)
}

// From says what tokens are made from: the exchange takes it from the cell. It
// comes before Bind.
func (m *Minter) From(cell *secret.Cell) { m.from = cell }

// MadeFrom reports whether tokens are made from v already.
func (m *Minter) MadeFrom(v secret.Value) bool { return m.from != nil && m.from.Holds(v) }

// Ready returns when the cell has a value that lasts: at once, or after an
// exchange, or with an error, such as that of ctx.
func (m *Minter) Ready(ctx context.Context) error {
	m.mu.Lock()
	now := time.Now()
	if m.revoked {
		m.mu.Unlock()
		return secret.ErrNoValue
	}
	if m.flight == nil && m.due(now) && !now.Before(m.retry) {
		if m.ctx == nil || m.ctx.Err() != nil {
			m.mu.Unlock()
			return ErrUnbound
		}
		m.flight = make(chan struct{})
		go m.renew(m.ctx, m.upstream, m.flight, m.restarts)
	}
	usable, err, flight := m.usable(now), m.err, m.flight
	m.mu.Unlock()
	switch {
	case usable:
		return nil
	case flight == nil:
		return cmp.Or(err, secret.ErrNoValue)
	}
	select {
	case <-flight:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.err // nil also for a token that is born old: the upstream may take it
}

// Reject says that the upstream did not take the value. Unless it is a fresh
// one, or was replaced just now, the next request asks for another.
func (m *Minter) Reject() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if now := time.Now(); m.held && now.Sub(m.obtained) > lastRetry {
		m.expires = now
	}
}

// Settle waits for an exchange that is under way, for at most patience.
func (m *Minter) Settle(patience time.Duration) {
	m.mu.Lock()
	flight := m.flight
	m.mu.Unlock()
	if flight == nil {
		return
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-flight:
	case <-timer.C:
	}
}

// Revoke ends the credential: its value is overwritten, and no other is asked
// for. One that is on its way is not taken.
func (m *Minter) Revoke() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.revoked, m.held, m.err = true, false, secret.ErrNoValue
	m.cell.Wipe()
	if m.from != nil {
		m.from.Wipe()
	}
}

// Restart says that what tokens are made from has changed, to v where the
// Minter has it, which takes it over: the value is overwritten, one that is on
// its way is not taken, and the next request waits for another. It takes back a
// Revoke.
func (m *Minter) Restart(v secret.Value) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.from != nil {
		m.from.Set(v, time.Time{})
	}
	m.restarts++
	m.revoked, m.held, m.err = false, false, nil
	m.failures, m.retry = 0, time.Time{}
	m.cell.Wipe()
}

// due reports whether it is time for another token.
func (m *Minter) due(now time.Time) bool { return !m.lasts(now, min(earliest, m.life()/4)) }

func (m *Minter) usable(now time.Time) bool { return m.lasts(now, min(slack, m.life()/10)) }

// lasts reports whether the value has more than margin left.
func (m *Minter) lasts(now time.Time, margin time.Duration) bool {
	return m.held && (m.expires.IsZero() || now.Before(m.expires.Add(-margin)))
}

func (m *Minter) life() time.Duration { return max(0, m.expires.Sub(m.obtained)) }

// renew is one exchange. It belongs to no request: whoever waits may leave.
func (m *Minter) renew(session context.Context, up Upstream, done chan struct{}, restarts int) {
	defer close(done)
	// Not ended with the session: what was traded in there is to be kept.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(session), Deadline)
	defer cancel()
	t, err := m.exchange(ctx, up)
	if err == nil {
		m.mu.Lock()
		learn := m.learn // a reload may have bound it anew
		m.mu.Unlock()
		if err = errors.Join(learn(t.Value), learnAll(learn, t.Also)); err != nil {
			t.Value.Wipe()
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	if m.revoked || m.restarts != restarts {
		m.flight, m.err = nil, secret.ErrNoValue
		t.Value.Wipe()
		return
	}
	if m.flight, m.err = nil, err; err != nil {
		m.retry = now.Add(min(lastRetry, firstRetry<<min(m.failures, 10)))
		m.failures++
		return
	}
	m.take(t, now)
	// Also after a success: an upstream whose tokens are born old is not asked
	// for each request.
	m.failures, m.retry = 0, now.Add(firstRetry)
}

// take puts a token into the cell, which wipes the one before. The cell's own
// clock is not asked: whether a value still counts is decided here.
func (m *Minter) take(t Token, obtained time.Time) {
	m.cell.Set(t.Value, time.Time{})
	m.held, m.expires, m.obtained = true, t.Expires, obtained
}
