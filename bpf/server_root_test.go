// SPDX-License-Identifier: Apache-2.0

//go:build root

package bpf

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// start runs an act in the pod until its standard input closes with the test, and waits for its first line.
func (p *pod) start(act string) {
	p.t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Args[0] = act
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(p.cgroup.Fd())}
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	require(p.t, err)
	stdout, err := cmd.StdoutPipe()
	require(p.t, err)
	p.inside(cmd.Start)
	p.t.Cleanup(func() {
		stdin.Close()
		cmd.Wait()
	})
	line := make([]byte, 64)
	n, err := stdout.Read(line)
	if got := string(line[:n]); got != "ready\n" {
		p.t.Fatalf("%s said %q: %v", act, got, err)
	}
}

// serve echoes TCP and UDP on all the pod's addresses, port 80.
func serve() string {
	listener, err := net.Listen("tcp", ":80")
	if err != nil {
		return err.Error()
	}
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			go func() { io.Copy(c, c); c.Close() }()
		}
	}()
	for _, network := range []string{"udp4", "udp6"} {
		socket, err := net.ListenPacket(network, ":80")
		if err != nil {
			return err.Error()
		}
		go echoDatagrams(socket)
	}
	reuse := net.ListenConfig{Control: reuseAddress}
	socket, err := reuse.ListenPacket(context.Background(), "udp4", ":81")
	if err != nil {
		return err.Error()
	}
	go echoConnected(socket)
	fmt.Println("ready")
	io.Copy(io.Discard, os.Stdin)
	return ""
}

// echoConnected answers datagrams to port 81 from a socket that is connected to the peer, as some servers do.
func echoConnected(socket net.PacketConn) {
	buffer := make([]byte, 2048)
	for {
		n, from, err := socket.ReadFrom(buffer)
		if err != nil {
			return
		}
		dialer := net.Dialer{Control: reuseAddress, LocalAddr: &net.UDPAddr{IP: net.ParseIP(pod4), Port: 81}}
		answer, err := dialer.Dial("udp4", from.String())
		if err != nil {
			return
		}
		answer.Write(buffer[:n])
		answer.Close()
	}
}

func reuseAddress(_, _ string, c syscall.RawConn) error {
	var set error
	err := c.Control(func(fd uintptr) { set = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1) })
	return errors.Join(err, set)
}

func echoDatagrams(socket net.PacketConn) {
	buffer := make([]byte, 2048)
	for {
		n, from, err := socket.ReadFrom(buffer)
		if err != nil {
			return
		}
		socket.WriteTo(buffer[:n], from)
	}
}

// serversAnswer proves that the pod's servers are reached: streams of many segments, datagrams and pings, both families.
func (p *pod) serversAnswer() {
	p.t.Helper()
	sent := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	p.datagramsAnswer(net.JoinHostPort(pod4, "81"))
	for _, address := range []string{pod4, pod6} {
		p.datagramsAnswer(net.JoinHostPort(address, "80"))
		c, err := net.Dial("tcp", net.JoinHostPort(address, "80"))
		require(p.t, err)
		require(p.t, c.SetDeadline(time.Now().Add(patience)))
		go func() { c.Write(sent); c.(*net.TCPConn).CloseWrite() }()
		got, err := io.ReadAll(c)
		require(p.t, err)
		if !bytes.Equal(got, sent) {
			p.t.Errorf("%s: %d bytes came back of %d", address, len(got), len(sent))
		}
		c.Close()
	}
	require(p.t, ping("ip4:icmp", pod4, icmp(8, 0x00070001)))
	require(p.t, ping("ip6:ipv6-icmp", pod6, icmp(128, 0x00070001)))
}

func (p *pod) datagramsAnswer(address string) {
	p.t.Helper()
	d, err := net.Dial("udp", address)
	require(p.t, err)
	defer d.Close()
	require(p.t, d.SetReadDeadline(time.Now().Add(patience)))
	_, err = d.Write([]byte("hello"))
	require(p.t, err)
	require(p.t, receive(d, "hello"))
}

func receive(from io.Reader, want string) error {
	buffer := make([]byte, 2048)
	n, err := from.Read(buffer)
	if got := string(buffer[:n]); err == nil && got != want {
		err = fmt.Errorf("received %q, want %q", got, want)
	}
	return err
}

// ping waits for a reply, whose type is one of two.
func ping(network, address string, request []byte) error {
	c, err := net.ListenPacket(network, "")
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if network == "ip4:icmp" {
		sum := checksum(request)
		request[2], request[3] = byte(sum>>8), byte(sum)
	}
	if _, err := c.WriteTo(request, &net.IPAddr{IP: net.ParseIP(address)}); err != nil {
		return err
	}
	for reply := make([]byte, 512); ; {
		n, _, err := c.ReadFrom(reply)
		if err != nil || n > 0 && (reply[0] == 0 || reply[0] == 129) {
			return err
		}
	}
}
