// SPDX-License-Identifier: Apache-2.0

package enforcer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/phantom-ns/phantom-ns/netns/sandbox"
	"github.com/phantom-ns/phantom-ns/proxy/audit"
)

// PoolConfig is what the proxy of a node is started with.
type PoolConfig struct {
	// Seed is the node's secret, 32 bytes, the same after every restart: the
	// placeholders of its policies and the keys of their authorities are derived
	// from it.
	Seed []byte
	// Shared is a seed that all nodes of a cluster have, see [ReadSharedSeed]: the
	// placeholders that can be made without the real value are derived from it,
	// so that they are the same on each. nil: there is none.
	Shared []byte
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

// SessionConfig is one session that the pool is to serve.
type SessionConfig struct {
	ID       string // in audit records
	Policy   string // the name of one that was added
	Hostname string // of the container; the stub answers for it
	// Listeners are the sockets born inside. The pool gets copies; these stay the
	// caller's.
	Listeners *sandbox.Listeners
	// Own4 and Own6 are the namespace's own addresses, to which a connection has
	// no origin. Without Own6 no name has an AAAA record.
	Own4, Own6 netip.Addr
}

// Pool is one proxy process that serves the sessions of a node. It is safe for
// concurrent use; what is slow for one policy holds up no other.
type Pool struct {
	config    PoolConfig
	proxy     *proxyProcess
	collected chan struct{} // closed behind the last record
	closing   chan struct{}
	files     func() int // descriptors that the process has now
	handed    *receipt

	mu       sync.Mutex
	closed   bool
	policies map[string]*supply // nil: on its way
}

// ErrSeed is returned for a seed that is not 32 bytes long.
var ErrSeed = errors.New("the node's seed has another length")

// StartPool starts the process. It holds no credential yet.
func StartPool(ctx context.Context, config PoolConfig) (*Pool, error) {
	if len(config.Seed) != seedSize {
		return nil, fmt.Errorf("start pool: %w", ErrSeed)
	}
	if err := keepDescriptors(); err != nil {
		return nil, fmt.Errorf("start pool: %w", err)
	}
	if err := os.MkdirAll(StateDir, 0o711); err != nil { // its lock is that of the uids
		return nil, fmt.Errorf("start pool: %w", err)
	}
	if _, err := raiseMemlock(); err != nil {
		return nil, fmt.Errorf("start pool: %w", err)
	}
	p := newPool(config)
	records, err := p.spawn()
	if err != nil {
		return nil, fmt.Errorf("start pool: %w", err)
	}
	p.collect(records)
	return p, context.Cause(ctx)
}

func newPool(config PoolConfig) *Pool {
	p := &Pool{
		config: config, collected: make(chan struct{}), closing: make(chan struct{}),
		handed: newReceipt(), policies: make(map[string]*supply),
	}
	p.files = sync.OnceValue(func() int { return raiseFiles(p.proxy.pid) })
	return p
}

// spawn starts the process from a thread that lives as long: the kernel kills it
// with the thread that made it (PR_SET_PDEATHSIG), and threads that were in
// other namespaces end.
func (p *Pool) spawn() (records io.ReadCloser, err error) {
	started := make(chan struct{})
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		s := &supply{config: Config{Notify: p.config.Notify}}
		p.proxy, records, err = s.spawnProxy(nil, 0, p.config.Ended)
		close(started)
		if err == nil {
			<-p.proxy.exited
		}
	}()
	<-started
	return records, err
}

// collect hands the records on until the pipe ends.
func (p *Pool) collect(records io.ReadCloser) {
	go func() {
		defer close(p.collected)
		err := collectRecords(records, p.closing, func(all []audit.Record) error {
			p.config.Records(all)
			p.handed.add(len(all))
			return nil
		})
		if err != nil {
			p.config.Logger.Error("pool's audit records", "error", err)
		}
	}()
}

// AddSession serves a session from now on. An id that is served already is an
// error, and so is one more than there are descriptors for.
func (p *Pool) AddSession(s SessionConfig) error {
	err := p.proxy.serve(message{
		Policy: s.Policy, Session: s.ID, Hostname: s.Hostname, Own4: s.Own4, Own6: s.Own6, Shared: true, Files: p.files(),
	}, s.Listeners, nil)
	if err != nil {
		return fmt.Errorf("add session %q: %w", s.ID, err)
	}
	return nil
}

// lastRecords bounds the wait for a session's last records: whoever takes them may
// be held up, and the number of them is the proxy's word.
const lastRecords = 10 * time.Second

var errRecordsMissing = errors.New("its last records have not come")

// RemoveSession ends a session's connections. Its last record was handed over
// when it returns without an error. One that is not there is no error.
func (p *Pool) RemoveSession(id string) error {
	ended, err := p.proxy.ask(message{Kind: msgEnd, Session: id})
	if err == nil && !p.handed.reaches(ended.Records, p.collected, lastRecords) {
		err = errRecordsMissing
	}
	if err != nil {
		return fmt.Errorf("remove session %q: %w", id, err)
	}
	return nil
}

// drainDefault is how long a drain may take whose context does not end.
const drainDefault = 10 * time.Second

// Drain lets no connection begin and returns when the requests under way have
// ended, or with ctx. What sessions do after that is refused; [Pool.Close] comes
// next.
func (p *Pool) Drain(ctx context.Context) error {
	within := drainDefault
	if until, bounded := ctx.Deadline(); bounded {
		within = time.Until(until)
	}
	done := make(chan error, 1)
	go func() {
		_, err := p.proxy.ask(message{Kind: msgDrain, Within: within})
		done <- err
	}()
	select {
	case err := <-done:
		if err != nil {
			return fmt.Errorf("drain pool: %w", err)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("drain pool: %w", context.Cause(ctx))
	}
}

// Exited is closed when the process has ended, for whatever reason: then nobody
// is served, and a new pool has to be started. This one is still to be closed.
func (p *Pool) Exited() <-chan struct{} { return p.proxy.exited }

// PID is the process, for whoever looks how it is.
func (p *Pool) PID() int { return p.proxy.pid }

// Close ends the process and returns when its last record was handed over.
func (p *Pool) Close() error {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil
	}
	p.closed = true
	close(p.closing)
	for _, s := range p.policies {
		if s != nil {
			close(s.closing)
		}
	}
	p.policies = nil
	p.mu.Unlock()
	err := p.proxy.Close()
	<-p.collected
	return err
}

// raiseFiles lets a process have as many descriptors as the kernel allows at
// all, and returns how many: 0 where that is not ours to do. It has begun by
// then: Go's runtime sets the limit as it begins.
func raiseFiles(pid int) int {
	most := mostFiles()
	if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: most, Max: most}, nil); err != nil {
		return 0 // without CAP_SYS_RESOURCE it has what it began with
	}
	return int(most)
}

// mostFiles is fs.nr_open (proc_sys_fs(5)), or its default.
func mostFiles() uint64 {
	const standard = 1 << 20
	data, err := os.ReadFile("/proc/sys/fs/nr_open")
	if err != nil {
		return standard
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(data)), 10, 31)
	if err != nil {
		return standard
	}
	return n
}
