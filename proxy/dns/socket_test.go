// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"

	"github.com/phantom-ns/phantom-ns/proxy/audit"
)

// servePacket serves on a socket bound as the session's are: to the
// unspecified address of one family.
func servePacket(t *testing.T, s *Server, network, address string) uint16 {
	t.Helper()
	conn, err := net.ListenPacket(network, address)
	if err != nil {
		t.Fatal(err)
	}
	packet, err := NewPacket(conn, network == "udp6")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.ServePacket(packet) }()
	t.Cleanup(func() {
		conn.Close()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return netip.MustParseAddrPort(conn.LocalAddr().String()).Port()
}

// exchange asks over a connected UDP socket, which takes answers from the
// address it asked alone.
func exchange(t *testing.T, network string, to netip.AddrPort, query *dns.Msg) *dns.Msg {
	t.Helper()
	conn, err := net.Dial(network, to.String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	client := &dns.Conn{Conn: conn}
	if err := errors.Join(conn.SetDeadline(time.Now().Add(5*time.Second)), client.WriteMsg(query)); err != nil {
		t.Fatal(err)
	}
	reply, err := client.ReadMsg()
	if err != nil {
		t.Fatalf("%s: %v", to, err)
	}
	return reply
}

func TestAnswersComeFromTheAddressAsked(t *testing.T) {
	s, _ := newServer()
	port := servePacket(t, s, "udp4", "0.0.0.0:0")
	for _, address := range []string{"127.0.0.1", "127.0.0.53", "127.255.1.2"} {
		to := netip.AddrPortFrom(netip.MustParseAddr(address), port)
		if got := summarize(exchange(t, "udp4", to, question("api.example.test", dns.TypeA))); got != "198.18.0.1" {
			t.Errorf("%s: %s", address, got)
		}
	}
	port = servePacket(t, s, "udp6", "[::]:0")
	to := netip.AddrPortFrom(netip.IPv6Loopback(), port)
	if got := summarize(exchange(t, "udp6", to, question("api.example.test", dns.TypeAAAA))); got != "fd70:6861:6e74::1" {
		t.Errorf("::1: %s", got)
	}
}

func TestReplySource(t *testing.T) {
	v4 := func(address string) []byte {
		return unix.PktInfo4(&unix.Inet4Pktinfo{Ifindex: 7, Addr: netip.MustParseAddr(address).As4()})
	}
	v6 := func(address string) []byte {
		return unix.PktInfo6(&unix.Inet6Pktinfo{Ifindex: 7, Addr: netip.MustParseAddr(address).As16()})
	}
	for name, test := range map[string]struct {
		control, want []byte
		ok            bool
	}{
		"v4": {v4("8.8.8.8"), unix.PktInfo4(&unix.Inet4Pktinfo{Spec_dst: [4]byte{8, 8, 8, 8}}), true},
		"v6": {v6("2001:db8::1"), unix.PktInfo6(&unix.Inet6Pktinfo{Addr: netip.MustParseAddr("2001:db8::1").As16()}), true},
		"v6 link-local": {v6("fe80::1"),
			unix.PktInfo6(&unix.Inet6Pktinfo{Addr: netip.MustParseAddr("fe80::1").As16(), Ifindex: 7}), true},
		"v4 group": {v4("224.0.0.251"), nil, false},
		"v6 group": {v6("ff02::fb"), nil, false},
		"none":     {nil, nil, false},
		"cut":      {v4("8.8.8.8")[:20], nil, false},
		"other":    {unix.UnixRights(0), nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			got, ok := replySource(test.control)
			if ok != test.ok || (ok && !bytes.Equal(got, test.want)) {
				t.Errorf("got % x %v\nwant % x %v", got, ok, test.want, test.ok)
			}
		})
	}
}

func TestPacketIsUDP(t *testing.T) {
	conn, err := net.ListenPacket("unixgram", t.TempDir()+"/s")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := NewPacket(conn, false); err == nil {
		t.Error("a unix socket can be served")
	}
}

// serveStream serves TCP on loopback and returns its address and a function
// that closes it and waits.
func serveStream(t *testing.T, s *Server) (address string, stop func()) {
	t.Helper()
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.ServeStream(listener) }()
	return listener.Addr().String(), func() {
		listener.Close()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

func TestStreamAnswersInTurnAndByTheByte(t *testing.T) {
	s, kept := newServer()
	address, stop := serveStream(t, s)
	defer stop()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	var wire []byte
	for _, name := range []string{"api.example.test", "evil.test"} {
		packed, err := question(name, dns.TypeA).Pack()
		if err != nil {
			t.Fatal(err)
		}
		wire = append(binary.BigEndian.AppendUint16(wire, uint16(len(packed))), packed...)
	}
	for i := range wire {
		if _, err := conn.Write(wire[i : i+1]); err != nil {
			t.Fatal(err)
		}
	}
	client := &dns.Conn{Conn: conn}
	for _, want := range []string{"198.18.0.1", "NXDOMAIN"} {
		if reply, err := client.ReadMsg(); err != nil || summarize(reply) != want {
			t.Errorf("got %v %v, want %s", reply, err, want)
		}
	}
	if records := kept.all(); len(records) != 1 || records[0].Proto != "tcp" {
		t.Errorf("recorded: %+v", records)
	}
}

func TestStreamClosesOnNonsense(t *testing.T) {
	for name, bytes := range map[string][]byte{
		"too long":  {0xff, 0xff},
		"nothing":   {0, 0},
		"a reply":   {0, 12, 1, 2, 0x80, 0, 0, 1, 0, 0, 0, 0, 0, 0},
		"no header": {0, 3, 1, 2, 3},
	} {
		t.Run(name, func(t *testing.T) {
			s, _ := newServer()
			address, stop := serveStream(t, s)
			defer stop()
			conn, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if _, err := conn.Write(bytes); err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(conn); err != nil && !errors.Is(err, unix.ECONNRESET) || len(got) > 0 {
				t.Errorf("got %x %v", got, err)
			}
		})
	}
}

func TestStreamsAreBoundedAndEndWithTheListener(t *testing.T) {
	s, _ := newServer()
	address, stop := serveStream(t, s)
	var conns []net.Conn
	for range maxStreams {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		client := &dns.Conn{Conn: conn}
		if err := client.WriteMsg(question("api.example.test", dns.TypeA)); err != nil {
			t.Fatal(err)
		}
		if _, err := client.ReadMsg(); err != nil {
			t.Fatal(err)
		}
		conns = append(conns, conn)
	}
	more, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer more.Close()
	one := &dns.Conn{Conn: more}
	_ = one.WriteMsg(question("api.example.test", dns.TypeA)) // an error where it is closed already
	if _, err := one.ReadMsg(); err == nil {
		t.Error("one connection too many was served")
	}
	var stopped sync.WaitGroup
	stopped.Go(stop)
	for _, conn := range conns {
		conn.SetReadDeadline(time.Now().Add(streamTimeout / 2)) // before it ends by itself
		if _, err := conn.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal("a connection outlived its listener")
		}
	}
	stopped.Wait()
	if len(s.streams.conns) != 0 {
		t.Errorf("%d connections kept", len(s.streams.conns))
	}
}

func TestD1SlowStreamIsCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := newServer()
		client, server := net.Pipe()
		defer client.Close()
		go func() {
			defer server.Close()
			s.serveConn(server)
		}()
		began := time.Now()
		if _, err := client.Write([]byte{0, 40, 1}); err != nil {
			t.Fatal(err)
		}
		if _, err := client.Read(make([]byte, 1)); err == nil {
			t.Fatal("an answer to half a question")
		}
		if took := time.Since(began); took != streamTimeout {
			t.Errorf("cut off after %v", took)
		}
	})
}

