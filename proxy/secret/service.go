// SPDX-License-Identifier: Apache-2.0

package secret

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/godbus/dbus/v5"
)

// The names of the Secret Service API 0.2 of freedesktop.org.
const (
	serviceName   = "org.freedesktop.secrets"
	servicePath   = dbus.ObjectPath("/org/freedesktop/secrets")
	serviceIface  = "org.freedesktop.Secret.Service"
	itemIface     = "org.freedesktop.Secret.Item"
	promptIface   = "org.freedesktop.Secret.Prompt"
	sessionIface  = "org.freedesktop.Secret.Session"
	errorIsLocked = "org.freedesktop.Secret.Error.IsLocked"
)

// ErrNoService is a session bus that cannot be reached or has no Secret Service.
var ErrNoService = errors.New("no Secret Service on the session bus")

// service is one conversation with a Secret Service over an encrypted session.
type service struct {
	conn    *dbus.Conn
	owner   string // the service's unique name, to tell whose signals are true
	session dbus.ObjectPath
	key     []byte
}

// sealedSecret is the API's Secret, (oayays).
type sealedSecret struct {
	Session     dbus.ObjectPath
	Parameters  []byte
	Value       []byte
	ContentType string
}

// fetchService asks for the one item that has both attributes, as stored by
// `secret-tool store --label=… service SERVICE account ACCOUNT`.
func fetchService(ctx context.Context, name, account string, env Env) (Value, error) {
	s, err := dialService(ctx, env.bus())
	if err != nil {
		return Value{}, err
	}
	defer s.close()
	item, locked, err := s.search(ctx, map[string]string{"service": name, "account": account})
	if err != nil {
		return Value{}, err
	}
	if locked {
		if err := s.unlock(ctx, item); err != nil {
			return Value{}, err
		}
	}
	v, err := s.get(ctx, item)
	v.tidy()
	return v, err
}

// dialService connects as this process's user: a bus refuses anyone else,
// root included.
func dialService(ctx context.Context, address string) (*service, error) {
	// A list has alternatives behind semicolons. The library would also run
	// programs (unixexec:) and dial out (tcp:).
	address, _, _ = strings.Cut(address, ";")
	if !strings.HasPrefix(address, "unix:") {
		return nil, fmt.Errorf("session bus %q: not a unix: address", oneLine(address, 100))
	}
	// Outlives ctx, so that a prompt can still be taken down at the deadline.
	conn, err := dbus.Dial(address, dbus.WithContext(context.WithoutCancel(ctx)))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoService, err)
	}
	s := &service{conn: conn}
	// The greeting knows no deadline.
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	err = conn.Auth([]dbus.Auth{dbus.AuthExternal(strconv.Itoa(os.Geteuid()))})
	if err == nil {
		err = conn.Hello()
	}
	if !stop() {
		err = context.Cause(ctx)
	}
	if err == nil {
		err = s.open(ctx)
	}
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("greet session bus: %w", plainError(ctx, err))
	}
	return s, nil
}

// open agrees on a key.
func (s *service) open(ctx context.Context) error {
	ours, err := newHandshake()
	if err != nil {
		return err
	}
	var theirs dbus.Variant
	call := s.object(servicePath).CallWithContext(ctx, serviceIface+".OpenSession", 0,
		handshakeName, dbus.MakeVariant(ours.public()))
	if err := call.Store(&theirs, &s.session); err != nil {
		return err
	}
	public, ok := theirs.Value().([]byte)
	if !ok {
		return errHandshake
	}
	if s.key, err = ours.agree(public); err != nil {
		return err
	}
	return s.conn.BusObject().CallWithContext(ctx, "org.freedesktop.DBus.GetNameOwner", 0, serviceName).Store(&s.owner)
}

func (s *service) close() {
	clear(s.key)
	s.object(s.session).Go(sessionIface+".Close", dbus.FlagNoReplyExpected, nil)
	s.conn.Close()
}

func (s *service) object(path dbus.ObjectPath) dbus.BusObject {
	return s.conn.Object(serviceName, path)
}

