// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"
)

// packet is one message as received. Its receiver owns the descriptors.
type packet struct {
	kind kind
	body []byte
	fds  []int
}

// send writes one message to the socket fd.
func send(fd int, k kind, body any, fds ...int) error {
	text, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("encode message: %w", err)
	}
	if len(text)+1 > messageLimit {
		return fmt.Errorf("send message: %w", unix.EMSGSIZE)
	}
	var control []byte
	if len(fds) > 0 {
		control = unix.UnixRights(fds...)
	}
	for {
		err = unix.Sendmsg(fd, append([]byte{byte(k)}, text...), control, nil, unix.MSG_NOSIGNAL)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// receive reads one message from the socket fd. It returns io.EOF when the
// other side is gone.
func receive(fd int) (packet, error) {
	data := make([]byte, messageLimit)
	control := make([]byte, unix.CmsgSpace(4*fdLimit))
	for {
		n, controlLen, flags, _, err := unix.Recvmsg(fd, data, control, unix.MSG_CMSG_CLOEXEC)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return packet{}, err
		}
		return parsePacket(data[:n], control[:controlLen], flags)
	}
}

func parsePacket(data, control []byte, flags int) (packet, error) {
	fds, err := rights(control)
	p := packet{fds: fds}
	if err == nil && len(data) == 0 {
		err = io.EOF // an empty packet is never sent
	}
	if err == nil && flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0 {
		err = fmt.Errorf("receive message: %w", unix.EMSGSIZE)
	}
	if err != nil {
		p.close()
		return packet{}, err
	}
	p.kind, p.body = kind(data[0]), data[1:]
	return p, nil
}

// rights lists the descriptors of a control buffer.
func rights(control []byte) ([]int, error) {
	if len(control) == 0 {
		return nil, nil
	}
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return nil, fmt.Errorf("parse control message: %w", err)
	}
	var all []int
	for i := range messages {
		fds, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			continue // credentials or the like: no descriptor in it
		}
		all = append(all, fds...)
	}
	return all, nil
}

// decode reads the body into v.
func (p packet) decode(v any) error {
	if err := json.Unmarshal(p.body, v); err != nil {
		return fmt.Errorf("decode message %d: %w", p.kind, err)
	}
	return nil
}

// close gives up the descriptors that came with the message.
func (p packet) close() {
	for _, fd := range p.fds {
		unix.Close(fd)
	}
}
