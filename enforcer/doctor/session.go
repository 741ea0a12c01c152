// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"bytes"
	"cmp"
	"context"
	_ "embed" // the runtimes
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/phantom-ns/phantom-ns/enforcer"
	"github.com/phantom-ns/phantom-ns/netns/sandbox"
	"github.com/phantom-ns/phantom-ns/proxy/policy"
)

//go:embed runtimes.json
var runtimesJSON []byte

// runtime is a program with TLS of its own, and how it makes one request. In
// its arguments {url}, {host} and {name} stand for the upstream's.
type runtime struct {
	Name   string   `json:"name"`
	Need   string   `json:"need"` // the program to look for in PATH
	Run    []string `json:"run"`
	Swap   bool     `json:"swap"` // it sends the placeholder as a bearer token
	Any    bool     `json:"any"`  // its exit status says something else than whether TLS worked
	Remedy string   `json:"remedy"`
}

// absent is the exit status of a runtime that is not there after all: one that
// none of the programs has a meaning for (77 is curl's, for a broken bundle).
const absent = 113

// The real credential comes to the proxy in the first variable, its placeholder
// to the agent in the second.
const (
	realVariable = "PHANTOM_NS_DOCTOR"
	agentKey     = "DOCTOR_KEY"
)

// scratch is where the sessions' working directory is made: /tmp and /run are
// each session's own.
const scratch = "/var/cache"

// Deadlines and sizes of one trial.
const (
	trialTime = 40 * time.Second // a cold JVM or Go toolchain on a busy machine
	trialText = 64 << 10         // what is kept of its output, in bytes
)

// sessions tries a session, and then each runtime in one of its own.
func (x *examination) sessions(ctx context.Context) {
	up, err := newUpstream()
	if err != nil {
		x.fail("session", "", err)
		return
	}
	defer up.close()
	dir, err := makeScratch(up)
	if err != nil {
		x.fail("session", "", err)
		return
	}
	defer os.RemoveAll(dir)
	began := time.Now()
	result, err := x.try(ctx, dir, up, []string{"true"})
	if err == nil && result.status != (sandbox.Status{}) {
		err = fmt.Errorf("true ended with %s", result)
	}
	if err != nil {
		x.fail("session", "", err)
		return
	}
	x.ok("session", "one started as %s and ended in %d ms", x.Session.User.Name, time.Since(began).Milliseconds())
	for _, warning := range result.warnings {
		x.warn("session", "", "%s", warning)
	}
	x.runtimes(ctx, dir, up)
}

func makeScratch(up *upstream) (string, error) {
	if err := os.MkdirAll(scratch, 0o755); err != nil {
		return "", fmt.Errorf("make working directory: %w", err)
	}
	dir, err := os.MkdirTemp(scratch, "phantom-ns-doctor-")
	if err != nil {
		return "", fmt.Errorf("make working directory: %w", err)
	}
	err = errors.Join(os.Chmod(dir, 0o755), os.WriteFile(filepath.Join(dir, "ca.pem"), up.ca.PEM(), 0o644))
	if err != nil {
		return "", errors.Join(fmt.Errorf("make working directory: %w", err), os.RemoveAll(dir))
	}
	return dir, nil
}

// runtimes tries what is found of the table. The proof of the swap is the first
// runtime that can give it.
func (x *examination) runtimes(ctx context.Context, dir string, up *upstream) {
	var all []runtime
	if err := json.Unmarshal(runtimesJSON, &all); err != nil {
		x.fail("runtimes", "", err)
		return
	}
	swapped := false
	for _, r := range all {
		if !x.found(r.Need) || ctx.Err() != nil {
			continue
		}
		result, err := x.try(ctx, dir, up, r.command())
		if err == nil && result.status.Code == absent {
			continue
		}
		if err == nil {
			err = r.judge(result, up)
		}
		if err != nil {
			x.fail(r.Name, r.Remedy, err)
			continue
		}
		if r.Swap && !swapped {
			swapped = true
			x.ok("swap", "%s sent its placeholder, the upstream got the credential, the answer showed the placeholder", r.Name)
		}
		x.ok(r.Name, "a verified TLS connection, as %s", x.Session.User.Name)
	}
	if !swapped && ctx.Err() == nil {
		x.warn("swap", "install curl", "no program was found that could prove it")
	}
}

// found looks where the agent's PATH looks.
func (x *examination) found(program string) bool {
	for dir := range strings.SplitSeq(enforcer.AgentPath(x.Session.Caller), ":") {
		if st, err := os.Stat(filepath.Join(dir, program)); err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0 {
			return true
		}
	}
	return false
}

