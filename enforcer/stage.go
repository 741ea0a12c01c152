// SPDX-License-Identifier: Apache-2.0

package enforcer

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/phantom-ns/phantom-ns/netns"
	"github.com/phantom-ns/phantom-ns/proxy"
	"github.com/phantom-ns/phantom-ns/proxy/audit"
	"github.com/phantom-ns/phantom-ns/proxy/ca"
	"github.com/phantom-ns/phantom-ns/proxy/dns"
	"github.com/phantom-ns/phantom-ns/proxy/policy"
	"github.com/phantom-ns/phantom-ns/proxy/secret"
	"github.com/phantom-ns/phantom-ns/proxy/swap"
)

// ProxyStage is the proxy's argv[0].
const ProxyStage = "phantom-ns: proxy"

// credentialDeadline bounds the wait for one helper's answer. The helper's own
// deadline is shorter and says more.
const credentialDeadline = secret.DefaultTimeout + 5*time.Second

// ProxyMain is the proxy process. It never returns. Its exit status matters to
// nobody: what went wrong goes to the supervisor as a failed message.
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
	stage := &proxyStage{control: ctl, log: newStageLogger()}
	if err := stage.run(); err != nil {
		// Where the supervisor is gone there is nobody left to tell.
		_ = ctl.send(message{Kind: msgFailed, Stage: stage.at, Text: err.Error()})
		os.Exit(125)
	}
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
	// Per thread, and threads exist: the call is made on all of them.
	if _, _, errno := syscall.AllThreadsSyscall6(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0); errno != 0 {
		return fmt.Errorf("set no_new_privs: %w", errno)
	}
	os.Clearenv()
	return nil
}

// proxyStage is the proxy process on its way to serving.
type proxyStage struct {
	control *control
	log     *slog.Logger
	at      string // the stage a failure is reported at

	spec    proxySpec
	rules   atomic.Pointer[policy.Rules]
	names   *dns.Table
	stub    *dns.Server // one for all sockets: its limits are the session's
	records *audit.Encoder
	server  *proxy.Server
	relays  *relays
	// credentials are all that the agent has a placeholder for, by name, whether
	// or not the session uses them now.
	credentials map[string]swap.Credential
	inside      *inside // nil: nothing is published
	leases      leases
}

func (p *proxyStage) run() error {
	var ready message
	steps := []struct {
		name string
		do   func() error
	}{
		{"spec", p.readSpec},
		{"memory", lockMemory},
		{"confine", confine},
		{"credentials", func() (err error) { ready, err = p.prepare(); return err }},
		{"ready", func() error { return p.control.send(ready) }},
		{"listen", p.listen},
		{"serving", func() error { return p.control.send(message{Kind: msgServing}) }},
	}
	for _, step := range steps {
		p.at = step.name
		if err := step.do(); err != nil {
			return err
		}
	}
	return p.untilClosed()
}

func (p *proxyStage) readSpec() error {
	pipe := os.NewFile(proxySpecFD, "spec")
	defer pipe.Close()
	if err := json.NewDecoder(pipe).Decode(&p.spec); err != nil {
		return fmt.Errorf("read spec: %w", err)
	}
	p.records = audit.NewEncoder(os.NewFile(proxyAuditFD, "records"))
	return nil
}

// prepare takes the credentials in, mints what stands for them, and builds the
// server.
func (p *proxyStage) prepare() (message, error) {
	rules, err := policy.Compile(p.spec.Session)
	if err != nil {
		return message{}, err
	}
	p.rules.Store(rules)
	p.credentials = make(map[string]swap.Credential)
	ready := message{Kind: msgReady, Placeholders: make(map[string]string)}
	var credentials []swap.Credential
	for i := range p.spec.Session.Credentials {
		c, err := p.takeCredential(&p.spec.Session.Credentials[i], os.NewFile(uintptr(proxyFirstCredential+i), "credential"), ready.Placeholders)
		if err != nil {
			return message{}, err
		}
		credentials = append(credentials, c)
		p.credentials[c.Policy.Name] = c
		ready.Placeholders[c.Policy.Name] = c.Placeholder
	}
	if err := distinct(credentials); err != nil {
		return message{}, err
	}
	if err := p.searchAtRest(credentials); err != nil {
		return message{}, err
	}
	if len(logins(p.spec.Session)) > 0 {
		number := proxyFirstCredential + len(credentials)
		if len(credentials) > 0 {
			number++ // the search at rest has its socket there
		}
		if via := p.spec.Session.Proxy; via != nil && via.Password {
			number++
		}
		if p.leases.with, err = openControl(os.NewFile(uintptr(number), "leases")); err != nil {
			return message{}, err
		}
	}
	authority, err := p.newAuthority()
	if err != nil {
		return message{}, err
	}
	ready.CA = authority.PEM()
	return ready, p.newServer(authority, credentials)
}

func (p *proxyStage) takeCredential(c *policy.Credential, pipe *os.File, holders map[string]string) (swap.Credential, error) {
	defer pipe.Close()
	entry, err := readValue(pipe)
	if err != nil {
		return swap.Credential{}, fmt.Errorf("credential %q: %w", c.Name, err)
	}
	if l, ok := loginOf(c, entry.Value); ok {
		made, err := p.takeLogin(c, l, entry.Value, holders)
		if err != nil {
			return made, fmt.Errorf("credential %q: %w", c.Name, err)
		}
		return made, nil
	}
	if c.Grant != nil {
		made, err := takeGrant(c, entry.Value)
		if err != nil {
			return made, fmt.Errorf("credential %q: %w", c.Name, err)
		}
		return made, nil
	}
	value, err := usable(c, entry.Value)
	if err != nil {
		return swap.Credential{}, fmt.Errorf("credential %q: %w", c.Name, err)
	}
	placeholder, err := standIn(c, value, p.spec.TailSeed[c.Name])
	if err != nil {
		return swap.Credential{}, fmt.Errorf("credential %q: %w", c.Name, err)
	}
	cell := secret.NewCell(value)
	cell.Set(value, expiry(c))
	return swap.Credential{Policy: c, Placeholder: placeholder, Value: cell}, nil
}

