// SPDX-License-Identifier: Apache-2.0

package enforcer

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/phantom-ns/phantom-ns/proxy/mint"
	"github.com/phantom-ns/phantom-ns/proxy/policy"
	"github.com/phantom-ns/phantom-ns/proxy/secret"
)

// A login is refreshed by the proxy, which has no disk, and kept in the store,
// which it cannot reach. For each refresh it asks for a lease over a socket of
// its own; a helper takes it, and the ends of the helper's pipes come back:
//
//	proxy                     supervisor                 helper
//	   ├─ lease {credential} ──▶│ is it a login of the session's?
//	   │                        ├─ starts ───────────────▶│ locks, reads the store
//	   │◀─ lease + 3 pipes ─────┤                         │
//	   │◀──────────────── the login as it is stored ──────┤
//	   ├───────────────── the refreshed one ─────────────▶│ stores it
//	   │◀──────────────────────── stored ─────────────────┤
//
// What the entry is called, and at which hosts it may be used, the proxy does
// not say. Of a login that stays in its tool's file one pipe comes back, with
// what the file holds now.
const msgLease = "lease"

// logins are the session's credentials that may be logins.
func logins(spec *policy.Session) []policy.Credential {
	return slices.DeleteFunc(slices.Concat(spec.Credentials, spec.Logins), func(c policy.Credential) bool { return policy.LoginOf(c.Provider) == nil })
}

// serveLeases answers the proxy until its end of the socket is closed.
func (s *Session) serveLeases(group *cgroup, spec *policy.Session, c *control) {
	known := logins(spec)
	ended := make(chan struct{})
	s.undo.push(func() error { c.Close(); <-ended; return nil })
	go func() {
		defer close(ended)
		for {
			m, files, err := c.receive()
			closeAll(files)
			if err != nil {
				return
			}
			ends, err := s.startLease(group, known, m.Credential)
			answer := message{Kind: msgLease, Credential: m.Credential}
			var fds []int
			for _, f := range ends {
				fd, derr := Descriptor(f)
				fds, err = append(fds, fd), errors.Join(err, derr)
			}
			if err != nil {
				answer.Text, fds = err.Error(), nil
			}
			err = c.send(answer, fds...)
			closeAll(ends)
			if err != nil {
				return
			}
		}
	}()
}

// startLease starts the helper for one credential and returns the proxy's ends
// of its pipes: reply, update, ack.
func (s *Session) startLease(group *cgroup, known []policy.Credential, name string) ([]*os.File, error) {
	at := slices.IndexFunc(known, func(c policy.Credential) bool { return c.Name == name })
	if at < 0 {
		return nil, fmt.Errorf("lease %q: not a login of this session", name)
	}
	ref, err := secret.ParseRef(known[at].Source)
	if err == nil && ref.Kind() == secret.KindFile {
		return s.startReading(group, known[at], ref)
	}
	if err == nil && ref.Kind() != secret.KindStore {
		err = errNotStored
	}
	if err != nil {
		return nil, fmt.Errorf("lease %q: %w", name, err)
	}
	none, err := os.Open(os.DevNull) // in the place of the facts
	if err != nil {
		return nil, fmt.Errorf("lease %q: %w", name, err)
	}
	var ends pipeEnds
	defer func() { ends.closeTheirs() }()
	request, reply := ends.toChild(), ends.fromChild()
	ends.theirs = append(ends.theirs, none)
	update := ends.toChild()
	ours := []*os.File{reply, update, ends.fromChild()}
	if ends.err != nil {
		return nil, fmt.Errorf("lease %q: %w", name, ends.err)
	}
	defer request.Close()
	env, err := s.secretEnv(ref)
	cmd := s.stageCommand(secret.Stage, group, s.lendKey(ref, &env, ends.theirs)...)
	if err := cmd.Start(); err != nil {
		closeAll(ours)
		return nil, fmt.Errorf("lease %q: start helper: %w", name, err)
	}
	go cmd.Wait() // reaped here; its answer is what counts
	if err == nil {
		err = secret.Request{Ref: ref, Env: env, Terms: terms(known[at])}.Send(request)
	}
	if err != nil {
		closeAll(ours)
		return nil, err
	}
	return ours, nil
}

// startReading starts the helper that reads a file again.
func (s *Session) startReading(group *cgroup, c policy.Credential, ref secret.Ref) ([]*os.File, error) {
	f, err := s.startHelper(group, source{name: c.Name, from: c.Source}, ref)
	if err != nil {
		return nil, err
	}
	go f.await() // what it says, the reply says too
	return []*os.File{f.value}, nil
}

