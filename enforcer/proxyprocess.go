// SPDX-License-Identifier: Apache-2.0

package enforcer

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"slices"
	"syscall"

	"github.com/phantom-ns/phantom-ns/netns/sandbox"
	"github.com/phantom-ns/phantom-ns/proxy/policy"
	"github.com/phantom-ns/phantom-ns/proxy/secret"
)

// proxySpec is what the proxy is told at its start. Nothing in it is secret:
// the credentials come down pipes of their own, from descriptor proxyFirstCredential on in
// the order of Session.Credentials. Where there are any, the socket of the search
// for them at rest follows; behind that the password of Session.Proxy.
type proxySpec struct {
	Session  *policy.Session   `json:"session"`
	Hostname string            `json:"hostname"`
	TailSeed map[string][]byte `json:"tail_seed,omitempty"`
}

// The proxy's descriptors.
const (
	proxyControlFD       = 3
	proxySpecFD          = 4
	proxyAuditFD         = 5
	proxyFirstCredential = 6
)

// proxyProcess is the supervisor's side of the proxy.
type proxyProcess struct {
	cmd          *exec.Cmd
	control      *control
	exited       chan struct{} // closed when the process is gone
	answers      chan message  // of a proxy that serves
	ca           []byte
	placeholders map[string]string
}

// startProxy fetches the credentials, resolves the policy with what was
// recorded about them, and starts the proxy on the result. It returns when the
// proxy holds every credential.
func (s *Session) startProxy(group *cgroup) (*policy.Session, error) {
	if err := s.checkPolicy(); err != nil {
		return nil, err
	}
	fetching, err := s.startHelpers(group, every)
	if err != nil {
		return nil, err
	}
	spec, err := s.resolve(fetching, nil)
	if err != nil {
		return nil, err
	}
	s.tellProfile(spec)
	s.spec, s.first = spec, spec
	if err := s.spawnProxy(group, spec, fetching); err != nil {
		return nil, err
	}
	ready, _, err := s.proxy.control.expect(msgReady)
	if errors.Is(err, errClosed) {
		err = fmt.Errorf("start proxy: %w", err) // it has said why, on stderr
	}
	if err != nil {
		return nil, err
	}
	s.proxy.ca, s.proxy.placeholders = ready.CA, ready.Placeholders
	return spec, nil
}

// resolve waits for what the helpers know, beside what was known before, and
// makes the policy ready.
func (s *Session) resolve(all []*fetching, before map[string]secret.Facts) (*policy.Session, error) {
	known := make(map[string]secret.Facts, len(all))
	maps.Copy(known, before)
	var errs []error
	for _, f := range all {
		facts, err := f.await()
		if f.optional && errors.Is(err, secret.ErrAbsent) {
			continue
		}
		errs = append(errs, err)
		if f.ref.Kind() == secret.KindStore {
			known[f.ref.Name()] = facts
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	flags := policy.Flags{With: s.config.With, Login: s.config.Login, Allow: s.config.Allow, Profile: s.config.Profile, Registries: s.around.registries}
	spec, err := policy.Resolve(s.config.Policy, flags,
		func(name string) ([]string, string, bool) {
			facts, ok := known[name]
			return facts.Hosts, facts.Provider, ok
		})
	if err != nil {
		return nil, err
	}
	if err := errors.Join(s.checkTargets(spec), checkPasswordHost(s.config.Policy, known)); err != nil {
		return nil, err
	}
	closeUnused(all, spec)
	s.known = known
	return spec, s.readAuthorities(spec)
}

// closeUnused drops the values of a profile's credentials that the policy or a
// flag stands in for.
func closeUnused(all []*fetching, spec *policy.Session) {
	for _, f := range all {
		used := f.name == proxyPassword && spec.Proxy != nil
		if !used && !slices.ContainsFunc(spec.Credentials, func(c policy.Credential) bool { return c.Name == f.name }) {
			f.close()
		}
	}
}

// readAuthorities reads the extra roots that the policy names, with the rights
// of whoever wrote the policy.
func (s *Session) readAuthorities(spec *policy.Session) error {
	for i := range spec.Hosts {
		target := &spec.Hosts[i]
		if target.CAFile == "" {
			continue
		}
		pem, err := s.config.Invoker.ReadNamed(target.CAFile, s.config.Trusted)
		if err != nil {
			return fmt.Errorf("host %q: ca: %w", target.Host, err)
		}
		target.CA = pem
	}
	return nil
}

func (s *Session) spawnProxy(group *cgroup, spec *policy.Session, all []*fetching) error {
	var ends pipeEnds
	ours, theirs, err := newControlPair()
	if err != nil {
		return err
	}
	s.undo.push(func() error { ours.Close(); return nil })
	ends.theirs = append(ends.theirs, theirs)
	defer func() { ends.closeTheirs() }()
	specPipe, records := ends.toChild(), ends.fromChild()
	if ends.err != nil {
		return fmt.Errorf("start proxy: %w", ends.err)
	}
	defer specPipe.Close()
	for _, c := range spec.Credentials {
		ends.theirs = append(ends.theirs, valueOf(all, c.Name))
	}
	var looking *control
	if len(spec.Credentials) > 0 {
		var end *os.File
		if looking, end, err = newControlPair(); err != nil {
			return err
		}
		ends.theirs = append(ends.theirs, end)
	}
	if spec.Proxy != nil && spec.Proxy.Password {
		ends.theirs = append(ends.theirs, valueOf(all, proxyPassword))
	}
	var leasing *control
	if len(logins(spec)) > 0 {
		var end *os.File
		if leasing, end, err = newControlPair(); err != nil {
			return err
		}
		ends.theirs = append(ends.theirs, end)
	}
	release, err := claimUIDs()
	if err != nil {
		return err
	}
	defer release()
	uid, gid, err := proxyUID(s.config.User.UID)
	if err != nil {
		return err
	}
	cmd := s.stageCommand(ProxyStage, group, ends.theirs...)
	cmd.Env = []string{"GODEBUG=clobberfree=1", "GOTRACEBACK=none"}
	cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid), Groups: []uint32{}}
	if err := cmd.Start(); err != nil {
		records.Close()
		return fmt.Errorf("start proxy: %w", err)
	}
	s.proxy = &proxyProcess{cmd: cmd, control: ours, exited: make(chan struct{}), answers: make(chan message)}
	if leasing != nil {
		s.serveLeases(group, spec, leasing)
	}
	s.watchProxy(records)
	s.lookAtRest(spec, looking)
	return s.tellProxy(specPipe, spec)
}

