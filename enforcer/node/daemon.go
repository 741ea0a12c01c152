// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/phantom-ns/phantom-ns/bpf"
	"github.com/phantom-ns/phantom-ns/enforcer"
	"github.com/phantom-ns/phantom-ns/enforcer/node/api"
	"github.com/phantom-ns/phantom-ns/enforcer/node/members"
	"github.com/phantom-ns/phantom-ns/enforcer/node/systemd"
)

// Daemon is a running node.
type Daemon struct {
	config  Config
	log     *slog.Logger
	group   int // of the sockets; -1: none
	started time.Time

	ctx     context.Context // of everything that runs behind requests
	cancel  context.CancelFunc
	closing chan struct{}
	undo    undo

	manager   *systemd.Manager
	untold    atomic.Bool // it was said that the manager does not listen
	claiming  sync.Mutex  // guards inherited.listeners
	inherited inherited
	programs  *bpf.Object
	denials   *bpf.Reader
	seed      []byte
	shared    []byte // that of all nodes, nil for none
	book      *book
	policies  *policies
	keeper    *keeper
	table     *table
	problems  problems
	server    *http.Server
	broken    chan error
}

// problems are what is not as it should be, for people.
type problems struct {
	mu   sync.Mutex
	list []string
}

func (p *problems) add(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.list = append(p.list, text)
}

func (p *problems) all() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string{}, p.list...)
}

// Start brings a node up. When it returns without an error, what a daemon before
// had is served and requests are; with one, nothing runs, and what is pinned in
// the kernel is as it was.
//
//	places ▸ hooks ▸ log ▸ pool ▸ policies ▸ what containers mount ▸ sessions of before ▸ sockets ▸ ready
//
// The hooks come early: they are what keeps containers in, and nothing after
// them can open anything. The sockets come last: who is answered is answered by
// a node that is whole.
func Start(ctx context.Context, config Config) (*Daemon, error) {
	config = config.withDefaults()
	d := &Daemon{
		config: config, log: config.Logger, started: time.Now().UTC(), closing: make(chan struct{}),
		table: newTable(), broken: make(chan error, 1),
	}
	d.policies = newPolicies(&d.config)
	d.ctx, d.cancel = context.WithCancel(context.WithoutCancel(ctx))
	for _, step := range []struct {
		name string
		do   func() error
	}{
		{"service manager", d.meetManager},
		{"places", d.makePlaces},
		{"kernel", d.openKernel},
		{"audit log", d.openBook},
		{"proxy", d.startPool},
		{"policies", func() error { return d.loadPolicies(d.ctx) }},
		{"sessions", d.recover},
		{"sockets", d.openSockets},
	} {
		if err := step.do(); err != nil {
			return nil, errors.Join(fmt.Errorf("start node: %s: %w", step.name, err), d.abort())
		}
	}
	d.tell(d.manager.Ready(d.statusLine()))
	return d, nil
}

// tell takes what came of a word to the service manager. One that does not
// listen is no reason to refuse a container: without it, listeners are made
// again after a restart instead of handed on.
func (d *Daemon) tell(err error) {
	if err != nil && !d.untold.Swap(true) {
		d.log.Warn("service manager", "error", err)
	}
}

// abort ends what Start began.
func (d *Daemon) abort() error {
	close(d.closing)
	d.cancel()
	return d.undo.run()
}

func (d *Daemon) meetManager() (err error) {
	if d.manager, err = systemd.Connect(d.config.Getenv); err != nil {
		return err
	}
	d.undo.push(d.manager.Close)
	files, err := systemd.Inherited(d.config.Getenv)
	if err != nil {
		return err
	}
	// What is none of ours is closed, and no reason to leave containers without
	// a daemon.
	if d.inherited, err = takeInherited(files); err != nil {
		d.log.Warn("service manager", "error", err)
	}
	return nil
}

func (d *Daemon) makePlaces() (err error) {
	if d.group, err = groupID(d.config.Group); err != nil {
		return err
	}
	if err := makeDir(d.config.State, 0o700, -1); err != nil {
		return err
	}
	mode := os.FileMode(0o700)
	if d.group >= 0 {
		mode = 0o750
	}
	if err := makeDir(d.config.Run, mode, d.group); err != nil {
		return err
	}
	if err := makeDir(d.config.attachments(), 0o700, -1); err != nil {
		return err
	}
	if d.config.Shared != "" {
		if d.shared, err = enforcer.ReadSharedSeed(d.config.Shared); err != nil {
			return err
		}
	}
	d.seed, err = loadSeed(d.config.seed())
	return err
}

// openKernel takes the programs over that another daemon left, or puts them in
// place. The lock on them makes sure that there is one daemon.
func (d *Daemon) openKernel() error {
	if err := bpf.MountBPF(filepath.Dir(d.config.Pins)); err != nil {
		return err
	}
	path, err := enforcer.HostCgroup2Root()
	if err != nil {
		return err
	}
	root, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("open cgroup: %w", err)
	}
	defer root.Close()
	if d.programs, err = bpf.OpenNode(d.config.Pins, root, MaxSessions); err != nil {
		return err
	}
	d.undo.push(d.programs.Close)
	return nil
}

