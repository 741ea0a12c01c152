// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"sync/atomic"
	"syscall"
)

// siblingPort is where a session's servers listen, and where its sibling looks
// for them.
const siblingPort = 7681

// plainTCP does not try MPTCP first, which would leave a record.
var plainTCP = func() (c net.ListenConfig) {
	c.SetMultipathTCP(false)
	return c
}()

// serve listens on every address that a session has, says so, and says at the
// end of its input how many came.
func serve() {
	var visitors atomic.Int32
	for _, address := range []string{"127.0.0.1", "[::1]", "198.18.255.1", "[fd70:6861:6e74:ffff::1]"} {
		l, err := plainTCP.Listen(context.Background(), "tcp", fmt.Sprintf("%s:%d", address, siblingPort))
		if err != nil {
			fail(err)
		}
		go count(l, &visitors)
	}
	for _, path := range []string{"@escape-sibling", "/tmp/escape-sibling"} {
		l, err := net.Listen("unix", path)
		if err != nil {
			fail(err)
		}
		go count(l, &visitors)
	}
	u, err := net.ListenPacket("udp", fmt.Sprintf("198.18.255.1:%d", siblingPort))
	if err != nil {
		fail(err)
	}
	go func() {
		for {
			if _, _, err := u.ReadFrom(make([]byte, 64)); err != nil {
				return
			}
			visitors.Add(1)
		}
	}()
	fmt.Println("serving")
	io.Copy(io.Discard, os.Stdin)
	fmt.Printf("visitors=%d\n", visitors.Load())
}

func count(l net.Listener, visitors *atomic.Int32) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		visitors.Add(1)
		conn.Close()
	}
}

// linger leaves a daemon behind that has no parent, no session and a deaf ear
// for every signal that it may ignore, and that holds standard output open. It
// returns when the daemon is ready.
func linger() {
	const never, here = "/tmp/never", "/tmp/here"
	script := "trap '' HUP INT TERM QUIT; echo lingering; echo > " + here + "; while :; do read -r _ < " + never + "; done"
	for _, path := range []string{never, here} {
		if err := syscall.Mkfifo(path, 0o600); err != nil {
			fail(err)
		}
	}
	middle := exec.Command("/bin/sh", "-c", `sh -c "$0" & exit 0`, script)
	middle.Stdout = os.Stdout
	middle.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := middle.Run(); err != nil {
		fail(err)
	}
	if _, err := os.ReadFile(here); err != nil {
		fail(err)
	}
}
