// SPDX-License-Identifier: Apache-2.0

package secret

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/godbus/dbus/v5"
)

// fakeBus is a session bus with a Secret Service on it, one connection, that
// does what a real one would not.
type fakeBus struct {
	t        *testing.T
	secret   canary
	open     int  // items that are unlocked
	locked   int  // and that are not
	silent   bool // accepts, and says nothing
	noOwner  bool // no Secret Service
	public   any  // instead of our half of the handshake
	session  dbus.ObjectPath
	prompt   string // "never", "dismissed", "accepted", "forged": a signal of another sender first
	getError string
	sealed   func(key []byte) sealedSecret

	done       chan struct{} // closed when the client has gone
	dismissed  chan struct{}
	plain      bool // the helper asked for a session that is not encrypted
	attributes map[string]string
	key        []byte
	serial     uint32
	out        io.Writer
}

const (
	fakeOwner  = ":1.7"
	promptPath = dbus.ObjectPath("/org/freedesktop/secrets/prompt/p1")
)

// start listens and serves one client; it returns the bus's address.
func (b *fakeBus) start(t *testing.T) string {
	t.Helper()
	b.t, b.dismissed, b.done = t, make(chan struct{}), make(chan struct{})
	if b.session == "" {
		b.session = "/org/freedesktop/secrets/session/s1"
	}
	path := filepath.Join(t.TempDir(), "bus")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close(); <-b.done })
	go func() {
		defer close(b.done)
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		if b.silent {
			io.Copy(io.Discard, conn)
			return
		}
		b.serve(conn)
	}()
	return "unix:path=" + path
}

func (b *fakeBus) serve(conn net.Conn) {
	in := bufio.NewReader(conn)
	in.ReadByte() // the credentials byte
	for {
		line, err := in.ReadString('\n')
		switch {
		case err != nil:
			return
		case line == "AUTH\r\n":
			io.WriteString(conn, "REJECTED EXTERNAL\r\n")
		case strings.HasPrefix(line, "AUTH EXTERNAL"):
			io.WriteString(conn, "OK 0123456789abcdef0123456789abcdef\r\n")
		case strings.HasPrefix(line, "DATA"):
			io.WriteString(conn, "OK 0123456789abcdef0123456789abcdef\r\n")
		case strings.HasPrefix(line, "NEGOTIATE"):
			io.WriteString(conn, "ERROR\r\n")
		case line == "BEGIN\r\n":
			b.out = conn
			for b.answer(in) {
			}
			return
		}
	}
}

// answer handles one call.
func (b *fakeBus) answer(in io.Reader) bool {
	call, err := dbus.DecodeMessage(in)
	if err != nil {
		return false
	}
	member, _ := call.Headers[dbus.FieldMember].Value().(string)
	switch member {
	case "Hello":
		b.reply(call, ":1.9")
	case "AddMatch":
		b.reply(call)
	case "GetNameOwner":
		b.reply(call, fakeOwner)
	case "OpenSession":
		b.openSession(call)
	case "SearchItems":
		b.attributes, _ = call.Body[0].(map[string]string)
		b.reply(call, items("open", b.open), items("locked", b.locked))
	case "Unlock":
		if b.prompt == "" {
			b.reply(call, items("locked", b.locked), dbus.ObjectPath("/"))
		} else {
			b.reply(call, []dbus.ObjectPath{}, promptPath)
		}
	case "Prompt":
		b.reply(call)
		b.answerPrompt()
	case "Dismiss":
		close(b.dismissed)
	case "GetSecret":
		b.getSecret(call)
	case "Close":
	default:
		b.t.Errorf("unexpected call of %q", member)
	}
	return true
}

func (b *fakeBus) openSession(call *dbus.Message) {
	if b.noOwner {
		b.fail(call, "org.freedesktop.DBus.Error.ServiceUnknown")
		return
	}
	b.plain = call.Body[0] != handshakeName
	h, err := newHandshake()
	if err != nil {
		b.t.Error(err)
		return
	}
	theirs, _ := call.Body[1].(dbus.Variant).Value().([]byte)
	if b.key, err = h.agree(theirs); err != nil {
		b.t.Error(err)
	}
	if b.public == nil {
		b.public = h.public()
	}
	b.reply(call, dbus.MakeVariant(b.public), b.session)
}

func (b *fakeBus) answerPrompt() {
	switch b.prompt {
	case "dismissed":
		b.completed(fakeOwner, true)
	case "accepted":
		b.completed(fakeOwner, false)
	case "forged":
		b.completed(":1.66", false)
		b.completed(fakeOwner, true)
	}
}

func (b *fakeBus) getSecret(call *dbus.Message) {
	if b.getError != "" {
		b.fail(call, b.getError)
		return
	}
	iv := []byte("0123456789abcdef")
	sealed := sealedSecret{b.session, iv, encrypt(b.key, iv, b.secret), "text/plain"}
	if b.sealed != nil {
		sealed = b.sealed(b.key)
	}
	b.reply(call, sealed)
}

func items(kind string, n int) []dbus.ObjectPath {
	all := []dbus.ObjectPath{}
	for i := range n {
		all = append(all, dbus.ObjectPath(fmt.Sprintf("/org/freedesktop/secrets/collection/c/%s%d", kind, i)))
	}
	return all
}

func (b *fakeBus) send(kind dbus.Type, headers map[dbus.HeaderField]dbus.Variant, body ...any) {
	b.serial++
	if len(body) > 0 {
		headers[dbus.FieldSignature] = dbus.MakeVariant(dbus.SignatureOf(body...))
	}
	m := &dbus.Message{Type: kind, Headers: headers, Body: body}
	// The library sets serials of its own connections only.
	var frame strings.Builder
	if err := m.EncodeTo(&frame, binary.LittleEndian); err != nil {
		b.t.Error(err)
	}
	raw := []byte(frame.String())
	binary.LittleEndian.PutUint32(raw[8:], b.serial)
	b.out.Write(raw)
}

func (b *fakeBus) reply(call *dbus.Message, body ...any) {
	b.send(dbus.TypeMethodReply, map[dbus.HeaderField]dbus.Variant{
		dbus.FieldReplySerial: dbus.MakeVariant(call.Serial()), dbus.FieldSender: dbus.MakeVariant(fakeOwner),
	}, body...)
}

func (b *fakeBus) fail(call *dbus.Message, name string) {
	b.send(dbus.TypeError, map[dbus.HeaderField]dbus.Variant{
		dbus.FieldReplySerial: dbus.MakeVariant(call.Serial()), dbus.FieldSender: dbus.MakeVariant(fakeOwner),
		dbus.FieldErrorName: dbus.MakeVariant(name),
	}, "a text with "+string(b.secret))
}

func (b *fakeBus) completed(sender string, dismissed bool) {
	b.send(dbus.TypeSignal, map[dbus.HeaderField]dbus.Variant{
		dbus.FieldPath: dbus.MakeVariant(promptPath), dbus.FieldInterface: dbus.MakeVariant(promptIface),
		dbus.FieldMember: dbus.MakeVariant("Completed"), dbus.FieldSender: dbus.MakeVariant(sender),
	}, dismissed, dbus.MakeVariant([]dbus.ObjectPath{}))
}
