// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/phantom-ns/phantom-ns/enforcer"
	"github.com/phantom-ns/phantom-ns/enforcer/console"
	"github.com/phantom-ns/phantom-ns/enforcer/node/members"
)

// readRequest looks at what the member wants and leaves it in the socket.
func readRequest(conn *net.UnixConn) (members.Request, error) {
	text, err := console.Peek(conn)
	if err != nil {
		return members.Request{}, err
	}
	return members.ParseRequest(text)
}

// introduce hands the member over to the session of theirs that they name.
func introduce(conn *net.UnixConn, request members.Request, who *unix.Ucred) error {
	id, err := enforcer.FindSession(request.Sessions[0], int(who.Uid))
	if err != nil {
		return err
	}
	file, err := conn.File()
	if err != nil {
		return fmt.Errorf("pass socket: %w", err)
	}
	defer file.Close()
	return enforcer.Introduce(id, file, enforcer.Visitor{PID: uint32(who.Pid), UID: who.Uid})
}

// serveMember does what is not left to a session that is there.
func (e *env) serveMember(far *console.Far, request members.Request, uid int) error {
	if request.Do == members.DoRun {
		return e.supervise(far, request, uid)
	}
	defer far.Streams.Close()
	if request.Do == members.DoStop {
		return stopOwn(request.Sessions, request.Timeout, uid)
	}
	all, err := runs(uid)
	if err != nil {
		return err
	}
	return answer(far.Streams.Files[1], all)
}

var errNoPipe = errors.New("the answer goes to a pipe")

// answer writes to a pipe and to nothing else: what root writes to a file that
// somebody else chose may do more than they could. Who does not read it waits.
func answer(to *os.File, said any) error {
	info, err := to.Stat()
	if err == nil && info.Mode()&fs.ModeNamedPipe == 0 {
		err = errNoPipe
	}
	if err != nil {
		return err
	}
	return json.NewEncoder(to).Encode(said)
}

// stopOwn ends sessions of the member's. None, where one of the names is wrong.
func stopOwn(names []string, timeout time.Duration, uid int) error {
	var ids []string
	for _, name := range names {
		id, err := enforcer.FindSession(name, uid)
		if err != nil {
			return err
		}
		ids = append(ids, id)
	}
	return stopAll(ids, timeout)
}
