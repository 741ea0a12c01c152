// SPDX-License-Identifier: Apache-2.0

package enforcer

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"

	"github.com/phantom-ns/phantom-ns/netns/sandbox"
	"github.com/phantom-ns/phantom-ns/proxy/audit"
	"github.com/phantom-ns/phantom-ns/proxy/policy"
)

// PoolConfig is what the proxy of a node is started with.
type PoolConfig struct {
	// Seed is the node's secret, 32 bytes, the same after every restart: the
	// placeholders of its policies and the keys of their authorities are derived
	// from it.
	Seed []byte
	// Records takes the records of all sessions, each with the Session that it is
	// of, in the order in which they were made. While it does not return,
	// requests wait.
	Records func([]audit.Record)
	// Ended is told of a session that ended by a fault, and is served no more;
	// nil: nobody is.
	Ended func(session string, err error)
	// Credentials is systemd's CREDENTIALS_DIRECTORY, where systemd: sources are
	// read; "" for none.
	Credentials string
	Logger      *slog.Logger
	Notify      func(line string) // what the processes of the pool say on stderr
}

// PolicyFacts are what the world outside the pool has to know of a policy.
// Nothing in it is secret: a placeholder is good in the policy's own sessions
// alone. Whoever keeps it gives it back to [Pool.AddPolicy] after a restart.
type PolicyFacts struct {
	CA           []byte            `json:"ca"`           // of the policy's authority, PEM
	Placeholders map[string]string `json:"placeholders"` // by credential's name
	Spec         *policy.Session   `json:"spec"`
}

// SessionConfig is one session that the pool is to serve.
type SessionConfig struct {
	ID       string // in audit records
	Policy   string // the name of one that was added
	Hostname string // of the container; the stub answers for it
	// Listeners are the sockets born inside. The pool gets copies; these stay the
	// caller's.
	Listeners  *sandbox.Listeners
	Own4, Own6 netip.Addr // the namespace's own addresses; Own6 not valid: no name has an AAAA record
	Pod        bool       // the namespace keeps an interface, whose addresses Own4 and Own6 are
}

// Pool is one proxy process that serves the sessions of a node. It is safe for
// concurrent use; what is slow for one policy holds up no other.
type Pool struct{}

var errNotBuilt = errors.New("the pool is not built")

// StartPool starts the process. It holds no credential yet.
func StartPool(_ context.Context, _ PoolConfig) (*Pool, error) { return nil, errNotBuilt }

// AddPolicy fetches the credentials of a policy, which is root's, and makes it
// ready for sessions. before is what it answered at an earlier time; zero:
// never. Keys that make no sense on a node are refused.
func (p *Pool) AddPolicy(_ context.Context, _ string, _ *policy.File, _ PolicyFacts) (PolicyFacts, error) {
	return PolicyFacts{}, errNotBuilt
}

// ReloadPolicy fetches every credential of a policy again, and lets all its
// sessions go over to file in one step. After an error all is as it was.
func (p *Pool) ReloadPolicy(_ context.Context, _ string, _ *policy.File) (PolicyFacts, error) {
	return PolicyFacts{}, errNotBuilt
}

// RemovePolicy forgets a policy and its credentials. One that a session uses
// stays, and is an error.
func (p *Pool) RemovePolicy(_ string) error { return errNotBuilt }

// Stored fetches the credentials that were stored under names again, in every
// policy that has one of them; Removed ends their use.
func (p *Pool) Stored(_ []string) error { return errNotBuilt }

// Removed is the other half of [Pool.Stored].
func (p *Pool) Removed(_ []string) error { return errNotBuilt }

// AddSession serves a session from now on. An id that is served already is an
// error.
func (p *Pool) AddSession(_ SessionConfig) error { return errNotBuilt }

// RemoveSession ends a session's connections and returns when its last record
// was handed over. One that is not there is no error.
func (p *Pool) RemoveSession(_ string) error { return errNotBuilt }

// Drain lets no connection begin and returns when the requests under way have
// ended, or with ctx.
func (p *Pool) Drain(_ context.Context) error { return errNotBuilt }

// Exited is closed when the process has ended, for whatever reason: then nobody
// is served, and a new pool has to be started.
func (p *Pool) Exited() <-chan struct{} { return nil }

// Close ends the process and returns when its last record was handed over.
func (p *Pool) Close() error { return errNotBuilt }
