// SPDX-License-Identifier: Apache-2.0

package enforcer

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/phantom-ns/phantom-ns/netns/sandbox"
)

// The proxy's descriptors.
const (
	proxyControlFD = 3
	proxyAuditFD   = 4
)

// proxyProcess is a running proxy, for whoever started it.
type proxyProcess struct {
	pid     int
	control *control
	exited  chan struct{}                   // closed when the process is gone
	ended   error                           // how; written before exited is closed
	broken  func(session string, err error) // told of a session that is served no more

	mu    sync.Mutex
	last  uint64
	asked map[uint64]chan message // nil: nobody answers any more
	fault error                   // what it said before it went
}

// spawnProxy starts the process, which holds nothing yet. Its records come out
// of the pipe. other is a uid that it must not have, besides root's.
func (s *supply) spawnProxy(group *cgroup, other int, broken func(session string, err error)) (*proxyProcess, io.ReadCloser, error) {
	var ends pipeEnds
	ours, theirs, err := newControlPair()
	if err != nil {
		return nil, nil, err
	}
	ends.theirs = append(ends.theirs, theirs)
	defer func() { ends.closeTheirs() }()
	records := ends.fromChild()
	if ends.err != nil {
		return nil, nil, errors.Join(fmt.Errorf("start proxy: %w", ends.err), ours.Close())
	}
	cmd := s.stageCommand(ProxyStage, group, ends.theirs...)
	cmd.Env = []string{"GODEBUG=clobberfree=1", "GOTRACEBACK=none"}
	if group == nil { // a node's: nobody reads it on a screen, and it lives long
		cmd.Stderr = &lines{from: "pool", tell: s.config.Notify, every: time.Minute}
	}
	if err := startAsNobody(cmd, other); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("start proxy: %w", err), ours.Close(), records.Close())
	}
	p := &proxyProcess{pid: cmd.Process.Pid, control: ours, exited: make(chan struct{}), broken: broken, asked: make(map[uint64]chan message)}
	go p.listen()
	go func() {
		p.ended = fmt.Errorf("proxy: %w", orUnexpected(cmd.Wait()))
		close(p.exited)
	}()
	return p, records, nil
}

// startAsNobody starts cmd with a uid that nobody else has.
func startAsNobody(cmd *exec.Cmd, other int) error {
	release, err := claimUIDs()
	if err != nil {
		return err
	}
	defer release()
	uid, gid, err := proxyUID(other)
	if err != nil {
		return err
	}
	cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid), Groups: []uint32{}}
	return cmd.Start()
}

var errUnexpectedExit = errors.New("exited")

func orUnexpected(err error) error {
	if err == nil {
		return errUnexpectedExit
	}
	return err
}

// Close lets the process end, and returns when it has.
func (p *proxyProcess) Close() error {
	p.control.Close()
	<-p.exited
	return nil
}

// listen hands on what the proxy says, until it ends.
func (p *proxyProcess) listen() {
	for {
		m, files, err := p.control.receive()
		closeAll(files)
		if err != nil {
			p.silent(err)
			return
		}
		switch {
		case m.Kind == msgBroken:
			if p.broken != nil {
				p.broken(m.Session, errors.New(m.Text))
			}
		case m.Number == 0:
			p.mu.Lock()
			p.fault = &StageError{Process: "proxy", Stage: m.Stage, Text: m.Text}
			p.mu.Unlock()
		default:
			p.mu.Lock()
			answered := p.asked[m.Number]
			delete(p.asked, m.Number)
			p.mu.Unlock()
			if answered != nil {
				answered <- m // has room
			}
		}
	}
}

// silent ends the waiting of everybody.
func (p *proxyProcess) silent(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.fault == nil {
		p.fault = fmt.Errorf("%w: %w", ErrProxyDied, err)
	}
	for _, answered := range p.asked {
		close(answered)
	}
	p.asked = nil
}

// ask sends one request and waits for its answer.
func (p *proxyProcess) ask(m message, files ...*os.File) (message, error) {
	var fds []int
	for _, f := range files {
		fd, err := Descriptor(f)
		if err != nil {
			return message{}, err
		}
		fds = append(fds, fd)
	}
	answered := make(chan message, 1)
	p.mu.Lock()
	if p.asked == nil {
		defer p.mu.Unlock()
		return message{}, p.fault
	}
	p.last++
	m.Number = p.last
	p.asked[m.Number] = answered
	p.mu.Unlock()
	err := p.control.send(m, fds...)
	if err != nil && !errors.Is(err, unix.EPIPE) && !errors.Is(err, unix.ECONNRESET) {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.asked, m.Number)
		return message{}, errors.Join(err, p.fault)
	}
	// Where it has gone, what it said last is on its way to listen.
	answer, ok := <-answered
	if !ok {
		p.mu.Lock()
		defer p.mu.Unlock()
		return message{}, p.fault
	}
	if answer.Kind == msgFailed {
		return message{}, &StageError{Process: "proxy", Stage: answer.Stage, Text: answer.Text}
	}
	return answer, nil
}

// askWith is ask with a spec, as the first descriptor, and the values of
// credentials.
func (p *proxyProcess) askWith(m message, spec any, fetched []*fetching, besides ...*os.File) (message, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return message{}, fmt.Errorf("send %s: %w", m.Kind, err)
	}
	defer r.Close()
	files := []*os.File{r}
	for _, f := range fetched {
		m.Fresh, files = append(m.Fresh, f.name), append(files, f.value)
	}
	go func() { // a large one fills the pipe
		defer w.Close()
		// An error is the proxy's to notice: it reads to the end.
		_ = json.NewEncoder(w).Encode(spec)
	}()
	return p.ask(m, append(files, besides...)...)
}

// serve hands the sockets born inside over and returns when the proxy answers
// on them. With them go those of the host for what is published, if anything.
func (p *proxyProcess) serve(m message, l *sandbox.Listeners, published *published) error {
	m.Kind = msgSession
	var files []*os.File
	add := func(f *os.File, name socketName) {
		if f != nil {
			m.Sockets, files = append(m.Sockets, name), append(files, f)
		}
	}
	add(l.TCP4, socketName{Role: roleTCP})
	add(l.TCP6, socketName{Role: roleTCP, V6: true})
	add(l.DNS4, socketName{Role: roleDNS})
	add(l.DNS6, socketName{Role: roleDNS, V6: true})
	add(l.DNSTCP4, socketName{Role: roleDNSTCP})
	add(l.DNSTCP6, socketName{Role: roleDNSTCP, V6: true})
	for port, forwarded := range l.Forward {
		for _, f := range forwarded {
			add(f, socketName{Role: roleForward, Port: port})
		}
	}
	if published != nil {
		// The door first: whoever comes to a published port asks there.
		add(published.door, socketName{Role: roleInside})
		for i, f := range published.listeners {
			add(f, socketName{Role: rolePublish, Index: i})
		}
	}
	_, err := p.ask(m, files...)
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
