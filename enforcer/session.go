// SPDX-License-Identifier: Apache-2.0

package enforcer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/phantom-ns/phantom-ns/netns/sandbox"
	"github.com/phantom-ns/phantom-ns/proxy/audit"
	"github.com/phantom-ns/phantom-ns/proxy/policy"
)

// Config is one session to run.
type Config struct {
	User    User
	Invoker Invoker
	Caller  map[string]string // the environment the user typed the command in

	Command []string
	Dir     string // the agent's working directory

	Profile *policy.Profile // nil: none
	Policy  *policy.File    // nil: none
	Trusted bool            // the policy is root's, so what it names is read as root
	With    []string
	Login   []string // logins that are made in the session
	Allow   []string
	Write   []string

	// Reread reads policy and profile again, as they were read for Policy,
	// Trusted and Profile; nil: a reload fetches credentials alone.
	Reread func() (Reread, error)

	// Passphrase is what the store's passphrase is read from, where it has one;
	// nil: the controlling terminal.
	Passphrase *os.File

	Stdin, Stdout, Stderr *os.File
	Streams               *sandbox.Streams // set: in the place of Stdin, Stdout and Stderr
	Attendant             sandbox.Attendant

	// Member says that the user is not the one who decides what the session may
	// reach: the user's configuration of registries opens no way out.
	Member bool

	Logger   *slog.Logger
	Notify   func(line string) // what the person at the terminal should know
	Attended bool              // a person reads it: the end of the session is summed up
}

// Session is a running agent and everything that holds it.
type Session struct {
	supply // of its proxy

	id       string
	git      *gitReading
	memlock  *unix.Rlimit // the caller's, for the agent
	trail    *Trail
	kernel   *kernelHalf
	masking  *masking
	atRest   <-chan atRest // nil: nothing is looked for
	strict   bool          // a credential where the agent reads it ends the session
	child    *sandbox.Child
	visitors visitors         // with programs beside the agent
	environ  []string         // the agent's
	autorun  map[string]stamp // files that run by themselves, as they were
	tally    tally
	started  bool // the log has the first record, so it is to have the last
	dir      *stateDir
	state    state

	serving chan struct{} // closed when the agent executes
	broken  chan error    // the proxy ended before the agent
	// uncovered ends the session, too: a covered file is in sight.
	uncovered chan error
}

// newSession is one that has nothing yet.
func newSession(config Config) *Session {
	s := &Session{
		supply: supply{config: config, closing: make(chan struct{}), redue: make(chan struct{}, 1), check: (*policy.Session).CheckReload},
		id:     audit.NewID(), broken: make(chan error, 1), uncovered: make(chan error, 1), serving: make(chan struct{}),
	}
	s.strict = config.Policy != nil && config.Policy.KeyAtRest == "refuse"
	s.renewed = s.recordRenewal
	return s
}

