// SPDX-License-Identifier: Apache-2.0

package enforcer

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Whoever starts a proxy, the supervisor of a session or the daemon of a node,
// speaks with it over one SOCK_SEQPACKET pair: a message is one JSON object,
// with file descriptors where the step moves some. Requests have a number, which
// the answer repeats; several may be under way. End of file in either direction
// is the end of all sessions.
//
//	supervisor, daemon                      proxy
//	   │                                      │ gives up what it does not need
//	   ├─ policy + fds: spec, values ────────▶│ mints placeholders and CA
//	   │◀──────────────── ready {ca, placeholders} or failed {stage, text}
//	   ├─ session {policy, sockets} + fds ───▶│ serves
//	   │◀───────────────────────────────── done
//	   │                 …                    │
//	   ├─ renew {policy} + fds: spec, values ▶│ goes over to them, whole or not at all
//	   │◀──────────────────────────────── ready or failed
//	   ├─ publish, withdraw {session, socket}▶│ a login's port, see callback.go
//	   │◀───────────────────────────────── done
//	   ├─ end {session}, forget {policy} ────▶│
//	   │◀───────────────────────────────── done
//	   │◀────── broken {session}, unasked: it is served no more
//	   ├─ (end of file) ─────────────────────▶│ exits
//
// A failed message without a number is the process's own: it exits.
const (
	msgPolicy  = "policy"
	msgReady   = "ready"
	msgFailed  = "failed"
	msgSession = "session"
	msgRenew   = "renew"
	msgEnd     = "end"
	msgForget  = "forget"
	msgDrain   = "drain"
	msgDone    = "done"
	msgBroken  = "broken"
)

// message is every message of the protocol; each kind uses its own fields.
type message struct {
	Kind   string `json:"kind"`
	Number uint64 `json:"number,omitempty"`

	Policy  string `json:"policy,omitempty"`  // the name that it has in this proxy
	Session string `json:"session,omitempty"` // its id in audit records

	CA           []byte            `json:"ca,omitempty"`           // ready: the policy's CA, PEM
	Placeholders map[string]string `json:"placeholders,omitempty"` // ready: by credential

	Stage string `json:"stage,omitempty"` // failed
	Text  string `json:"text,omitempty"`  // failed, broken: one line, no secret in it

	Found  []finding `json:"found,omitempty"`  // found
	Partly bool      `json:"partly,omitempty"` // found: not everything was looked at

	Credential string `json:"credential,omitempty"` // lease: which

	Sockets  []socketName `json:"sockets,omitempty"` // session, publish, withdraw: what each fd is, in order
	Hostname string       `json:"hostname,omitempty"`
	Own4     netip.Addr   `json:"own4,omitzero"` // session: the namespace's own addresses
	Own6     netip.Addr   `json:"own6,omitzero"`
	Shared   bool         `json:"shared,omitempty"` // session: others are served beside it
	Files    int          `json:"files,omitempty"`  // session: as many descriptors the process may have now; 0: as it began

	Fresh   []string `json:"fresh,omitempty"`   // policy, renew: whose value each fd behind the first holds
	Besides []string `json:"besides,omitempty"` // policy: what the fds behind those are
	Revoked []string `json:"revoked,omitempty"` // renew: whose value is used no more, and nothing else

	Within  time.Duration `json:"within,omitempty"`  // drain: how long it may take
	Records uint64        `json:"records,omitempty"` // done, of end: how many were sent so far
}

// What may come with a policy besides its credentials.
const (
	besideAtRest   = "at rest"  // the socket of the search for credentials at rest
	besidePassword = "password" // of the network's proxy
	besideLeases   = "leases"   // the socket on which leases are asked for
)

// socketName says what one passed descriptor is.
type socketName struct {
	Role  string `json:"role"` // tcp, dns, dns-tcp, forward, publish, inside
	V6    bool   `json:"v6,omitempty"`
	Port  uint16 `json:"port,omitempty"`  // forward
	Index int    `json:"index,omitempty"` // publish: which entry of the session
}

const (
	roleTCP     = "tcp"
	roleDNS     = "dns"
	roleDNSTCP  = "dns-tcp"
	roleForward = "forward"
	rolePublish = "publish" // a listener on the host's loopback
	roleInside  = "inside"  // where sockets of the namespace are asked for, see inside.go
)

// maxMessage bounds one message; the largest is ready, with a placeholder of
// at most 64 KiB for each credential of a policy.
const maxMessage = 128 << 10

// maxFDs bounds what one message may carry (SCM_MAX_FD is 253).
const maxFDs = 253

