// SPDX-License-Identifier: Apache-2.0

// Command connector tries every way of an ordinary socket to an address
// outside, again and again, until it is killed. It prints one line once it has
// tried each.
package main

import (
	"fmt"
	"net"
	"time"
)

// Addresses that the test's network would carry, were they to leave.
var targets = [][2]string{
	{"tcp4", "192.0.2.7:443"}, {"tcp4", "198.18.0.1:443"}, {"tcp6", "[2001:db8:2::7]:443"}, {"tcp6", "[fd70:6861:6e74::1]:443"},
	{"tcp4", "192.0.2.7:53"}, {"udp4", "192.0.2.7:53"}, {"udp4", "192.0.2.7:443"}, {"udp6", "[2001:db8:2::7]:443"}, {"udp4", "224.0.0.251:5353"},
}

func main() {
	for n := 0; ; n++ {
		for _, t := range targets {
			try(t[0], t[1])
		}
		if n == 0 {
			fmt.Println("looping")
		}
	}
}

func try(network, address string) {
	conn, err := net.DialTimeout(network, address, 100*time.Millisecond)
	if err != nil {
		return
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(100 * time.Millisecond))
	// Whatever becomes of it: the tap decides.
	_, _ = conn.Write([]byte("escape"))
}
