// SPDX-License-Identifier: Apache-2.0

// Command bench measures the built binary on this machine and prints ratios:
// both sides of each ratio come from the same run, because machines are
// shared and noisy. It needs root and build/phantom-ns.
//
//	go run ./test/bench            all of it
//	bench load URL …               the load client, also run inside a session
package main

import (
	"fmt"
	"os"
)

func main() {
	var err error
	if len(os.Args) > 1 && os.Args[1] == "load" {
		err = loadMain(os.Args[2:])
	} else {
		err = benchMain()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func benchMain() error {
	b, err := newBench()
	if err != nil {
		return err
	}
	defer b.close()
	for _, measure := range []func() error{b.start, b.memory, b.requests} {
		if err := measure(); err != nil {
			return err
		}
	}
	return nil
}
