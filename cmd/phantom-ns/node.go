// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"errors"
	"io/fs"

	"golang.org/x/sys/unix"

	"github.com/phantom-ns/phantom-ns/enforcer"
	"github.com/phantom-ns/phantom-ns/enforcer/node/api"
)

// socketVariable names the socket of a node's daemon, if it is not api.Socket.
const socketVariable = "PHANTOM_NS_SOCKET"

// nodeSocket is where the daemon of this node is asked.
func (e *env) nodeSocket() string { return cmp.Or(e.getenv(socketVariable), api.Socket) }

// isAway tells that no daemon runs here, which most machines need not have.
func isAway(err error) bool {
	return errors.Is(err, api.ErrUnreachable) && (errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ECONNREFUSED))
}

// attachments lists what the node's daemon has, none where there is no daemon.
func (e *env) attachments() ([]listed, error) {
	client := api.Dial(e.nodeSocket())
	defer client.Close()
	attached, err := client.List(e.ctx)
	if isAway(err) {
		return nil, nil
	}
	var all []listed
	for _, a := range attached {
		name := a.Container
		if a.Pod != nil {
			name = a.Pod.Namespace + "/" + a.Pod.Name
		}
		all = append(all, listed{
			Kind: "container", Policy: a.Policy, Container: a.Container, Interface: a.Interface,
			Info: enforcer.Info{ID: a.Session, Command: name, Started: a.Started},
		})
	}
	return all, err
}

// reloadNode lets the daemon read its policies again. It counts as one session
// in what is told.
func (e *env) reloadNode() []enforcer.Renewal {
	client := api.Dial(e.nodeSocket())
	defer client.Close()
	policies, err := client.Reload(e.ctx)
	if isAway(err) {
		return nil
	}
	r := enforcer.Renewal{Session: "node", Command: "phantom-ns serve"}
	for _, p := range policies {
		if p.Error != "" {
			err = errors.Join(err, errors.New(p.Name+": "+p.Error))
		}
	}
	if err != nil {
		r.Error = err.Error()
	}
	return []enforcer.Renewal{r}
}

// tellNode tells the daemon about the stored credential name, and says how that
// went where it went wrong.
func (e *env) tellNode(name string, removed bool) {
	client := api.Dial(e.nodeSocket())
	defer client.Close()
	if err := client.Stored(e.ctx, name, removed); err != nil && !isAway(err) {
		e.say("the node's daemon: %v", err)
	}
}

// stopContainer ends the session of a container; false: the daemon has no such
// session.
func (e *env) stopContainer(id string) (bool, error) {
	client := api.Dial(e.nodeSocket())
	defer client.Close()
	err := client.Stop(e.ctx, id)
	if isAway(err) || api.Code(err) == api.CodeNotFound {
		return false, nil
	}
	return true, err
}
