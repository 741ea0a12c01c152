// SPDX-License-Identifier: Apache-2.0

package http

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/phantom-ns/phantom-ns/proxy/ca"
)

// recorder is the upstream of a corpus. It reads requests with a grammar of its
// own, stricter than any server's, and shares no code with what it judges.
type recorder struct {
	listener net.Listener
	host     string

	mu        sync.Mutex
	requests  map[string][]message // by target
	malformed []string
	cut       int // requests that broke off
	open      []net.Conn
	wg        sync.WaitGroup
}

// message is one whole request as it arrived.
type message struct {
	head string
	body string
}

func newRecorder(t testing.TB, host string, world *ca.Authority) *recorder {
	t.Helper()
	l, err := tls.Listen("tcp4", "127.0.0.1:0", &tls.Config{
		NextProtos: []string{"http/1.1"},
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			return world.Leaf(hello.ServerName)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	r := &recorder{listener: l, host: host, requests: make(map[string][]message)}
	r.wg.Add(1)
	go r.serve()
	t.Cleanup(func() { l.Close(); r.end() })
	return r
}

// end closes what is still open and returns when every byte that came has been
// read and judged.
func (r *recorder) end() {
	r.listener.Close()
	r.mu.Lock()
	for _, c := range r.open {
		c.(*tls.Conn).CloseWrite() // the proxy hangs up, and we read to its end
	}
	r.mu.Unlock()
	r.wg.Wait()
}

func (r *recorder) serve() {
	defer r.wg.Done()
	for {
		conn, err := r.listener.Accept()
		if err != nil {
			return
		}
		r.mu.Lock()
		r.open = append(r.open, conn)
		r.mu.Unlock()
		r.wg.Add(1)
		go func() {
			defer r.wg.Done()
			defer conn.Close()
			r.converse(conn)
		}()
	}
}

// converse reads requests until the connection ends or one is not well-formed.
func (r *recorder) converse(conn net.Conn) {
	br := bufio.NewReader(conn)
	for {
		if _, err := br.Peek(1); err != nil {
			return
		}
		target, m, err := r.read(br)
		r.mu.Lock()
		switch {
		case err == nil:
			r.requests[target] = append(r.requests[target], m)
		case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
			r.cut++
		default:
			r.malformed = append(r.malformed, fmt.Sprintf("%v in %.300q", err, m.head))
		}
		r.mu.Unlock()
		if err != nil {
			return
		}
		io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
	}
}

// read reads one request: every line ended by CRLF, no control byte, one Host,
// and at most one field that frames a body.
func (r *recorder) read(br *bufio.Reader) (target string, m message, err error) {
	first, err := readLine(br, &m.head)
	if err != nil {
		return "", m, err
	}
	parts := strings.Split(first, " ")
	if len(parts) != 3 || parts[0] == "" || !strings.HasPrefix(parts[1], "/") || parts[2] != "HTTP/1.1" {
		return "", m, fmt.Errorf("request line %q", first)
	}
	fields := make(map[string][]string)
	for {
		line, err := readLine(br, &m.head)
		if err != nil {
			return "", m, err
		}
		if line == "" {
			break
		}
		name, value, ok := strings.Cut(line, ": ")
		if !ok || name == "" || strings.ContainsAny(name, " \t\"(),/:;<=>?@[\\]{}") || strings.TrimSpace(value) != value {
			return "", m, fmt.Errorf("field line %q", line)
		}
		name = strings.ToLower(name)
		fields[name] = append(fields[name], value)
	}
	if len(fields["host"]) != 1 || fields["host"][0] != r.host {
		return "", m, fmt.Errorf("hosts %q", fields["host"])
	}
	m.body, err = readBody(br, fields["content-length"], fields["transfer-encoding"])
	return parts[1], m, err
}

func readLine(br *bufio.Reader, seen *string) (string, error) {
	line, err := br.ReadString('\n')
	*seen += line
	if err != nil {
		return "", err
	}
	text, ok := strings.CutSuffix(line, "\r\n")
	if !ok {
		return "", fmt.Errorf("bare line feed in %q", line)
	}
	for i := range len(text) {
		if c := text[i]; c < ' ' && c != '\t' || c == 0x7f {
			return "", fmt.Errorf("control byte in %q", line)
		}
	}
	return text, nil
}

func readBody(br *bufio.Reader, lengths, codings []string) (string, error) {
	switch {
	case len(lengths)+len(codings) == 0:
		return "", nil
	case len(lengths)+len(codings) > 1 || len(codings) == 1 && codings[0] != "chunked":
		return "", fmt.Errorf("lengths %q and codings %q", lengths, codings)
	case len(codings) == 1:
		return readChunks(br)
	}
	n, err := strconv.ParseUint(lengths[0], 10, 31)
	if err != nil {
		return "", fmt.Errorf("length %q", lengths[0])
	}
	return readExactly(br, int(n))
}

func readChunks(br *bufio.Reader) (string, error) {
	var body strings.Builder
	for {
		var seen string
		line, err := readLine(br, &seen)
		if err != nil {
			return "", err
		}
		n, err := strconv.ParseUint(line, 16, 31)
		if err != nil {
			return "", fmt.Errorf("chunk size %q", line)
		}
		data, err := readExactly(br, int(n)+2)
		if err != nil {
			return "", err
		}
		data, ok := strings.CutSuffix(data, "\r\n")
		if !ok {
			return "", fmt.Errorf("chunk of %d bytes goes on, or has a trailer: %q", n, data)
		}
		body.WriteString(data)
		if n == 0 {
			return body.String(), nil
		}
	}
}

func readExactly(br *bufio.Reader, n int) (string, error) {
	data := make([]byte, n)
	_, err := io.ReadFull(br, data)
	return string(data), err
}
