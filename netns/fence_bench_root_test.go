// SPDX-License-Identifier: Apache-2.0

//go:build root

package netns_test

import (
	"io"
	"net"
	"testing"

	"github.com/phantom-ns/phantom-ns/netns"
)

// What the fence costs on loopback, where everything that a session sends goes
// through: to the listener, which is not tracked, and to another server.
func BenchmarkFence(b *testing.B) {
	for name, c := range map[string]struct {
		fenced  bool
		address string
	}{
		"none":           {false, "127.0.0.1:981"},
		"listener":       {true, "127.0.0.1:981"},
		"another server": {true, "127.0.0.1:8080"},
	} {
		ns, err := netns.New()
		if err != nil {
			b.Fatal(err)
		}
		defer ns.Close()
		if c.fenced {
			if err := ns.Fence(); err != nil {
				b.Fatal(err)
			}
		}
		var l net.Listener
		if err := ns.Do(func() error { l, err = net.Listen("tcp", c.address); return err }); err != nil {
			b.Fatal(err)
		}
		defer l.Close()
		go func() {
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				go func() { io.Copy(conn, conn); conn.Close() }()
			}
		}()
		b.Run(name+"/connect", func(b *testing.B) { connects(b, ns, c.address) })
		b.Run(name+"/round trip", func(b *testing.B) { roundTrips(b, ns, c.address, 64) })
		b.Run(name+"/64 KiB", func(b *testing.B) { roundTrips(b, ns, c.address, 64<<10) })
	}
}

func connects(b *testing.B, ns *netns.Namespace, address string) {
	for range b.N {
		conn := dialIn(b, ns, address)
		conn.SetLinger(0) // no TIME_WAIT to fill the ports
		conn.Close()
	}
}

func roundTrips(b *testing.B, ns *netns.Namespace, address string, size int) {
	conn := dialIn(b, ns, address)
	defer conn.Close()
	data := make([]byte, size)
	b.SetBytes(int64(size))
	for b.Loop() {
		if _, err := conn.Write(data); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(conn, data); err != nil {
			b.Fatal(err)
		}
	}
}

func dialIn(b *testing.B, ns *netns.Namespace, address string) *net.TCPConn {
	b.Helper()
	var conn net.Conn
	err := ns.Do(func() (err error) {
		conn, err = net.Dial("tcp", address)
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	return conn.(*net.TCPConn)
}
