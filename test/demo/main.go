// SPDX-License-Identifier: Apache-2.0

// Command demo shows phantom-ns at work in twenty seconds: it stores the key
// of a stand-in API, runs an agent that uses a placeholder and tries to leak,
// checks every claim itself, and prints what happened. Exit status 1 when a
// claim does not hold. Store, policy, user and audit log are in a mount
// namespace of its own and vanish with it.
package main

import (
	"bufio"
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"github.com/phantom-ns/phantom-ns/test/rig"
)

const (
	host   = "api.demo.test"
	policy = "/etc/phantom-ns/demo.yaml"
	// scratch exists on every Debian (base-files) and is empty or nobody's
	// business: only this process sees what is mounted on it here.
	scratch = "/mnt"
)

//go:embed agent
var agent embed.FS

func main() {
	runtime.LockOSThread() // the mount namespace is this thread's
	ok, err := run(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
	}
	if err != nil || !ok {
		os.Exit(1)
	}
}

func run(args []string) (bool, error) {
	if len(args) != 1 {
		return false, errors.New("usage: demo PHANTOM-NS")
	}
	program, err := filepath.Abs(args[0])
	if err != nil {
		return false, err
	}
	defer tidy()()
	if err := rig.Isolate(scratch); err != nil {
		return false, err
	}
	api, err := startAPI()
	if err != nil {
		return false, fmt.Errorf("start the stand-in: %w", err)
	}
	defer api.Close()
	if err := prepare(program, api); err != nil {
		return false, err
	}
	seen, err := runAgent(program, api)
	if err != nil {
		return false, err
	}
	return report(os.Stdout, api, seen)
}

// tidy returns what removes the two directories that phantom-ns makes for all
// sessions, unless they were there before or are in use.
func tidy() func() {
	made := []string{"/run/phantom-ns"}
	parents, _ := filepath.Glob("/sys/fs/cgroup/*/cgroup.procs")
	for _, p := range append(parents, "/sys/fs/cgroup/cgroup.procs") {
		made = append(made, filepath.Join(filepath.Dir(p), "phantom-ns"))
	}
	var ours []string
	for _, dir := range made {
		if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
			ours = append(ours, dir)
		}
	}
	return func() {
		for _, dir := range ours {
			os.Remove(dir) // fails where something is left in it, which is right
		}
	}
}

// prepare stores the key, writes the policy and gives the agent its scripts.
func prepare(program string, api *standIn) error {
	set := exec.Command(program, "secret", "set", "demo", "--host", host)
	set.Stdin = strings.NewReader(api.key)
	if out, err := set.CombinedOutput(); err != nil {
		return fmt.Errorf("store the key: %w: %s", err, out)
	}
	ca := filepath.Join(filepath.Dir(policy), "demo-ca.pem")
	text := fmt.Sprintf("version: 1\ncredentials:\n  demo: {from: store:demo, env: [DEMO_KEY], inject: [bearer]}\n"+
		"hosts:\n  %s: {connect: %q, ca: %q}\n", host, api.listener.Addr(), ca)
	if err := errors.Join(os.WriteFile(ca, api.ca.PEM, 0o644), os.WriteFile(policy, []byte(text), 0o644)); err != nil {
		return err
	}
	scripts, err := agent.ReadDir("agent")
	if err != nil {
		return err
	}
	for _, script := range scripts {
		data, err := agent.ReadFile("agent/" + script.Name())
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(rig.Work, script.Name()), data, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// sight is what came of the agent.
type sight struct {
	tries map[string]try
	hits  []rig.Hit // places where the agent could read the real key
	found bool      // the placeholder was found, so the search works
	bytes int64
	exit  int
	other []string // what else was said on stderr
}

// try is one line of the agent's.
type try struct {
	status int
	ms     int
	words  string
}

func runAgent(program string, api *standIn) (*sight, error) {
	cmd := exec.Command(program, "run", "--user", rig.User, "--policy", policy, "--", "/bin/sh", "agent.sh")
	cmd.Dir = rig.Work
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	s := &sight{tries: make(map[string]try)}
	counted := &counter{r: stdout}
	hits, readErr := rig.NewOracle(api.key).Reader("what the agent can read", io.TeeReader(counted, &finder{s: s, text: []byte("DEMO_KEY=")}))
	err = cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return nil, err
	}
	s.hits, s.bytes, s.exit = hits, counted.n, cmd.ProcessState.ExitCode()
	s.hits = append(s.hits, rig.NewOracle(api.key).Bytes("what the agent said", stderr.Bytes())...)
	s.parse(&stderr)
	return s, readErr
}

func (s *sight) parse(stderr io.Reader) {
	lines := bufio.NewScanner(stderr)
	for lines.Scan() {
		fields := strings.SplitN(lines.Text(), "\t", 4)
		if len(fields) != 4 {
			s.other = append(s.other, lines.Text())
			continue
		}
		status, _ := strconv.Atoi(fields[1])
		ms, _ := strconv.Atoi(fields[2])
		s.tries[fields[0]] = try{status, ms, fields[3]}
	}
}

type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.n += int64(n)
	return n, err
}

// finder notes whether a text went by. The environment comes first and in one
// piece, so the text is never cut in two.
type finder struct {
	s    *sight
	text []byte
}

func (f *finder) Write(b []byte) (int, error) {
	f.s.found = f.s.found || bytes.Contains(b, f.text)
	return len(b), nil
}