func TestPendingCountIsToldWithoutAnotherQuestion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, kept := newServer()
		for i := range burst + 10 {
			ask(t, s, question(tunnel(i), dns.TypeA))
		}
		if n := len(kept.all()); n != burst {
			t.Fatalf("%d records at once", n)
		}
		time.Sleep(summary + time.Second) // the bubble's clock: no time passes
		synctest.Wait()
		records := kept.all()
		last := records[len(records)-1]
		if len(records) != burst+1 || last.Suppressed != 10 || last.Reason != audit.ReasonRateLimit {
			t.Errorf("%d records, the last %+v", len(records), last)
		}
	})
}

func TestOneRecordForANameAndItsTypes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, kept := newServer()
		for _, name := range []string{"evil.test", "EVIL.test", "evil.test"} {
			ask(t, s, question(name, dns.TypeA))
			ask(t, s, question(name, dns.TypeAAAA))
		}
		if records := kept.all(); len(records) != 1 || records[0].Name != "evil.test" || records[0].Suppressed != 0 {
			t.Errorf("recorded: %+v", records)
		}
		time.Sleep(repeatAfter) // the bubble's clock
		ask(t, s, question("evil.test", dns.TypeA))
		if n := len(kept.all()); n != 2 {
			t.Errorf("%d records a minute later", n)
		}
	})
}

func TestRecordsThatCouldNotBeWrittenAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, kept := newServer()
		kept.err = errors.New("full")
		for i := range 5 {
			if got := summarize(ask(t, s, question(tunnel(i), dns.TypeA))); got != "NXDOMAIN" {
				t.Errorf("got %s", got)
			}
		}
		kept.mu.Lock()
		kept.err = nil
		kept.mu.Unlock()
		if err := errors.Join(s.Close(), s.Close()); err != nil {
			t.Fatal(err)
		}
		if records := kept.all(); len(records) != 1 || records[0].Suppressed != 5 {
			t.Errorf("recorded: %+v", records)
		}
	})
}

// A datagram that is longer than any question is not answered, whatever its
// beginning says.
func TestLongDatagramIsDropped(t *testing.T) {
	s, _ := newServer()
	port := servePacket(t, s, "udp4", "0.0.0.0:0")
	conn, err := net.Dial("udp4", netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port).String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	long, short := question("api.example.test", dns.TypeA), question("api.example.test", dns.TypeA)
	wire, err := long.Pack()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write(append(wire, make([]byte, maxQuery)...)); err != nil {
		t.Fatal(err)
	}
	client := &dns.Conn{Conn: conn}
	if err := errors.Join(conn.SetDeadline(time.Now().Add(5*time.Second)), client.WriteMsg(short)); err != nil {
		t.Fatal(err)
	}
	if reply, err := client.ReadMsg(); err != nil || reply.Id != short.Id {
		t.Errorf("%v, %v", reply, err)
	}
}

// Names that are told one a second are all told, and not all remembered.
func TestToldNamesAreForgotten(t *testing.T) {
	var r refusals
	now := time.Now()
	for i := range 2 * remembered {
		now = now.Add(refill)
		if ok, _ := r.take(key{name: strconv.Itoa(i)}, now); !ok {
			t.Fatalf("name %d is not told", i)
		}
		if len(r.told) > remembered {
			t.Fatalf("%d names are remembered", len(r.told))
		}
	}
}

// shortage is a listener that has nothing but errors, and then is closed.
type shortage struct {
	net.Listener
	left []error
}

func (l *shortage) Accept() (net.Conn, error) {
	if len(l.left) == 0 {
		return nil, net.ErrClosed
	}
	err := l.left[0]
	l.left = l.left[1:]
	return nil, &net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", err)}
}

// D7: being out of descriptors or memory does not end the server, anything else
// does.
func TestD7ShortageEndsNoStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := newServer()
		if err := s.ServeStream(&shortage{left: []error{unix.EMFILE, unix.ENOMEM}}); err != nil {
			t.Error(err)
		}
		if err := s.ServeStream(&shortage{left: []error{unix.EBADF}}); !errors.Is(err, unix.EBADF) {
			t.Error(err)
		}
	})
}