// control is one end of the pair. Any number may send, one receives.
type control struct {
	conn *net.UnixConn
	in   *received // what receive reads into
}

type received struct {
	mu   sync.Mutex
	data [maxMessage]byte
	oob  [maxFDs*4 + 64]byte // and the header of a control message
}

// newControlPair returns our end and the file to hand to the child.
func newControlPair() (*control, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("make control socket: %w", err)
	}
	theirs := os.NewFile(uintptr(fds[1]), "control")
	ours, err := openControl(os.NewFile(uintptr(fds[0]), "control"))
	if err != nil {
		theirs.Close()
		return nil, nil, err
	}
	return ours, theirs, nil
}

// openControl takes over f.
func openControl(f *os.File) (*control, error) {
	defer f.Close()
	conn, err := net.FileConn(f)
	if err != nil {
		return nil, fmt.Errorf("open control socket: %w", err)
	}
	uc, ok := conn.(*net.UnixConn)
	if !ok {
		conn.Close()
		return nil, fmt.Errorf("open control socket: %T is not a unix socket", conn)
	}
	return &control{conn: uc, in: new(received)}, nil
}

func (c *control) send(m message, fds ...int) error {
	data, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("send %s: %w", m.Kind, err)
	}
	if len(fds) > maxFDs {
		return fmt.Errorf("send %s: %d descriptors, at most %d", m.Kind, len(fds), maxFDs)
	}
	if len(data) > maxMessage {
		return fmt.Errorf("send %s: %d bytes, at most %d", m.Kind, len(data), maxMessage)
	}
	var rights []byte
	if len(fds) > 0 {
		rights = unix.UnixRights(fds...)
	}
	if _, _, err := c.conn.WriteMsgUnix(data, rights, nil); err != nil {
		return fmt.Errorf("send %s: %w", m.Kind, err)
	}
	return nil
}

// errClosed says that the other side has gone.
var errClosed = errors.New("the other side closed the control socket")

// receive returns the next message and the descriptors that came with it.
func (c *control) receive() (message, []*os.File, error) {
	c.in.mu.Lock()
	defer c.in.mu.Unlock()
	data, oob := c.in.data[:], c.in.oob[:]
	n, oobn, flags, _, err := c.conn.ReadMsgUnix(data, oob)
	if errors.Is(err, unix.ECONNRESET) {
		// The other side ended and had not read everything. The kernel says so
		// once, before it hands out what was sent until then.
		n, oobn, flags, _, err = c.conn.ReadMsgUnix(data, oob)
	}
	if err != nil || n == 0 {
		if err != nil && !errors.Is(err, io.EOF) {
			return message{}, nil, fmt.Errorf("%w: %w", errClosed, err)
		}
		return message{}, nil, errClosed
	}
	files, err := rightsFiles(oob[:oobn])
	if err != nil {
		return message{}, nil, err
	}
	if flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0 {
		closeAll(files)
		return message{}, nil, errors.New("receive message: cut off")
	}
	var m message
	if err := json.Unmarshal(data[:n], &m); err != nil {
		closeAll(files)
		return message{}, nil, fmt.Errorf("receive message: %w", err)
	}
	return m, files, nil
}

// expect receives the message of one kind. A failed message becomes its error.
func (c *control) expect(kind string) (message, []*os.File, error) {
	m, files, err := c.receive()
	if err != nil {
		return m, nil, fmt.Errorf("await %s: %w", kind, err)
	}
	if m.Kind == msgFailed {
		closeAll(files)
		return m, nil, &StageError{Process: "proxy", Stage: m.Stage, Text: m.Text}
	}
	if m.Kind != kind {
		closeAll(files)
		return m, nil, fmt.Errorf("await %s: got %q", kind, m.Kind)
	}
	return m, files, nil
}

func (c *control) Close() error { return c.conn.Close() }

// StageError is a failure that another of our processes reported.
type StageError struct {
	Process string // proxy
	Stage   string
	Text    string
}

func (e *StageError) Error() string { return e.Process + ": " + e.Stage + ": " + e.Text }

func rightsFiles(oob []byte) ([]*os.File, error) {
	if len(oob) == 0 {
		return nil, nil
	}
	cmsgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, fmt.Errorf("receive descriptors: %w", err)
	}
	var files []*os.File
	for i := range cmsgs {
		fds, err := unix.ParseUnixRights(&cmsgs[i])
		if err != nil {
			closeAll(files)
			return nil, fmt.Errorf("receive descriptors: %w", err)
		}
		for _, fd := range fds {
			files = append(files, os.NewFile(uintptr(fd), "received"))
		}
	}
	return files, nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}