// Start sets a session up. When it returns without an error the agent is
// executing; with one, it never executed and nothing is left.
//
// The order is the product:
//
//	state, lock ▸ cgroup ▸ ┬ helpers fetch credentials ▸ proxy ┬ ▸ listeners handed over ▸ agent
//	                       └ programs attached ▸ namespace ▸ init ┘
//
// The programs are attached before the first process is cloned into the
// cgroup, and the proxy serves before init may execute anything.
func Start(ctx context.Context, config Config) (*Session, error) {
	if _, err := Kernel(); err != nil {
		return nil, err
	}
	if swept, err := Sweep(); err != nil {
		config.Logger.Warn("sweep before start", "error", err)
	} else if len(swept) > 0 {
		config.Logger.Info("removed what dead sessions left", "sessions", len(swept))
	}
	if err := keepDescriptors(); err != nil {
		return nil, err
	}
	memlock, err := raiseMemlock()
	if err != nil {
		return nil, err
	}
	s := newSession(config)
	s.memlock = memlock
	if err := s.start(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Session) start(ctx context.Context) error {
	group, err := s.claim()
	if err != nil {
		return err
	}
	if err := s.unlockStore(group); err != nil {
		return err
	}
	half := loadKernelHalf(group.agent)
	s.git = s.readGitConfig()
	looking := s.lookForCredentials()
	s.around = s.prepareProfile(group)
	masked := s.startMasking(group, looking)
	spec, err := s.startProxy(group)
	if err = errors.Join(masked, err); err == nil {
		err = s.tellMasking(spec)
	}
	s.kernel = <-half
	s.undo.push(s.kernel.Close)
	if err := errors.Join(err, s.kernel.err); err != nil {
		return err
	}
	if err := s.startInit(ctx, group, spec); err != nil {
		return err
	}
	return s.launch(spec)
}

// claim makes the session's state directory, audit log and cgroup.
func (s *Session) claim() (*cgroup, error) {
	dir, err := newStateDir(s.id)
	if err != nil {
		return nil, err
	}
	s.undo.push(dir.Close)
	s.dir = dir
	log, err := openAudit(s.id)
	if err != nil {
		return nil, err
	}
	s.undo.push(log.Close)
	s.trail = &Trail{Log: log, Drops: s.config.Policy != nil && s.config.Policy.AuditFull == policy.AuditDrop, Closing: s.closing, Logger: s.config.Logger}
	s.undo.push(s.recordEnd)
	group, err := newCgroup(s.id)
	if err != nil {
		return nil, err
	}
	s.undo.push(group.Close)
	s.group = group
	s.state = state{
		ID: s.id, PID: os.Getpid(), UID: s.config.User.UID, Member: s.config.Member,
		Command: s.config.Command[0], Cgroup: group.path, Started: time.Now().UTC(),
	}
	// The door first: who finds a name in the state has to be heard.
	if err := s.openDoor(); err != nil {
		return nil, err
	}
	return group, s.saveState()
}

// startInit admits the namespace to the kernel half, clones init into it and
// into the cgroup, and lets the proxy serve it.
func (s *Session) startInit(ctx context.Context, group *cgroup, spec *policy.Session) error {
	if err := s.kernel.admit(spec, s.absolute(spec.Filesystem.Expose)); err != nil {
		return err
	}
	s.watchDenials()
	child, err := sandbox.Start(ctx, sandbox.Config{
		Cgroup: group.agent, Namespace: s.kernel.namespace, Executable: executable,
		Stdin: s.config.Stdin, Stdout: s.config.Stdout, Stderr: s.config.Stderr,
		Streams: s.config.Streams, Attendant: s.config.Attendant,
		Spec: s.sandboxSpec(spec),
	})
	if err != nil {
		return err
	}
	s.child = child
	s.undo.push(s.visitors.Close)
	s.undo.push(child.Close)
	// A move in cgroup v1 waits some 5 ms for all processors, beside what init does.
	held := make(chan error, 1)
	go func() { held <- group.hold(child.PID()) }()
	err = s.handOver(spec)
	if unheld := <-held; err == nil {
		err = unheld
	}
	return err
}

// handOver takes the sockets born inside to the proxy, and returns when it
// serves.
func (s *Session) handOver(spec *policy.Session) error {
	listeners, err := s.child.Listeners()
	if err != nil {
		return err
	}
	defer closeListeners(listeners)
	if err := s.kernel.steerTo(listeners); err != nil {
		return err
	}
	gone, err := s.kernel.checkPeers()
	if err != nil {
		return err
	}
	if gone != nil {
		s.config.Logger.Debug("unix sockets are held by the mounts alone", "why", gone)
	}
	published, err := s.publish(spec)
	if err != nil {
		return err
	}
	defer published.close()
	if err := s.serveSession(listeners, published); err != nil {
		return err
	}
	return s.watchCallbacks(spec)
}

func (s *Session) sandboxSpec(spec *policy.Session) sandbox.Spec {
	u := s.config.User
	hostname, err := os.Hostname()
	if err != nil {
		hostname = "localhost"
	}
	var forward []uint16
	for _, f := range spec.Forward {
		forward = append(forward, f.Port)
	}
	write := s.absolute(slices.Concat(spec.Filesystem.Write, s.config.Write, s.around.written(s.absolute(spec.Filesystem.Hide))))
	writesDir := slices.Contains(write, s.config.Dir)
	write = slices.DeleteFunc(write, func(p string) bool { return p == s.config.Dir })
	return sandbox.Spec{
		User: sandbox.User{Name: u.Name, Home: u.Home, Shell: u.Shell, UID: u.UID, GID: u.GID, Groups: dropPrivilegedGroups(u.Groups)},
		Dir:  s.config.Dir, DirRead: !writesDir, Hostname: hostname, IPv6: s.kernel.namespace.HasIPv6(), Forward: forward,
		Write: write, Protect: s.protected(write),
		Hide: s.absolute(spec.Filesystem.Hide), Expose: s.absolute(spec.Filesystem.Expose),
		HomeMode: spec.Filesystem.Home, Permit: spec.Permit, Memlock: s.memlock,
	}
}

// absolute completes paths as the user would mean them: ~ is the agent's home,
// and what is relative begins at the working directory.
func (s *supply) absolute(paths []string) []string {
	var out []string
	for _, p := range paths {
		if rest, ok := strings.CutPrefix(p, "~"); ok && (rest == "" || rest[0] == '/') {
			p = s.config.User.Home + rest
		}
		if !filepath.IsAbs(p) {
			p = filepath.Join(s.config.Dir, p)
		}
		out = append(out, filepath.Clean(p))
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// launch lets init execute the agent.
func (s *Session) launch(spec *policy.Session) error {
	names, err := newNameFiles()
	if err != nil {
		return err
	}
	extra := slices.Concat(s.around.env, profileEnviron(spec), sandbox.TrustEnv(),
		PlaceholderEnviron(spec, s.placeholders), s.gitEnviron(spec))
	covers, err := s.covers()
	if err != nil {
		return err
	}
	s.tellCredentials(spec)
	covered := s.covered(spec, covers)
	if err := s.tellAtRest(covered); err != nil {
		return err
	}
	if err := s.watchCovers(spec, covered); err != nil {
		return err
	}
	s.autorun = s.stampAutorun()
	s.environ = agentEnviron(s.config.Caller, s.config.User, extra)
	// First: an agent that executes has a log.
	if err := s.trail.Log.Write(s.lifeRecord(audit.ReasonSessionStart)); err != nil {
		return err
	}
	s.started = true
	err = s.child.Launch(sandbox.Launch{
		Covers: covers, Given: given(spec, s.placeholders),
		Argv: s.config.Command, Env: s.environ,
		CA: s.ca, SystemRoots: names.roots,
		Hosts: names.hosts, ResolvConf: names.resolvConf, Nsswitch: names.nsswitch,
	})
	if err != nil {
		return err
	}
	for _, warning := range s.child.Warnings() {
		s.config.Notify(warning)
	}
	s.renewing.Lock()
	s.schedule()
	s.renewing.Unlock()
	close(s.serving)
	go s.keepFresh()
	return nil
}

func (s *Session) lifeRecord(reason audit.Reason) audit.Record {
	return audit.Record{
		Kind: audit.KindSession, Verdict: audit.Allow, Reason: reason,
		PID: uint32(s.child.PID()), UID: uint32(s.config.User.UID), Comm: filepath.Base(s.config.Command[0]),
	}
}

// recordEnd writes the last record of a session that began: whoever reads the
// log can tell that nothing after it is missing.
func (s *Session) recordEnd() error {
	if !s.started {
		return nil
	}
	return errors.Join(s.trail.Rest(), s.trail.Log.Write(s.lifeRecord(audit.ReasonSessionEnd)))
}

// ErrProxyDied ends a session whose proxy ended before the agent did.
var ErrProxyDied = errors.New("the proxy ended; the session was stopped")

// Wait returns when the agent has ended. When the proxy ends first, the agent
// is killed and the error says so.
func (s *Session) Wait() (sandbox.Status, error) {
	type outcome struct {
		status sandbox.Status
		err    error
	}
	ended := make(chan outcome, 1)
	go func() {
		status, err := s.child.Wait()
		ended <- outcome{status, err}
	}()
	select {
	case o := <-ended:
		return o.status, o.err
	case err := <-s.broken:
		killErr := s.child.Signal(syscall.SIGKILL) // ends init, and with it every process
		<-ended
		return sandbox.Status{}, errors.Join(fmt.Errorf("%w: %w", ErrProxyDied, err), killErr)
	case err := <-s.uncovered:
		killErr := s.child.Signal(syscall.SIGKILL)
		<-ended
		return sandbox.Status{}, errors.Join(err, killErr)
	}
}

// Signal passes a signal on to the agent.
func (s *Session) Signal(sig syscall.Signal) error { return s.child.Signal(sig) }

// Close ends the session: whatever is left of the agent is killed, the proxy
// is told to finish, and everything that Start made is undone.
func (s *Session) Close() error {
	close(s.closing)
	err := s.undo.Close() // brings the last records
	s.sumUp()
	return err
}
