// SPDX-License-Identifier: Apache-2.0

package console

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/phantom-ns/phantom-ns/netns/sandbox"
)

// The two sides speak over a SOCK_SEQPACKET socket, one packet a message, in
// JSON. The first holds a request as long as an environment, in a sealed memfd.
//
//	person's process                                     supervisor
//	    │  hello         + memfd, stdin, stdout, stderr, more │
//	    ├──────────────────────────────────────────────────►  ┤
//	    │  notice        any number: a line for the person    │
//	    ├  ◄──────────────────────────────────────────────────┤
//	    │  terminal      + pty master, where there is one     │
//	    ├  ◄──────────────────────────────────────────────────┤
//	    │  begin         to relay                             │
//	    ├  ◄──────────────────────────────────────────────────┤ ─► program
//	    │  signal        any number                           │
//	    ├──────────────────────────────────────────────────►  ┤ ─► program
//	    │  stopped       any number                           │
//	    ├  ◄──────────────────────────────────────────────────┤ ◄─ program
//	    │  ended         the terminal is the person's again   │
//	    ├  ◄──────────────────────────────────────────────────┤ ◄─ program
//	    │  exit, or failed                                    │
//	    ├  ◄──────────────────────────────────────────────────┤
//
// End of file is the other side's death: it ends the program.
const (
	kindHello    = "hello"
	kindNotice   = "notice"
	kindTerminal = "terminal"
	kindBegin    = "begin"
	kindSignal   = "signal"
	kindStopped  = "stopped"
	kindEnded    = "ended"
	kindExit     = "exit"
	kindFailed   = "failed"
)

// message is one packet.
type message struct {
	Kind   string
	Text   string        `json:",omitempty"` // of notice and failed
	Signal int           `json:",omitempty"` // of signal and stopped
	Status int           `json:",omitempty"` // of exit
	Stage  sandbox.Stage `json:",omitempty"` // of failed, with Errno, where it was init's
	Errno  int           `json:",omitempty"`
}

// hello is what stands in the memfd.
type hello struct {
	Request  json.RawMessage
	Terminal *sandbox.Terminal
}

const (
	// packetLimit is the longest message, in bytes.
	packetLimit = 32 << 10
	// textLimit is where a line is cut, in bytes: escaped, it still fits.
	textLimit = 4 << 10
	// helloLimit is the longest hello, in bytes: 1 MiB each of arguments and
	// environment, escaped.
	helloLimit = 8 << 20
	// fdLimit is the most descriptors that are taken of one message.
	fdLimit = 8
	// writeDeadline bounds the wait for a peer that does not read.
	writeDeadline = 10 * time.Second
)

// errHostile is of a peer that says what cannot be.
var errHostile = errors.New("unexpected message")

func send(conn *net.UnixConn, m message, files ...*os.File) error {
	if len(m.Text) > textLimit {
		m.Text = m.Text[:textLimit]
	}
	text, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("encode %s: %w", m.Kind, err)
	}
	var fds []int
	for _, f := range files {
		fd, err := descriptor(f)
		if err != nil {
			return fmt.Errorf("send %s: %w", m.Kind, err)
		}
		fds = append(fds, fd)
	}
	var rights []byte
	if len(fds) > 0 {
		rights = unix.UnixRights(fds...)
	}
	conn.SetWriteDeadline(time.Now().Add(writeDeadline))
	if _, _, err := conn.WriteMsgUnix(text, rights, nil); err != nil {
		return fmt.Errorf("send %s: %w", m.Kind, err)
	}
	return nil
}

// descriptor is that of f, which stays as it is: [os.File.Fd] would make it
// blocking for everybody who has it.
func descriptor(f *os.File) (fd int, err error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return -1, err
	}
	err = raw.Control(func(n uintptr) { fd = int(n) })
	return fd, err
}

// receive reads one message, and the descriptors that came with it, of which
// there must be want.
func receive(conn *net.UnixConn, want int) (m message, files []*os.File, err error) {
	data, control := make([]byte, packetLimit), make([]byte, unix.CmsgSpace(4*fdLimit))
	n, controls, flags, _, err := conn.ReadMsgUnix(data, control)
	if err != nil {
		return m, nil, err
	}
	files, err = rights(control[:controls])
	if err == nil && (flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0) {
		err = unix.EMSGSIZE
	}
	if err == nil {
		err = json.Unmarshal(data[:n], &m)
	}
	if err == nil && len(files) > 0 && len(files) != want {
		err = fmt.Errorf("%w: %d descriptors", errHostile, len(files))
	}
	if err != nil {
		closeAll(files)
		return message{}, nil, fmt.Errorf("receive message: %w", err)
	}
	return m, files, nil
}

// rights takes the descriptors of a control buffer over.
func rights(control []byte) (files []*os.File, err error) {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return nil, fmt.Errorf("parse control message: %w", err)
	}
	for i := range messages {
		fds, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			continue // credentials or the like: no descriptor in it
		}
		for _, fd := range fds {
			unix.CloseOnExec(fd)
			files = append(files, os.NewFile(uintptr(fd), "passed"))
		}
	}
	return files, nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

// seals keep a memfd as it is.
const seals = unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE

// seal puts h into a memfd.
func seal(h hello) (*os.File, error) {
	text, err := json.Marshal(h)
	if err != nil {
		return nil, fmt.Errorf("encode request: %w", err)
	}
	if len(text) > helloLimit {
		return nil, fmt.Errorf("encode request: %w", unix.E2BIG)
	}
	fd, err := unix.MemfdCreate("hello", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	file := os.NewFile(uintptr(fd), "hello")
	if _, err = file.Write(text); err == nil {
		_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals)
	}
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("write request: %w", err)
	}
	return file, nil
}

// unseal reads a memfd that nobody can change any more. No other file has
// seals, so that reading it waits for nobody.
func unseal(file *os.File) (h hello, err error) {
	fd := int(file.Fd())
	if got, err := unix.FcntlInt(uintptr(fd), unix.F_GET_SEALS, 0); err != nil || got&seals != seals {
		return h, fmt.Errorf("%w: the request is not sealed", errHostile)
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Size > helloLimit {
		return h, fmt.Errorf("%w: the request is too long", errHostile)
	}
	text := make([]byte, st.Size)
	if _, err := file.ReadAt(text, 0); err != nil {
		return h, fmt.Errorf("read request: %w", err)
	}
	if err := json.Unmarshal(text, &h); err != nil {
		return h, fmt.Errorf("decode request: %w", err)
	}
	return h, nil
}