func (d *Daemon) openBook() error {
	file, err := enforcer.OpenAudit()
	if err != nil {
		return err
	}
	d.undo.push(file.Close)
	d.book = &book{file: file, log: d.log, closing: d.closing, trails: map[string]*enforcer.Trail{}}
	d.undo.push(d.endTrails)
	return d.watchDenials()
}

// endTrails writes every session's last record of this daemon.
func (d *Daemon) endTrails() error {
	var errs []error
	for _, s := range d.table.all() {
		s.mu.Lock()
		errs = append(errs, s.endTrail(d.book))
		s.mu.Unlock()
	}
	return errors.Join(errs...)
}

// watchDenials writes what the kernel half refuses into the log of the session
// that it was refused to.
func (d *Daemon) watchDenials() error {
	var err error
	if d.denials, err = d.programs.Denials(); err != nil {
		return err
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			denial, err := d.denials.Read()
			if err != nil {
				return
			}
			if err := d.book.deny(d.table.idOf(denial.Netns), denial); err != nil {
				d.log.Error("audit record of a denial", "error", err)
			}
		}
	}()
	d.undo.push(func() error {
		err := d.denials.Close()
		<-done
		return err
	})
	return nil
}

func (d *Daemon) startPool() error {
	d.keeper = &keeper{
		start: d.newPool, log: d.log, closing: d.closing, done: make(chan struct{}),
		refill: func(ctx context.Context, pool *enforcer.Pool) {
			d.policies.restore(ctx, pool)
			d.revive()
		},
	}
	first := make(chan error, 1)
	go d.keeper.run(d.ctx, first)
	if err := <-first; err != nil {
		return err
	}
	d.undo.push(func() error {
		ctx, cancel := context.WithTimeout(context.Background(), drainTimeout)
		defer cancel()
		return d.keeper.close(ctx)
	})
	return nil
}

func (d *Daemon) newPool(ctx context.Context) (*enforcer.Pool, error) {
	return enforcer.StartPool(ctx, enforcer.PoolConfig{
		Seed: d.seed, Shared: d.shared, Records: d.book.take, Ended: d.sessionEnded,
		Credentials: d.config.Getenv("CREDENTIALS_DIRECTORY"), Logger: d.log,
		Notify: func(line string) { d.log.Warn(line) },
	})
}

func (d *Daemon) loadPolicies(ctx context.Context) error {
	pool, err := d.keeper.current()
	if err != nil {
		return err
	}
	return d.policies.load(ctx, pool)
}

// openSockets begins to answer: root's programs, and the members of the group,
// whose sessions are processes of their own and outlive the daemon.
func (d *Daemon) openSockets() error {
	l, err := d.listen("unix", filepath.Base(api.Socket))
	if err != nil {
		return err
	}
	d.server = d.newServer()
	go func() {
		if err := d.server.Serve(limit(l, ofRoot)); !errors.Is(err, http.ErrServerClosed) {
			d.fail(fmt.Errorf("serve %s: %w", l.Addr(), err))
		}
	}()
	d.undo.push(func() error {
		ctx, cancel := context.WithTimeout(context.Background(), drainTimeout)
		defer cancel()
		return errors.Join(d.server.Shutdown(ctx), d.server.Close())
	})
	return d.openMembers()
}

func (d *Daemon) openMembers() error {
	if d.group < 0 {
		return nil // nobody is one
	}
	l, err := d.listen("unixpacket", filepath.Base(members.Socket))
	if err != nil {
		return err
	}
	config := members.Config{Group: d.config.Group, Policies: d.config.Policies, Logger: d.log}
	if dir := d.config.Getenv("CREDENTIALS_DIRECTORY"); dir != "" {
		config.Env = []string{"CREDENTIALS_DIRECTORY=" + dir}
	}
	ctx, cancel := context.WithCancel(d.ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := members.Serve(ctx, l, config); err != nil {
			d.fail(fmt.Errorf("serve %s: %w", l.Addr(), err))
		}
	}()
	d.undo.push(func() error { cancel(); <-ended; return nil })
	return nil
}

func (d *Daemon) fail(err error) {
	select {
	case d.broken <- err:
	default:
	}
}

// Broken tells why the daemon cannot go on.
func (d *Daemon) Broken() <-chan error { return d.broken }

// drainTimeout bounds how long requests that are under way may take at the end:
// those of the interface, and after them those of containers.
const drainTimeout = 10 * time.Second

// Close ends the daemon: no request begins, those under way end, until
// drainTimeout is over. What holds containers stays in force; who connects
// waits in the listeners where a service manager keeps them, and is refused
// where none does.
func (d *Daemon) Close() error {
	d.tell(d.manager.Stopping())
	return d.abort()
}
