// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"
	"testing"

	"github.com/phantom-ns/phantom-ns/enforcer/node/api"
	"github.com/phantom-ns/phantom-ns/netns"
)

// Of many that ask for one key, one gets it; who looks for it meanwhile waits
// for what became of it.
func TestAKeyIsOnesAtATime(t *testing.T) {
	table, key := newTable(), api.Key{Container: "c", Interface: "eth0"}
	got := make(chan *attachment, 50)
	var wait sync.WaitGroup
	for range cap(got) {
		wait.Go(func() {
			if a := table.reserve(key); a != nil {
				got <- a
			}
		})
	}
	wait.Wait()
	if len(got) != 1 {
		t.Fatalf("%d have the key", len(got))
	}
	reserved, ended := <-got, make(chan *attachment)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := table.find(ctx, key); !errors.Is(err, context.Canceled) {
		t.Errorf("found before it was settled: %v", err)
	}
	go func() {
		a, _ := table.find(t.Context(), key)
		ended <- a
	}()
	table.settle(key, reserved, nil, saved{})
	if a := <-ended; a != nil || table.reserve(key) == nil {
		t.Error("what did not come to be keeps the key")
	}
}

// Who waits for a session that ends meanwhile gets a new one, never its remains.
func TestADeadSessionIsNobodys(t *testing.T) {
	table := newTable()
	first := table.enter(7)
	next := make(chan *session)
	go func() { next <- table.enter(7) }()
	table.leave(first) // it never came to be
	second := <-next
	if second == first || second.dead {
		t.Error("a dead session was entered")
	}
	second.live = true
	table.leave(second)
	if third := table.enter(7); third != second {
		t.Error("a live session was replaced")
	}
}

// Who had to wait for a session that is over takes nothing from the one that its
// namespace has since.
func TestADeadSessionIsLeftAlone(t *testing.T) {
	table := newTable()
	first := table.enter(7)
	table.leave(first)
	second := table.enter(7)
	second.live = true
	table.leave(second)
	first.mu.Lock()
	table.leave(first)
	if table.of(7) != second {
		t.Error("the session that lives is forgotten")
	}
}

// What happens to a session while it is being attached is not lost, and what
// happens to one that is over is nobody's.
func TestASessionIsKnownAsLongAsItLives(t *testing.T) {
	d := idleDaemon(t, nil)
	s := d.table.enter(7)
	s.id = "7f3a"
	d.table.name(s)
	if d.table.named("7f3a") != s || d.table.idOf(7) != "7f3a" || d.table.named("") != nil {
		t.Error("it is not known while it is being attached")
	}
	d.table.leave(s) // it never came to be
	if d.table.named("7f3a") != nil {
		t.Error("it is known though it is over")
	}
	d.reviveOne(s)
	if err := d.table.trouble(7); err != nil {
		t.Errorf("one that is over is in trouble: %v", err)
	}
}

func TestErrorsAreToldByWhatTheyWrap(t *testing.T) {
	for code, err := range map[string]error{
		api.CodeHostNetwork:  netns.ErrHostNetwork,
		api.CodeNotNamespace: &fs.PathError{Op: "open", Path: "/x", Err: fs.ErrNotExist},
		api.CodeUnfenced:     errUnfenced,
		api.CodeBusy:         errNoPool,
		api.CodeExists:       refuse(api.CodeExists, "taken"),
		api.CodeInternal:     errors.New("host network"),
	} {
		if got := refusal(fmt.Errorf("attach: %w", err)); got.Code != code {
			t.Errorf("%v: told as %s", err, got.Code)
		}
	}
}

// Every step is taken back once, the last first, whatever the others say.
func TestUndoGoesBackwardsOnce(t *testing.T) {
	var u undo
	var order []int
	for i := range 3 {
		u.push(func() error { order = append(order, i); return fmt.Errorf("step %d", i) })
	}
	if err := u.run(); err == nil || err.Error() != "step 2\nstep 1\nstep 0" {
		t.Errorf("said %v", err)
	}
	if err := u.run(); err != nil || !slices.Equal(order, []int{2, 1, 0}) {
		t.Errorf("order %v, %v", order, err)
	}
}