func (r *runtime) host() string {
	if r.Swap {
		return swapHost
	}
	return openHost
}

func (r *runtime) command() []string {
	fill := strings.NewReplacer("{url}", "https://"+r.host()+"/"+r.Name, "{host}", r.host(), "{name}", r.Name)
	var out []string
	for _, word := range r.Run {
		out = append(out, fill.Replace(word))
	}
	return out
}

// judge says what is wrong about a trial.
func (r *runtime) judge(result *trial, up *upstream) error {
	authorization, arrived := up.arrived(r.Name)
	switch {
	case strings.Contains(result.text(), up.canary):
		return errors.New("the program saw the real credential")
	case !arrived || result.status.Signal != 0 || result.status.Code != 0 && !r.Any:
		return fmt.Errorf("%s", result)
	case r.Swap && authorization != "Bearer "+up.canary:
		return errors.New("the upstream did not get the credential")
	case r.Swap && !strings.Contains(result.out.String(), answer):
		return errors.New("the upstream's answer did not arrive")
	}
	return nil
}

// trial is one command in one session.
type trial struct {
	status   sandbox.Status
	out, err limited
	warnings []string
}

func (t *trial) text() string { return t.out.String() + t.err.String() }

// String is how the command ended and the last thing it said.
func (t *trial) String() string {
	said := strings.Split(strings.TrimSpace(cmp.Or(strings.TrimSpace(t.err.String()), t.out.String())), "\n")
	last := strings.Map(func(r rune) rune {
		if r < 0x20 || r >= 0x7f && r < 0xa0 {
			return -1
		}
		return r
	}, strings.ToValidUTF8(said[len(said)-1], "?"))
	if t.status.Signal != 0 {
		return fmt.Sprintf("killed by %v: %.200s", t.status.Signal, last)
	}
	return fmt.Sprintf("exit %d: %.200s", t.status.Code, last)
}

// limited keeps the beginning of what is written to it.
type limited struct{ bytes.Buffer }

func (l *limited) Write(p []byte) (int, error) {
	l.Buffer.Write(p[:min(len(p), trialText-l.Len())])
	return len(p), nil
}

// try runs a command in a session that reaches the upstream alone.
func (x *examination) try(ctx context.Context, dir string, up *upstream, command []string) (*trial, error) {
	ctx, cancel := context.WithTimeout(ctx, trialTime)
	defer cancel()
	t := &trial{}
	config, err := x.trialConfig(dir, up, command, t)
	if err != nil {
		return nil, err
	}
	collected := make(chan error, 2)
	stdout, err := collect(&t.out, collected)
	if err != nil {
		return nil, err
	}
	stderr, err := collect(&t.err, collected)
	if err != nil {
		stdout.Close()
		<-collected
		return nil, err
	}
	config.Stdout, config.Stderr = stdout, stderr
	session, err := enforcer.Start(ctx, config)
	stdout.Close()
	stderr.Close()
	if err == nil {
		t.status, err = session.Wait()
		err = errors.Join(err, session.Close())
	}
	return t, errors.Join(err, <-collected, <-collected)
}

func (x *examination) trialConfig(dir string, up *upstream, command []string, t *trial) (enforcer.Config, error) {
	config := x.Session
	config.Command, config.Dir, config.Trusted, config.Attended = command, dir, true, false
	config.Caller = maps.Clone(config.Caller)
	config.Caller[realVariable] = up.canary
	config.Logger = slog.New(slog.DiscardHandler)
	config.Notify = func(line string) { t.warnings = append(t.warnings, line) }
	where := fmt.Sprintf("{connect: %q, ca: %q}", up.listener.Addr(), filepath.Join(dir, "ca.pem"))
	var err error
	config.Policy, err = policy.Parse("doctor", []byte("version: 1\n"+
		"credentials:\n  doctor: {from: \"env:"+realVariable+"\", env: ["+agentKey+"], hosts: ["+swapHost+"], inject: [bearer]}\n"+
		"egress: [{host: "+openHost+"}]\n"+
		"hosts:\n  "+swapHost+": "+where+"\n  "+openHost+": "+where+"\n"+
		"filesystem: {write: []}\n"))
	return config, err
}

// collect returns a file whose bytes go to w until every copy of it is closed.
func collect(w io.Writer, done chan<- error) (*os.File, error) {
	r, theirs, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make pipe: %w", err)
	}
	go func() {
		defer r.Close()
		_, err := io.Copy(w, r)
		done <- err
	}()
	return theirs, nil
}
