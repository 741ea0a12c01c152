// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func socketPair(t *testing.T) (a, b int) {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(pair[0]); unix.Close(pair[1]) })
	return pair[0], pair[1]
}

func TestPacketCarriesDescriptors(t *testing.T) {
	a, b := socketPair(t)
	fd, err := newBulk("header", []byte("one"), nil, []byte("three"))
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := send(a, kindLaunch, signalBody{Signal: 5}, fd, fd); err != nil {
		t.Fatal(err)
	}
	p, err := receive(b)
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	var body signalBody
	if err := p.decode(&body); err != nil || body.Signal != 5 || p.kind != kindLaunch || len(p.fds) != 2 {
		t.Fatalf("received %+v, %+v, %v", p, body, err)
	}
	for _, fd := range p.fds {
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); flags&unix.FD_CLOEXEC == 0 {
			t.Errorf("descriptor %d would be inherited: %v", fd, err)
		}
		var header string
		parts, err := readBulk(fd, &header, 3)
		if err != nil || header != "header" || string(bytes.Join(parts, []byte("|"))) != "one||three" {
			t.Errorf("read %q, %q, %v", header, parts, err)
		}
	}
}

func TestPacketEnd(t *testing.T) {
	a, b := socketPair(t)
	if err := unix.Shutdown(a, unix.SHUT_WR); err != nil {
		t.Fatal(err)
	}
	if _, err := receive(b); !errors.Is(err, io.EOF) {
		t.Errorf("receive: %v, want %v", err, io.EOF)
	}
}

func TestPacketTooLong(t *testing.T) {
	a, b := socketPair(t)
	if err := send(a, kindWarning, warningBody{strings.Repeat("x", messageLimit)}); !errors.Is(err, unix.EMSGSIZE) {
		t.Errorf("send: %v, want %v", err, unix.EMSGSIZE)
	}
	if err := unix.Send(a, make([]byte, messageLimit+1), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := receive(b); !errors.Is(err, unix.EMSGSIZE) {
		t.Errorf("receive: %v, want %v", err, unix.EMSGSIZE)
	}
}

func TestBulkOfOtherShape(t *testing.T) {
	fd, err := newBulk("header", []byte("one"))
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	var header string
	if _, err := readBulk(fd, &header, 2); err == nil {
		t.Error("one part was taken for two")
	}
	if _, err := unix.Write(fd, []byte("x")); !errors.Is(err, unix.EPERM) {
		t.Errorf("write to a sealed bulk: %v, want %v", err, unix.EPERM)
	}
}

func FuzzSplitBulk(f *testing.F) {
	f.Add([]byte{1, 0, 0, 0, 0, 0, 0, 0, 'x'})
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, data []byte) {
		parts, err := splitBulk(data)
		size := 0
		for _, p := range parts {
			size += 8 + len(p)
		}
		if err == nil && size != len(data) {
			t.Errorf("%d bytes of %d", size, len(data))
		}
	})
}

func FuzzParsePacket(f *testing.F) {
	f.Add([]byte("\x06{}"), []byte{}, 0)
	f.Fuzz(func(t *testing.T, data, control []byte, flags int) {
		for i := range control { // no descriptor of the test's own
			control[i] |= 0x80
		}
		if p, err := parsePacket(data, control, flags); err == nil && len(p.body) != len(data)-1 {
			t.Errorf("body of %d bytes from %d", len(p.body), len(data))
		}
	})
}
