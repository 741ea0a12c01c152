// SPDX-License-Identifier: Apache-2.0

// Command agent leaves a mark when it executes and tries one way out.
package main

import (
	"fmt"
	"net"
	"os"
	"time"
)

func main() {
	fmt.Println("executed")
	conn, err := net.DialTimeout("tcp4", "192.0.2.7:443", time.Second)
	if err == nil {
		conn.Close()
		fmt.Println("out")
		os.Exit(1)
	}
	if datagram, err := net.Dial("udp4", "192.0.2.7:443"); err == nil {
		_, _ = datagram.Write([]byte("escape")) // the tap decides
		datagram.Close()
	}
	fmt.Println("held")
}
