// SPDX-License-Identifier: Apache-2.0

package enforcer

import (
	"errors"
	"fmt"
	"os"

	"github.com/phantom-ns/phantom-ns/bpf"
	"github.com/phantom-ns/phantom-ns/proxy/policy"
)

// A browser ends a login at a port of the loopback. The host has that port for as
// long as the tool inside listens on it, which the kernel tells:
//
//	kernel                   supervisor                      proxy
//	  ├─ a server has come ────▶│ opens the host's port        │
//	  │                         ├─ publish {socket} + fd ─────▶│ serves it
//	  ├─ the last has gone ────▶│                              │
//	  │                         ├─ withdraw {socket} ─────────▶│ closes it
//
// The proxy, which knows when the login is stored, refuses what comes after that,
// and closes one that is still there a minute later. A session without a login loads
// no program.
const (
	msgPublish  = "publish"
	msgWithdraw = "withdraw"
)

// callbackWatch opens and closes the ports of a session's logins.
type callbackWatch struct {
	session *Session
	servers *bpf.Servers
	entries map[uint16]int // by port: which entry of publish
	open    map[uint16]bool
	told    map[uint16]bool // why it could not be opened: the agent can ask for ever
}

// watchCallbacks begins before the agent executes, and ends with the session.
func (s *Session) watchCallbacks(spec *policy.Session) error {
	w := &callbackWatch{session: s, entries: make(map[uint16]int), open: make(map[uint16]bool), told: make(map[uint16]bool)}
	var ports []uint16
	for i, entry := range spec.Publish {
		if entry.Login != "" {
			w.entries[entry.Port], ports = i, append(ports, entry.Port)
		}
	}
	if len(ports) == 0 {
		return nil
	}
	var err error
	if w.servers, err = bpf.WatchServers(s.group.agent, ports...); err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		w.run(spec)
	}()
	s.undo.push(func() error {
		err := w.servers.Close()
		<-ended
		return err
	})
	return nil
}

func (w *callbackWatch) run(spec *policy.Session) {
	for {
		port, listening, err := w.servers.Next()
		if errors.Is(err, bpf.ErrClosed) {
			return
		}
		if err == nil && listening != w.open[port] {
			err = w.follow(spec, port, listening)
		}
		if err != nil && !w.told[port] {
			w.told[port] = true
			w.session.config.Notify(err.Error())
		}
	}
}

// follow opens the port of the host's, or closes it. What fails is tried again
// with the next server.
func (w *callbackWatch) follow(spec *policy.Session, port uint16, listening bool) error {
	index := w.entries[port]
	m := message{Kind: msgWithdraw, Session: w.session.id, Sockets: []socketName{{Role: rolePublish, Index: index}}}
	if listening {
		m.Kind = msgPublish
	}
	err := w.ask(m, spec.Publish[index])
	switch {
	case err == nil:
		w.open[port] = listening
	case listening:
		err = fmt.Errorf("login %s: a browser's answer will not arrive: %w", spec.Publish[index].Login, err)
	}
	return err
}

func (w *callbackWatch) ask(m message, entry policy.Publish) error {
	var files []*os.File
	if m.Kind == msgPublish {
		f, err := w.session.openPublished(entry)
		if err != nil {
			return err
		}
		defer f.Close() // the proxy's copy is the port
		files = append(files, f)
	}
	_, err := w.session.proxy.ask(m, files...)
	return err
}