func valueOf(all []*fetching, name string) *os.File {
	for _, f := range all {
		if f.name == name {
			return f.value
		}
	}
	return nil
}

// watchProxy collects the proxy's records and notices its end. At the end of
// the session the proxy ends first (its control socket closes), then the last
// records are taken in.
func (s *Session) watchProxy(records io.ReadCloser) {
	p := s.proxy
	collected := make(chan struct{})
	go func() {
		defer close(collected)
		s.collect(records)
	}()
	go func() {
		err := p.cmd.Wait()
		close(p.exited)
		s.broken <- fmt.Errorf("proxy: %w", orUnexpected(err))
	}()
	s.undo.push(func() error {
		p.control.Close()
		<-p.exited
		<-collected
		return nil
	})
}

var errUnexpectedExit = errors.New("exited")

func orUnexpected(err error) error {
	if err == nil {
		return errUnexpectedExit
	}
	return err
}

// tellProxy sends the proxy its spec. Until then it has read nothing.
func (s *Session) tellProxy(pipe io.Writer, spec *policy.Session) error {
	hostname, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("start proxy: %w", err)
	}
	told := proxySpec{Session: spec, Hostname: hostname}
	if told.TailSeed, err = tailSeeds(s.config.User, spec); err != nil {
		return err
	}
	if err := json.NewEncoder(pipe).Encode(told); err != nil {
		return fmt.Errorf("start proxy: send spec: %w", err)
	}
	return nil
}

// serve hands the sockets born inside over and returns when the proxy answers
// on them. With them go those of the host for what is published.
func (p *proxyProcess) serve(l *sandbox.Listeners, published *published) error {
	m := message{Kind: msgListeners}
	var fds []int
	add := func(f *os.File, name socketName) error {
		if f == nil {
			return nil
		}
		fd, err := descriptor(f)
		if err != nil {
			return err
		}
		m.Sockets, fds = append(m.Sockets, name), append(fds, fd)
		return nil
	}
	err := errors.Join(
		add(l.TCP4, socketName{Role: roleTCP}), add(l.TCP6, socketName{Role: roleTCP, V6: true}),
		add(l.DNS4, socketName{Role: roleDNS}), add(l.DNS6, socketName{Role: roleDNS, V6: true}),
		add(l.DNSTCP4, socketName{Role: roleDNSTCP}), add(l.DNSTCP6, socketName{Role: roleDNSTCP, V6: true}),
	)
	for port, files := range l.Forward {
		for _, f := range files {
			err = errors.Join(err, add(f, socketName{Role: roleForward, Port: port}))
		}
	}
	// The door first: whoever comes to a published port asks there.
	err = errors.Join(err, add(published.door, socketName{Role: roleInside}))
	for i, f := range published.listeners {
		err = errors.Join(err, add(f, socketName{Role: rolePublish, Index: i}))
	}
	if err != nil {
		return err
	}
	if err := p.control.send(m, fds...); err != nil {
		return err
	}
	if _, _, err = p.control.expect(msgServing); err == nil {
		go p.listen()
	}
	return err
}

// closeListeners drops the supervisor's copies: when the proxy ends, nothing
// listens any more.
func closeListeners(l *sandbox.Listeners) {
	files := []*os.File{l.TCP4, l.TCP6, l.DNS4, l.DNS6, l.DNSTCP4, l.DNSTCP6}
	for _, f := range l.Forward {
		files = append(files, f...)
	}
	closeAll(files)
}
