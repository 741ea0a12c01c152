// SPDX-License-Identifier: Apache-2.0

package enforcer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/phantom-ns/phantom-ns/proxy"
	"github.com/phantom-ns/phantom-ns/proxy/audit"
)

// ProxyStage is the proxy's argv[0].
const ProxyStage = "phantom-ns: proxy"

// ProxyMain is the proxy process. It never returns. Its exit status matters to
// nobody: what went wrong goes to whoever started it as a failed message.
func ProxyMain() {
	// An error here has no way back but stderr.
	if err := hideProcess(); err != nil {
		fmt.Fprintln(os.Stderr, ProxyStage+":", err)
		os.Exit(125)
	}
	ctl, err := openControl(os.NewFile(proxyControlFD, "control"))
	if err != nil {
		fmt.Fprintln(os.Stderr, ProxyStage+":", err)
		os.Exit(125)
	}
	stage := newProxyStage(ctl, audit.NewEncoder(os.NewFile(proxyAuditFD, "records")), newStageLogger())
	if err := stage.confine(); err != nil {
		// Where the supervisor is gone there is nobody left to tell.
		_ = ctl.send(message{Kind: msgFailed, Stage: stage.at, Text: err.Error()})
		os.Exit(125)
	}
	// An error is of sockets and connections that go with the process.
	_ = stage.serve()
	os.Exit(0)
}

// newStageLogger writes lines for the supervisor to hand on, which knows the
// time.
func newStageLogger() *slog.Logger {
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{
		Level: slog.LevelWarn,
		ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
			if len(groups) == 0 && a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		},
	}))
}

// hideProcess leaves nothing for a core file, a debugger or the swap device.
func hideProcess() error {
	// The change of uid before execve set the kernel's default, which may be
	// "readable by root" (suid_dumpable); 0 is none at all.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("make proxy undumpable: %w", err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return fmt.Errorf("switch core files off: %w", err)
	}
	os.Clearenv()
	return nil
}

// proxyStage is the proxy process: policies with their credentials, and the
// sessions that are served under them.
type proxyStage struct {
	control *control
	records *audit.Encoder
	log     *slog.Logger
	at      string // the stage a failure is reported at
	origin  func(own ...netip.Addr) func(net.Conn) (proxy.Origin, error)
	files   int          // descriptors that the process began with, at most
	share   *proxy.Share // of those sessions that share the process; nil: there is none yet

	mu       sync.Mutex
	policies map[string]*policyStage // nil: on its way
	sessions map[string]*sessionStage
}

func newProxyStage(c *control, records *audit.Encoder, log *slog.Logger) *proxyStage {
	return &proxyStage{
		control: c, records: records, log: log, origin: proxy.KernelOrigin, files: descriptorLimit(),
		policies: make(map[string]*policyStage), sessions: make(map[string]*sessionStage),
	}
}

// descriptorLimit is asked while it may be. Go's runtime has raised the limit as
// far as the process could.
func descriptorLimit() int {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 0 // no session is served that shares the process
	}
	return int(min(limit.Cur, 1<<31))
}

// confine is everything that comes before a credential.
func (p *proxyStage) confine() error {
	p.at = "memory"
	if err := lockMemory(); err != nil {
		return err
	}
	p.at = "confine"
	return confine()
}

// serve does what it is asked until the control socket ends. Each request has a
// goroutine: one policy's helpers hold up no other.
func (p *proxyStage) serve() error {
	for {
		m, files, err := p.control.receive()
		if err != nil {
			return p.close()
		}
		go func() {
			answer := p.answer(m, files)
			closeAll(files)
			answer.Number = m.Number
			if err := p.control.send(answer); err != nil {
				// Whoever waits for it would wait for ever.
				p.log.Error("answer "+m.Kind, "error", err)
				p.control.Close()
			}
		}()
	}
}

func (p *proxyStage) close() error {
	p.mu.Lock()
	sessions, policies := p.sessions, p.policies
	p.sessions, p.policies = nil, nil
	p.mu.Unlock()
	var errs []error
	for _, s := range sessions {
		errs = append(errs, s.close())
	}
	for _, policy := range policies {
		errs = append(errs, policy.close())
	}
	return errors.Join(errs...)
}

// answer does one thing that is asked.
func (p *proxyStage) answer(m message, files []*os.File) message {
	stage, do := "control", func(message, []*os.File) (message, error) {
		return message{}, fmt.Errorf("unknown message %q", m.Kind)
	}
	switch m.Kind {
	case msgPolicy:
		stage, do = "credentials", p.takePolicy
	case msgRenew:
		stage, do = stageRenew, p.renewPolicy
	case msgForget:
		stage, do = "policy", p.forgetPolicy
	case msgSession:
		stage, do = "listen", p.takeSession
	case msgPublish:
		stage, do = "publish", p.openCallback
	case msgWithdraw:
		stage, do = "publish", p.closeCallback
	case msgEnd:
		stage, do = "session", p.endSession
	case msgDrain:
		stage, do = "drain", p.drain
	}
	answer, err := do(m, files)
	if err != nil {
		return message{Kind: msgFailed, Stage: stage, Text: err.Error()}
	}
	if answer.Kind == "" {
		answer.Kind = msgDone
	}
	return answer
}

// drain lets the sessions finish, all at once.
func (p *proxyStage) drain(m message, _ []*os.File) (message, error) {
	ctx, cancel := context.WithTimeout(context.Background(), m.Within)
	defer cancel()
	p.mu.Lock()
	var all sync.WaitGroup
	errs := make(chan error, len(p.sessions))
	for _, s := range p.sessions {
		all.Go(func() { errs <- s.drain(ctx) })
	}
	p.mu.Unlock()
	all.Wait()
	close(errs)
	cut := 0
	for err := range errs {
		if err != nil {
			cut++
		}
	}
	if cut > 0 {
		return message{}, fmt.Errorf("%d sessions had requests under way after %s", cut, m.Within)
	}
	return message{}, nil
}