// searchAtRest answers the supervisor's question whether one of the credentials
// lies about, beside the rest of the start.
func (p *proxyStage) searchAtRest(credentials []swap.Credential) error {
	if len(credentials) == 0 {
		return nil
	}
	with, err := openControl(os.NewFile(uintptr(proxyFirstCredential+len(credentials)), "at rest"))
	if err != nil {
		return err
	}
	var needles []needle
	for i := range credentials {
		c := &credentials[i]
		err := c.Value.Use(func(v secret.Value) (err error) {
			of, err := newNeedles(c.Policy, v)
			needles = append(needles, of...)
			return err
		})
		if err != nil && !errors.Is(err, secret.ErrNoValue) {
			return fmt.Errorf("credential %q: %w", c.Policy.Name, err)
		}
	}
	go func() {
		// Who closed it ends the session, and says why.
		if err := answerAtRest(with, needles); err != nil && !errors.Is(err, errClosed) {
			p.log.Warn("search for credentials at rest", "error", err)
		}
	}()
	return nil
}

// newAuthority makes the session's CA. It is constrained to the session's
// names where no name can be added later.
func (p *proxyStage) newAuthority() (*ca.Authority, error) {
	names, closed := p.rules.Load().Names()
	switch {
	case !closed:
		names = nil // unconstrained
	case names == nil:
		names = []string{} // good for none
	}
	return ca.New(ca.Options{Names: names})
}

// newServer makes the broker and the table of names that the stub fills.
func (p *proxyStage) newServer(authority *ca.Authority, credentials []swap.Credential) (err error) {
	via, err := p.via()
	if err != nil {
		return err
	}
	p.names = dns.New(policy.Canonical, func(host string) bool { return p.rules.Load().Name(host) })
	p.server, err = proxy.New(proxy.Config{
		Rules: p.rules.Load(), Names: p.names, CA: authority, Credentials: swap.New(credentials),
		Sink: p.records, Origin: proxy.KernelOrigin(netns.OwnAddr4, netns.OwnAddr6),
		Limits: p.spec.Session.Limits, Logger: p.log, Keep: p.keepLogin, Via: via,
	})
	return err
}

func (p *proxyStage) untilClosed() error {
	for {
		m, files, err := p.control.receive()
		if err == nil {
			err = p.control.send(p.answer(m, files))
		}
		closeAll(files)
		if err != nil {
			return errors.Join(p.server.Close(), p.stub.Close(), p.relays.Close())
		}
	}
}

// listen takes the sockets that were born inside the namespace and serves them.
func (p *proxyStage) listen() error {
	m, files, err := p.control.expect(msgListeners)
	if err != nil {
		return err
	}
	defer closeAll(files)
	if len(files) != len(m.Sockets) {
		return fmt.Errorf("take listeners: %d descriptors for %d names", len(files), len(m.Sockets))
	}
	p.relays = newRelays(p.spec.Session.Limits.Connections, p.record)
	p.stub = &dns.Server{Table: p.names, Hostname: p.spec.Hostname, Own4: netns.OwnAddr4, Sink: p.records}
	if slices.ContainsFunc(m.Sockets, func(s socketName) bool { return s.V6 }) {
		p.stub.Own6 = netns.OwnAddr6 // else no name has an IPv6 address
	}
	for i, name := range m.Sockets {
		if err := p.serveSocket(name, files[i]); err != nil {
			return fmt.Errorf("serve %s: %w", name.Role, err)
		}
	}
	return nil
}

func (p *proxyStage) serveSocket(name socketName, f *os.File) error {
	if name.Role == roleInside {
		conn, err := openControl(f)
		if err == nil {
			p.inside = &inside{conn: conn.conn, deadline: insideDialTimeout}
		}
		return err
	}
	if name.Role == roleDNS {
		conn, err := net.FilePacketConn(f)
		if err != nil {
			return err
		}
		go p.ends(name, func() error { return p.stub.ServePacket(conn, name.V6) })
		return nil
	}
	l, err := net.FileListener(f)
	if err != nil {
		return err
	}
	switch name.Role {
	case roleTCP:
		go p.ends(name, func() error { return p.server.Serve(l) })
	case roleDNSTCP:
		go p.ends(name, func() error { return p.stub.ServeStream(l) })
	case roleForward:
		go p.ends(name, func() error { return p.relays.serve(l, p.forwardOne(name.Port)) })
	case rolePublish:
		go p.ends(name, func() error { return p.relays.serve(l, p.publishOne(name.Index)) })
	default:
		return errors.Join(fmt.Errorf("unknown role %q", name.Role), l.Close())
	}
	return nil
}

// ends stops the whole session when one of its listeners stops: a session that
// answers on some of them only would look alive.
func (p *proxyStage) ends(name socketName, serve func() error) {
	err := serve()
	if !errors.Is(err, net.ErrClosed) && !errors.Is(err, proxy.ErrClosed) {
		p.log.Error("listener ended", "role", name.Role, "error", err)
	}
	p.control.Close()
}
