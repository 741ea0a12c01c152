// SPDX-License-Identifier: Apache-2.0

//go:build root

package http

import (
	"bufio"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"strings"
)

// message reads one gRPC message, or nil at the end.
func grpcMessage(r io.Reader) []byte {
	var head [5]byte
	if _, err := io.ReadFull(r, head[:]); err != nil || head[0] != 0 {
		return nil
	}
	text := make([]byte, binary.BigEndian.Uint32(head[1:]))
	if _, err := io.ReadFull(r, text); err != nil {
		return nil
	}
	return text
}

func grpcSend(w http.ResponseWriter, text []byte) {
	w.Write(append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(text))), text...))
	http.NewResponseController(w).Flush()
}

// grpc serves /test.Echo, by the protocol's document: net/http is all it takes.
func grpc(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", "application/grpc")
	h.Set("X-Initial", r.Header.Get("X-Own"))
	h.Set("Trailer", "Grpc-Status, Grpc-Message, X-Trailing")
	status, text := "0", ""
	switch strings.TrimPrefix(r.URL.Path, "/test.Echo/") {
	case "Unary":
		grpcSend(w, grpcMessage(r.Body))
	case "Fails": // a head alone
		status, text = "5", "not there"
	case "FailsLate":
		grpcSend(w, grpcMessage(r.Body))
		status, text = "10", "said too much: 50%25"
	case "Many", "ManyFail":
		grpcMessage(r.Body)
		for i := range 50 {
			grpcSend(w, []byte(strings.Repeat("m", i*100)))
		}
		if strings.HasSuffix(r.URL.Path, "Fail") {
			status, text = "13", "in the middle"
		}
	case "All":
		var all []byte
		for m := grpcMessage(r.Body); m != nil; m = grpcMessage(r.Body) {
			all = append(all, m...)
		}
		grpcSend(w, all)
	case "Each":
		for m := grpcMessage(r.Body); m != nil; m = grpcMessage(r.Body) {
			grpcSend(w, m)
		}
	default:
		status, text = "12", "no such method"
	}
	h.Set("Grpc-Status", status)
	h.Set("Grpc-Message", text)
	h.Set("X-Trailing", "behind")
}

// websocket echoes frames as they came, and closes as it is closed; as "bye" it
// speaks first.
func websocket(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Upgrade") != "websocket" {
		http.Error(w, "not a handshake", http.StatusBadRequest)
		return
	}
	sum := sha1.Sum([]byte(r.Header.Get("Sec-Websocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	head := "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: " +
		base64.StdEncoding.EncodeToString(sum[:]) + "\r\n"
	if strings.Contains(r.Header.Get("Sec-Websocket-Protocol"), "chat") {
		head += "Sec-WebSocket-Protocol: chat\r\n"
	}
	io.WriteString(conn, head+"\r\n")
	if strings.HasSuffix(r.URL.Path, "/bye") {
		sendFrame(conn, 0x81, []byte("first"))
		sendFrame(conn, 0x82, []byte("second"))
		sendFrame(conn, 0x88, []byte("\x0f\xa2until later"))
	}
	for echoFrame(conn, rw.Reader) {
	}
}

// echoFrame reports whether there may be another.
func echoFrame(conn net.Conn, br *bufio.Reader) bool {
	var head [2]byte
	if _, err := io.ReadFull(br, head[:]); err != nil {
		return false
	}
	n := uint64(head[1] & 0x7f)
	if wide := map[uint64]int{126: 2, 127: 8}[n]; wide > 0 {
		var size [8]byte
		io.ReadFull(br, size[8-wide:])
		n = binary.BigEndian.Uint64(size[:])
	}
	var mask [4]byte
	text := make([]byte, n)
	io.ReadFull(br, mask[:])
	if _, err := io.ReadFull(br, text); err != nil {
		return false
	}
	for i := range text {
		text[i] ^= mask[i%4]
	}
	if head[0]&0xf == 9 {
		head[0]++ // a pong
	}
	sendFrame(conn, head[0], text)
	return head[0]&0xf != 8
}

func sendFrame(conn net.Conn, first byte, text []byte) {
	frame := []byte{first, byte(len(text))}
	switch n := len(text); {
	case n > 0xffff:
		frame = binary.BigEndian.AppendUint64([]byte{first, 127}, uint64(n))
	case n > 125:
		frame = binary.BigEndian.AppendUint16([]byte{first, 126}, uint16(n))
	}
	conn.Write(append(frame, text...))
}
