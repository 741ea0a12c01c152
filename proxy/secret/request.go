// SPDX-License-Identifier: Apache-2.0

package secret

import (
	"fmt"
	"io"
)

// Request is what the supervisor writes to the helper's fd 3: [Request.Send],
// then close.
type Request struct {
	Ref   Ref
	Env   Env
	Terms *Terms // not nil: a lease
	// Unlock asks for the store's passphrase instead, see SlotFD; Ref is not
	// looked at.
	Unlock bool
}

// requestHeader is the JSON line of a request; the body is Env.Value.
type requestHeader struct {
	Ref    Ref    `json:"ref,omitzero"`
	Env    Env    `json:"env"`
	Terms  *Terms `json:"terms,omitempty"`
	Unlock bool   `json:"unlock,omitempty"`
	Length int    `json:"length"`
}

// Send writes the request as one frame. An env: value travels in the frame's
// body, never in argv or environment.
func (q Request) Send(w io.Writer) error {
	body := q.Env.Value.Reveal()
	if err := writeFrame(w, requestHeader{q.Ref, q.Env, q.Terms, q.Unlock, len(body)}, body); err != nil {
		return fmt.Errorf("send request for credential %s: %w", q.Ref, err)
	}
	return nil
}

// readRequest is the other end of Send.
func readRequest(r io.Reader) (Request, error) {
	var h requestHeader
	if err := readHeader(r, &h, maxHeader); err != nil {
		return Request{}, fmt.Errorf("read request: %w", err)
	}
	v, err := readBody(r, h.Length)
	if err == nil {
		err = readEnd(r)
	}
	if err != nil {
		v.Wipe()
		return Request{}, fmt.Errorf("read request: %w", err)
	}
	h.Env.Value = v
	return Request{h.Ref, h.Env, h.Terms, h.Unlock}, nil
}
