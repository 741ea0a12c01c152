// SPDX-License-Identifier: Apache-2.0

package node

import (
	"fmt"
	"log/slog"
	"strconv"
	"sync"

	"github.com/phantom-ns/phantom-ns/bpf"
	"github.com/phantom-ns/phantom-ns/enforcer"
	"github.com/phantom-ns/phantom-ns/proxy/audit"
)

// book is the audit log of a node: one file, one writer, a chain for each
// session.
type book struct {
	file    *audit.File
	log     *slog.Logger
	closing <-chan struct{}

	mu     sync.Mutex
	trails map[string]*enforcer.Trail // by the session's id
}

// open begins a session's chain. A chain does not outlive its writer: after a
// restart of the daemon the session goes on as ID.2, ID.3, and so on.
func (b *book) open(id string, generation int, drops bool) *enforcer.Trail {
	name := id
	if generation > 1 {
		name += "." + strconv.Itoa(generation)
	}
	t := &enforcer.Trail{Log: b.file.Log(name), Drops: drops, Closing: b.closing, Logger: b.log}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.trails[id] = t
	return t
}

// close ends a session's chain: what comes after it is of nobody.
func (b *book) close(id string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.trails, id)
}

func (b *book) trail(id string) *enforcer.Trail {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.trails[id]
}

// take writes the pool's records, in their order, those of one session that
// follow one another together.
func (b *book) take(records []audit.Record) {
	for len(records) > 0 {
		id, n := records[0].Session, 1
		for n < len(records) && records[n].Session == id {
			n++
		}
		if err := b.write(id, records[:n]); err != nil {
			b.log.Error("audit records of the proxy", "session", id, "error", err)
		}
		records = records[n:]
	}
}

func (b *book) write(id string, records []audit.Record) error {
	t := b.trail(id)
	if t == nil {
		return fmt.Errorf("%d records of no session", len(records))
	}
	return t.RecordThinned(records)
}

// deny writes what the kernel half refused. A namespace that is no session, or
// is not yet, has no log.
func (b *book) deny(id string, denial bpf.Denial) error {
	t := b.trail(id)
	if t == nil {
		return nil
	}
	return t.RecordDenial(denial)
}
