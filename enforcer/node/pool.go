// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/phantom-ns/phantom-ns/enforcer"
)

// keeper keeps a pool running. While there is none, connections of containers
// wait in their listeners, and nothing is attached.
type keeper struct {
	start   func(context.Context) (*enforcer.Pool, error)
	refill  func(context.Context, *enforcer.Pool) // gives a new pool policies and sessions
	log     *slog.Logger
	closing <-chan struct{}
	done    chan struct{} // closed when keep has ended

	mu       sync.Mutex
	pool     *enforcer.Pool // nil: being started again
	restarts int
}

var errNoPool = errors.New("the proxy is being started again")

// The wait before a pool that died is started again doubles with each time, up
// to the longer, and begins anew after a pool that lived longer than that.
const (
	poolPause    = 100 * time.Millisecond
	poolPauseMax = 15 * time.Second
)

// current returns the pool that serves, or errNoPool.
func (k *keeper) current() (*enforcer.Pool, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.pool == nil {
		return nil, errNoPool
	}
	return k.pool, nil
}

func (k *keeper) set(pool *enforcer.Pool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.pool = pool
}

func (k *keeper) count() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.restarts
}

// run starts the first pool, says how that went, and keeps one running until
// the daemon ends.
func (k *keeper) run(ctx context.Context, first chan<- error) {
	defer close(k.done)
	pool, err := k.start(ctx)
	if err == nil {
		k.set(pool)
	}
	first <- err
	if err == nil {
		k.keep(ctx, pool)
	}
}

func (k *keeper) keep(ctx context.Context, pool *enforcer.Pool) {
	pause := poolPause
	for {
		began := time.Now()
		select {
		case <-pool.Exited():
		case <-k.closing:
			return
		}
		k.set(nil)
		k.log.Error("the proxy ended; containers wait until it is started again", "error", pool.Close())
		if time.Since(began) > poolPauseMax {
			pause = poolPause
		}
		if pool = k.again(ctx, &pause); pool == nil {
			return
		}
	}
}

// again tries until there is a pool, or the daemon ends.
func (k *keeper) again(ctx context.Context, pause *time.Duration) *enforcer.Pool {
	for {
		select {
		case <-time.After(*pause):
		case <-k.closing:
			return nil
		}
		*pause = min(2**pause, poolPauseMax)
		pool, err := k.start(ctx)
		if err != nil {
			k.log.Error("the proxy cannot be started", "error", err)
			continue
		}
		k.mu.Lock()
		k.restarts++
		k.pool = pool
		k.mu.Unlock()
		k.refill(ctx, pool)
		k.log.Warn("the proxy was started again", "restarts", k.count())
		return pool
	}
}

// close lets the requests under way end, until ctx does, and ends the pool.
func (k *keeper) close(ctx context.Context) error {
	<-k.done
	pool, err := k.current()
	if err != nil {
		return nil
	}
	k.set(nil)
	if err := errors.Join(pool.Drain(ctx), pool.Close()); err != nil {
		return fmt.Errorf("end proxy: %w", err)
	}
	return nil
}
