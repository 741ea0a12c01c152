// SPDX-License-Identifier: Apache-2.0

// Command listener is the part of a node's daemon that members speak to. Its
// arguments are the socket and the program of supervisors. It prints one line
// when it listens.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"

	"github.com/phantom-ns/phantom-ns/enforcer/node/members"
)

func main() {
	if err := listen(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "listener:", err)
		os.Exit(1)
	}
}

func listen(socket, program string) error {
	l, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: socket, Net: "unixpacket"})
	if err != nil {
		return err
	}
	// Whoever gets as far as the socket is judged by what the kernel says.
	if err := os.Chmod(socket, 0o666); err != nil {
		return err
	}
	fmt.Println("listening")
	return members.Serve(context.Background(), l, members.Config{
		Executable: program, Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)),
	})
}
