// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
	"syscall"
)

const idleConnections = 10_000

// idle measures what connections of the agent cost that have been served once
// and are idle, and that each is served again.
func (b *bench) idle() error {
	cmd := b.session(true, b.self, "hold")
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	defer cmd.Process.Signal(syscall.SIGTERM)
	steps := bufio.NewReader(out)
	step := func(want string) error {
		io.WriteString(stdin, "\n")
		if said, err := steps.ReadString('\n'); err != nil || said != want+"\n" {
			return fmt.Errorf("the agent said %q, not %q: %w", said, want, err)
		}
		return nil
	}
	var kib, kernel [2]int
	for i, want := range []string{"one", "all"} {
		if err := step(want); err != nil {
			return err
		}
		if kib[i], err = ours(cmd.Process.Pid); err != nil {
			return err
		}
		if kernel[i], err = kernelMemory(); err != nil {
			return err
		}
	}
	if err := step("served"); err != nil {
		return err
	}
	const n = idleConnections - 1
	fmt.Printf("idle connection         %5.1f KiB   %d of them, PSS; the kernel's %.1f, of both ends\n",
		float64(kib[1]-kib[0])/n, idleConnections, float64(kernel[1]-kernel[0])/n)
	return cmd.Wait()
}

// holdMain opens one connection, then all, then asks on each of them again. It
// waits for a line before each step, and prints one after it.
func holdMain() error {
	orders := bufio.NewReader(os.Stdin)
	conns := make([]*tls.Conn, idleConnections)
	for _, s := range []struct {
		word  string
		which []*tls.Conn
	}{{"one", conns[:1]}, {"all", conns[1:]}, {"served", conns}} {
		if _, err := orders.ReadString('\n'); err != nil {
			return err
		}
		if err := ask(s.which); err != nil {
			return err
		}
		fmt.Println(s.word)
	}
	return nil
}

// ask makes one request on each connection, which it opens where there is none.
func ask(conns []*tls.Conn) error {
	const workers = 16
	var errs [workers]error
	var wg sync.WaitGroup
	for w := range errs {
		wg.Go(func() {
			for i := w; i < len(conns) && errs[w] == nil; i += workers {
				if conns[i] == nil {
					conns[i], errs[w] = tls.Dial("tcp", apiHost+":443", nil)
				}
				if errs[w] == nil {
					errs[w] = askOn(conns[i])
				}
			}
		})
	}
	wg.Wait()
	return errors.Join(errs[:]...)
}

func askOn(conn *tls.Conn) error {
	fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\n\r\n", apiHost, os.Getenv("BENCH_KEY"))
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != http.StatusOK {
		return errors.Join(fmt.Errorf("status %d", resp.StatusCode), err)
	}
	return nil
}