// terms make an entry for a login that is made in the session, bound to what its
// provider says.
func terms(c policy.Credential) *secret.Terms {
	if !c.Login {
		return &secret.Terms{}
	}
	preset, _ := policy.ProviderNamed(c.Provider)
	return &secret.Terms{Create: true, Hosts: preset.Hosts, Provider: preset.Name}
}

// keep stores a login that was made in the session.
func (l *leases) keep(ctx context.Context, name string, login mint.Login) error {
	lease, err := l.take(ctx, name)
	if err != nil {
		return err
	}
	defer lease.Close()
	var refusal *secret.Refusal
	if _, err := lease.Login(); err != nil && !errors.As(err, &refusal) && !errors.Is(err, mint.ErrLogin) {
		return err // but not where there was none, or a token that stood alone
	}
	return lease.Save(login)
}

var errNotStored = errors.New("a login is read from the store (phantom-ns secret set NAME --from-file FILE) or from its tool's file (from: file:/PATH)")

// leases is the proxy's side.
type leases struct {
	mu   sync.Mutex
	with *control
}

// ask returns the ends of the helper's pipes for one credential.
func (l *leases) ask(name string, ends int) ([]*os.File, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.with.send(message{Kind: msgLease, Credential: name}); err != nil {
		return nil, err
	}
	m, files, err := l.with.expect(msgLease)
	if err != nil {
		return nil, err
	}
	if m.Text != "" || len(files) != ends {
		closeAll(files)
		return nil, fmt.Errorf("take lease: %s", m.Text)
	}
	return files, nil
}

// take asks for the lease of one credential.
func (l *leases) take(ctx context.Context, name string) (mint.Lease, error) {
	files, err := l.ask(name, 3)
	if err != nil {
		return nil, err
	}
	lease := &loginLease{secret.Lease{Reply: files[0], Update: files[1], Ack: files[2]}}
	if until, bounded := ctx.Deadline(); bounded {
		lease.SetDeadline(until.Add(leaseGrace))
	}
	return lease, nil
}

// read returns a login as its tool's file holds it now.
func (l *leases) read(ctx context.Context, c *policy.Credential) (mint.Login, error) {
	files, err := l.ask(c.Name, 1)
	if err != nil {
		return mint.Login{}, err
	}
	defer closeAll(files)
	if until, bounded := ctx.Deadline(); bounded {
		_ = files[0].SetReadDeadline(until) // where a pipe takes none, the helper has its own
	}
	entry, err := secret.ReadReply(files[0])
	if err != nil {
		return mint.Login{}, err
	}
	defer entry.Value.Wipe()
	return readLogin(c, entry.Value)
}

// leaseGrace is how long saving may take beyond an exchange: what the service
// has rotated is not to be lost to a slow disk.
const leaseGrace = 10 * time.Second

// loginLease reads and writes logins.
type loginLease struct{ secret.Lease }

func (l *loginLease) Login() (mint.Login, error) {
	v, err := l.Value()
	if err != nil {
		return mint.Login{}, err
	}
	return mint.ParseLogin(v)
}

func (l *loginLease) Save(login mint.Login) error {
	v, err := login.Encode()
	if err != nil {
		return err
	}
	defer v.Wipe()
	return l.Lease.Save(v)
}

// keepLogin stores a login that was made in the session, and says so: whoever
// did not log in just now knows that somebody else did.
func (p *policyStage) keepLogin(ctx context.Context, name string, login mint.Login) error {
	if err := p.leases.keep(ctx, name, login); err != nil {
		return err
	}
	p.callbacks.done(name)
	p.log.Warn("a login was made in the session, and is stored", "credential", name)
	return nil
}

// refresher is the exchange of a login of provider l.
func (p *policyStage) refresher(c *policy.Credential, l *policy.Login, login mint.Login) *mint.Refresher {
	return mint.NewRefresher(mint.Refresher{
		URL: "https://" + l.Host + l.Path, Form: l.Form, Client: l.Client, Scope: l.Scope,
		Lease: func(ctx context.Context) (mint.Lease, error) { return p.leases.take(ctx, c.Name) },
		Warn: func(text string, err error) {
			p.log.Error("credential "+c.Name+": "+text, "error", err)
		},
	}, login)
}

// loginOf reports whether a value is a login that is to be refreshed.
func loginOf(c *policy.Credential, value secret.Value) (*policy.Login, bool) {
	l := policy.LoginOf(c.Provider)
	return l, l != nil && mint.IsLogin(value)
}

// isStored reports whether a credential comes from the store.
func isStored(c *policy.Credential) bool {
	return strings.HasPrefix(c.Source, string(secret.KindStore)+":")
}
