// SPDX-License-Identifier: Apache-2.0

// Command bench measures the built binary on this machine and prints ratios:
// both sides of each ratio come from the same run, because machines are
// shared and noisy. It needs root and build/phantom-ns.
//
//	build/bench                    all of it
//	build/bench scale              a node with a thousand sessions, and no more
//	bench load URL …               the load client, also run inside a session
//	bench hold                     the client of idle connections, run inside one
package main

import (
	"fmt"
	"os"
	"slices"
)

func main() {
	var err error
	switch args := append(os.Args, ""); args[1] {
	case "load":
		err = loadMain(os.Args[2:])
	case "hold":
		err = holdMain()
	default:
		err = benchMain(os.Args[1:])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// benchMain takes the measurements that are named, or all.
func benchMain(names []string) error {
	b, err := newBench()
	if err != nil {
		return err
	}
	defer b.close()
	for _, m := range []struct {
		name string
		take func() error
	}{{"start", b.start}, {"memory", b.memory}, {"requests", b.requests}, {"idle", b.idle}, {"scale", b.scale}} {
		if len(names) > 0 && !slices.Contains(names, m.name) {
			continue
		}
		if err := m.take(); err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
	}
	return nil
}
