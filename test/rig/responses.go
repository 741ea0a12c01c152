// SPDX-License-Identifier: Apache-2.0

package rig

import (
	"bufio"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// response is one answer of OpenAI's responses API as the events of its stream,
// in the order the API documents; the last one holds the whole.
func (u *Upstream) response() []event {
	text := map[string]any{"type": "output_text", "text": u.Answer, "annotations": []any{}}
	item := func(status string, content ...any) map[string]any {
		return map[string]any{"type": "message", "id": "msg_1", "status": status, "role": "assistant", "content": append([]any{}, content...)}
	}
	whole := func(status string, output ...any) map[string]any {
		return map[string]any{"id": "resp_1", "object": "response", "created_at": 1, "status": status, "model": "test", "output": append([]any{}, output...),
			"parallel_tool_calls": true, "tool_choice": "auto", "tools": []any{}, "error": nil, "incomplete_details": nil, "instructions": nil, "metadata": map[string]any{},
			"usage": map[string]any{"input_tokens": 1, "output_tokens": 1, "total_tokens": 2,
				"input_tokens_details": map[string]any{"cached_tokens": 0}, "output_tokens_details": map[string]any{"reasoning_tokens": 0}}}
	}
	var events []event
	add := func(kind string, data map[string]any) {
		data["type"], data["sequence_number"] = kind, len(events)
		events = append(events, event{kind, data})
	}
	add("response.created", map[string]any{"response": whole("in_progress")})
	add("response.output_item.added", map[string]any{"output_index": 0, "item": item("in_progress")})
	for _, part := range split(u.Answer) {
		add("response.output_text.delta", map[string]any{"item_id": "msg_1", "output_index": 0, "content_index": 0, "delta": part, "logprobs": []any{}})
	}
	add("response.output_item.done", map[string]any{"output_index": 0, "item": item("completed", text)})
	add("response.completed", map[string]any{"response": whole("completed", item("completed", text))})
	return events
}

// socketGUID is RFC 6455's, section 1.3.
const socketGUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

// responseSocket answers each "response.create" of a WebSocket with the events
// of one response.
func (u *Upstream) responseSocket(w http.ResponseWriter, r *http.Request) {
	if !strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
		http.Error(w, "upgrade required", http.StatusUpgradeRequired)
		return
	}
	sum := sha1.Sum([]byte(r.Header.Get("Sec-WebSocket-Key") + socketGUID))
	w.Header().Set("Upgrade", "websocket")
	w.Header().Set("Connection", "Upgrade")
	w.Header().Set("Sec-WebSocket-Accept", base64.StdEncoding.EncodeToString(sum[:]))
	w.WriteHeader(http.StatusSwitchingProtocols)
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(err)
	}
	defer conn.Close()
	if err := u.answerSocket(buffered); err != nil && err != io.EOF {
		u.t.Logf("rig: websocket: %v", err)
	}
}

func (u *Upstream) answerSocket(conn *bufio.ReadWriter) error {
	for {
		message, err := readMessage(conn.Reader)
		if err != nil {
			return err
		}
		var ask struct {
			Type     string `json:"type"`
			Generate *bool  `json:"generate"`
		}
		if err := json.Unmarshal(message, &ask); err != nil {
			return err
		}
		if ask.Type != "response.create" {
			continue
		}
		for _, e := range u.response() {
			if ask.Generate != nil && !*ask.Generate && strings.HasPrefix(e.name, "response.output") {
				continue // a warm-up asks for no answer
			}
			data, err := json.Marshal(e.data)
			if err != nil {
				return err
			}
			if err := writeText(conn.Writer, data); err != nil {
				return err
			}
		}
	}
}

// readMessage returns the next text of a client, which masks its frames
// (RFC 6455, section 5.2). A closing frame is io.EOF.
func readMessage(r *bufio.Reader) ([]byte, error) {
	const final, text, closing = 0x80, 1, 8
	var message []byte
	for {
		var head [2]byte
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return nil, err
		}
		size, err := frameSize(r, head[1]&0x7f)
		if err != nil {
			return nil, err
		}
		frame := make([]byte, 4+size)
		if _, err := io.ReadFull(r, frame); err != nil {
			return nil, err
		}
		mask, payload := frame[:4], frame[4:]
		for i := range payload {
			payload[i] ^= mask[i%4]
		}
		switch opcode := head[0] & 0x0f; {
		case opcode == closing:
			return nil, io.EOF
		case opcode > text:
			continue // ping, pong
		}
		if message = append(message, payload...); head[0]&final != 0 {
			return message, nil
		}
	}
}

func frameSize(r *bufio.Reader, short byte) (int, error) {
	switch short {
	case 126:
		var n uint16
		err := binary.Read(r, binary.BigEndian, &n)
		return int(n), err
	case 127:
		var n uint64
		if err := binary.Read(r, binary.BigEndian, &n); err != nil || n > maxBody {
			return 0, fmt.Errorf("frame of %d bytes: %w", n, err)
		}
		return int(n), nil
	}
	return int(short), nil
}

func writeText(w *bufio.Writer, data []byte) error {
	head := []byte{0x81, byte(len(data))}
	if len(data) > 125 {
		head = binary.BigEndian.AppendUint16([]byte{0x81, 126}, uint16(len(data)))
	}
	if _, err := w.Write(append(head, data...)); err != nil {
		return err
	}
	return w.Flush()
}