func (s *service) search(ctx context.Context, attributes map[string]string) (item dbus.ObjectPath, locked bool, err error) {
	var open, closed []dbus.ObjectPath
	call := s.object(servicePath).CallWithContext(ctx, serviceIface+".SearchItems", 0, attributes)
	if err := call.Store(&open, &closed); err != nil {
		return "", false, fmt.Errorf("search items: %w", plainError(ctx, err))
	}
	switch len(open) + len(closed) {
	case 0:
		return "", false, ErrElsewhere
	case 1:
		return append(open, closed...)[0], len(closed) == 1, nil
	}
	return "", false, fmt.Errorf("%w: %d items", ErrAmbiguous, len(open)+len(closed))
}

// unlock asks the service, and the service its user. No one answering in time
// is as good as a refusal.
func (s *service) unlock(ctx context.Context, item dbus.ObjectPath) error {
	var unlocked []dbus.ObjectPath
	var prompt dbus.ObjectPath
	call := s.object(servicePath).CallWithContext(ctx, serviceIface+".Unlock", 0, []dbus.ObjectPath{item})
	if err := call.Store(&unlocked, &prompt); err != nil {
		return fmt.Errorf("%w: unlock: %w", ErrLocked, plainError(ctx, err))
	}
	if len(unlocked) > 0 {
		return nil
	}
	if prompt == "/" {
		return ErrLocked
	}
	return s.prompt(ctx, prompt)
}

func (s *service) prompt(ctx context.Context, prompt dbus.ObjectPath) error {
	// Listening first: the answer may come before Prompt returns.
	signals := make(chan *dbus.Signal, 8)
	s.conn.Signal(signals)
	err := s.conn.AddMatchSignalContext(ctx, dbus.WithMatchSender(serviceName), dbus.WithMatchObjectPath(prompt),
		dbus.WithMatchInterface(promptIface), dbus.WithMatchMember("Completed"))
	if err == nil {
		err = s.object(prompt).CallWithContext(ctx, promptIface+".Prompt", 0, "").Err
	}
	if err != nil {
		return fmt.Errorf("%w: prompt: %w", ErrLocked, plainError(ctx, err))
	}
	for {
		select {
		case <-ctx.Done():
			s.object(prompt).Go(promptIface+".Dismiss", dbus.FlagNoReplyExpected, nil)
			return fmt.Errorf("%w: no one answered its prompt: %w", ErrLocked, context.Cause(ctx))
		case signal, more := <-signals:
			if !more {
				return fmt.Errorf("%w: session bus went away", ErrLocked)
			}
			if signal.Sender != s.owner || signal.Path != prompt || signal.Name != promptIface+".Completed" {
				continue
			}
			var dismissed bool
			var result dbus.Variant
			if err := dbus.Store(signal.Body, &dismissed, &result); err != nil || dismissed {
				return fmt.Errorf("%w: its prompt was dismissed", ErrLocked)
			}
			return nil
		}
	}
}

func (s *service) get(ctx context.Context, item dbus.ObjectPath) (Value, error) {
	var sealed sealedSecret
	err := s.object(item).CallWithContext(ctx, itemIface+".GetSecret", 0, s.session).Store(&sealed)
	if err != nil {
		return Value{}, fmt.Errorf("get secret: %w", plainError(ctx, err))
	}
	if sealed.Session != s.session {
		return Value{}, errHandshake
	}
	return decrypt(s.key, sealed.Parameters, sealed.Value)
}

// plainError keeps of a D-Bus error its name only: the text is the peer's.
func plainError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var remote dbus.Error
	if !errors.As(err, &remote) {
		return err
	}
	switch remote.Name {
	case errorIsLocked:
		return ErrLocked
	case "org.freedesktop.DBus.Error.ServiceUnknown", "org.freedesktop.DBus.Error.NameHasNoOwner":
		return ErrNoService
	}
	return fmt.Errorf("%q", oneLine(remote.Name, 100))
}
