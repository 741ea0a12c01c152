// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	apiHost  = "api.bench.test"
	agentUID = "65534" // nobody: the agent needs no home here
	rounds   = 15      // of each start; the median counts
)

// bench holds what the measurements share.
type bench struct {
	binary   string
	self     string
	dir      string
	policy   string
	ca       string
	key      string
	upstream *httptest.Server
}

func newBench() (*bench, error) {
	b := &bench{}
	var err error
	if b.binary, err = filepath.Abs("build/phantom-ns"); err != nil {
		return nil, err
	}
	if b.self, err = os.Executable(); err != nil {
		return nil, err
	}
	if b.dir, err = os.MkdirTemp("/var/lib", "phantom-ns-bench-"); err != nil {
		return nil, err
	}
	if err := os.Chmod(b.dir, 0o755); err != nil {
		return nil, err
	}
	b.startUpstream()
	return b, b.writePolicy()
}

func (b *bench) close() {
	b.upstream.Close()
	os.RemoveAll(b.dir)
}

// startUpstream serves the API that accepts only the real key.
func (b *bench) startUpstream() {
	raw := make([]byte, 24)
	rand.Read(raw)
	b.key = hex.EncodeToString(raw)
	body := bytes.Repeat([]byte("x"), 1024)
	b.upstream = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+b.key {
			http.Error(w, "wrong key", http.StatusUnauthorized)
			return
		}
		w.Write(body)
	}))
	b.upstream.TLS = serverTLS(apiHost)
	b.upstream.StartTLS()
}

func (b *bench) writePolicy() error {
	b.ca, b.policy = filepath.Join(b.dir, "ca.pem"), filepath.Join(b.dir, "policy.yaml")
	key := filepath.Join(b.dir, "key")
	policy := fmt.Sprintf(`version: 1
credentials:
  bench:
    from: file:%s
    env: [BENCH_KEY]
    hosts: [%s]
    inject: [bearer]
    allow: ["GET *"]
hosts:
  %s: {connect: "%s", ca: %s}
limits: {connections: %d}
`, key, apiHost, apiHost, b.upstream.Listener.Addr(), b.ca, idleConnections+64)
	self := filepath.Join(b.dir, "load")
	data, err := os.ReadFile(b.self)
	if err != nil {
		return err
	}
	b.self = self
	return errors.Join(
		os.WriteFile(b.ca, serverCA(b.upstream.TLS), 0o644),
		os.WriteFile(b.policy, []byte(policy), 0o644),
		os.WriteFile(key, []byte(b.key), 0o600),
		os.WriteFile(self, data, 0o755),
	)
}

// session prepares a command that runs args in a session.
func (b *bench) session(policy bool, args ...string) *exec.Cmd {
	words := []string{"run", "--user", agentUID}
	if policy {
		words = append(words, "--policy", b.policy)
	}
	cmd := exec.Command(b.binary, append(append(words, "--"), args...)...)
	cmd.Dir = b.dir
	return cmd
}

// start compares `run true` with bwrap's.
func (b *bench) start() error {
	bwrap := func() *exec.Cmd {
		cmd := exec.Command("bwrap", "--unshare-all", "--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev", "true")
		cmd.Dir = b.dir
		return cmd
	}
	ours, err := median(func() *exec.Cmd { return b.session(false, "true") })
	if err != nil {
		return err
	}
	withKey, err := median(func() *exec.Cmd { return b.session(true, "true") })
	if err != nil {
		return err
	}
	theirs, err := median(bwrap)
	if err != nil {
		return err
	}
	fmt.Printf("run true                %8s   %.1f x bwrap (%s)\n", ms(ours), ratio(ours, theirs), ms(theirs))
	fmt.Printf("run true, credential    %8s   %.1f x bwrap\n", ms(withKey), ratio(withKey, theirs))
	return nil
}

func median(command func() *exec.Cmd) (time.Duration, error) {
	var times []time.Duration
	for range rounds {
		cmd := command()
		began := time.Now()
		if out, err := cmd.CombinedOutput(); err != nil {
			return 0, fmt.Errorf("%v: %w\n%s", cmd.Args, err, out)
		}
		times = append(times, time.Since(began))
	}
	slices.Sort(times)
	return times[len(times)/2], nil
}

// memory adds up the proportional set size of all our processes in an idle
// session. The agent says that it runs by closing its end of a pipe.
func (b *bench) memory() error {
	cmd := b.session(true, "sh", "-c", "echo up; exec sleep 60")
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	defer func() {
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
	}()
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		return fmt.Errorf("idle session: %w", err)
	}
	total, err := ours(cmd.Process.Pid)
	if err != nil {
		return err
	}
	fmt.Printf("idle session, PSS       %5.1f MiB   all our processes\n", float64(total)/1024)
	return nil
}

// ours is the PSS in KiB of all our processes of a session.
func ours(supervisor int) (total int, err error) {
	for _, pid := range append(children(supervisor), supervisor) {
		kib, err := pss(pid)
		if err != nil {
			return 0, err
		}
		total += kib
	}
	return total, nil
}

// children returns our own processes below pid: init and proxy, not the agent.
func children(pid int) []int {
	var found []int
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, t := range tasks {
		data, _ := os.ReadFile(t)
		for _, field := range strings.Fields(string(data)) {
			if child, err := strconv.Atoi(field); err == nil {
				found = append(found, child)
			}
		}
	}
	return found
}

func pss(pid int) (kib int, err error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(data)) {
		if rest, ok := strings.CutPrefix(line, "Pss:"); ok {
			return strconv.Atoi(strings.Fields(rest)[0])
		}
	}
	return 0, fmt.Errorf("process %d: no Pss", pid)
}

// requests compares a kept-alive client in a session with the same client
// outside.
func (b *bench) requests() error {
	url := "https://" + apiHost + "/"
	for _, conns := range []int{1, 32} {
		n, c := strconv.Itoa(max(3000, conns*300)), strconv.Itoa(conns)
		direct, err := runLoad(exec.Command(b.self, "load", "-n", n, "-c", c, "-key", b.key,
			"-connect", b.upstream.Listener.Addr().String(), "-ca", b.ca, url))
		if err != nil {
			return err
		}
		ours, err := runLoad(b.session(true, b.self, "load", "-n", n, "-c", c, url))
		if err != nil {
			return err
		}
		fmt.Printf("requests, %2d conns      %6.0f /s   %.2f of direct (%.0f /s)   p50 %s, %.1f x   p99 %s, %.1f x\n",
			conns, ours.Rate, ours.Rate/direct.Rate, direct.Rate,
			ms(ours.P50), ratio(ours.P50, direct.P50), ms(ours.P99), ratio(ours.P99, direct.P99))
	}
	return nil
}

func runLoad(cmd *exec.Cmd) (figures, error) {
	var f figures
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return f, fmt.Errorf("%v: %w", cmd.Args, err)
	}
	return f, json.Unmarshal(out, &f)
}

func ratio(a, b time.Duration) float64 { return float64(a) / float64(b) }

func ms(d time.Duration) string { return fmt.Sprintf("%.2f ms", float64(d)/float64(time.Millisecond)) }
