// SPDX-License-Identifier: Apache-2.0

package secret

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// helper starts the real stage the way a supervisor does, and returns what
// came out of each of its pipes. credential may be nil: our own.
type helper struct {
	credential *syscall.Credential
	noFacts    bool
	noReader   bool   // nobody waits for the reply
	raw        []byte // instead of a request
}

type outcome struct {
	entry    Entry
	err      error // of ReadReply
	facts    Facts
	factsErr error
	output   string // stdout and stderr
	exit     error
}

func (h helper) run(t *testing.T, q Request) outcome {
	t.Helper()
	var out bytes.Buffer
	cmd := exec.Command("/proc/self/exe")
	cmd.Args, cmd.Env, cmd.Dir = []string{Stage}, []string{"GODEBUG=gctrace=1", "PATH=/nonexistent"}, "/"
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: h.credential, Pdeathsig: syscall.SIGKILL}
	requestR, requestW := pipe(t)
	replyR, replyW := pipe(t)
	factsR, factsW := pipe(t)
	cmd.ExtraFiles = []*os.File{requestR, replyW}
	if !h.noFacts {
		cmd.ExtraFiles = append(cmd.ExtraFiles, factsW)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for _, f := range []*os.File{requestR, replyW, factsW} {
		f.Close()
	}
	if h.noReader {
		replyR.Close()
	}
	if h.raw != nil {
		requestW.Write(h.raw)
	} else if err := q.Send(requestW); err != nil {
		t.Error(err)
	}
	requestW.Close()
	var o outcome
	if !h.noFacts {
		o.facts, o.factsErr = ReadFacts(factsR)
	}
	o.entry, o.err = ReadReply(replyR)
	t.Cleanup(o.entry.Value.Wipe)
	o.exit = cmd.Wait()
	o.output = out.String()
	return o
}

func pipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	return r, w
}

func request(t *testing.T, text string, env Env) Request {
	t.Helper()
	ref, err := ParseRef(text)
	if err != nil {
		t.Fatal(err)
	}
	return Request{Ref: ref, Env: env}
}

func TestHelperAnswers(t *testing.T) {
	s, c := newStore(t), newCanary(t)
	if err := s.Set("openai", Entry{Value: c.value(t), Hosts: []string{"api.openai.com"}, Provider: "openai"}); err != nil {
		t.Fatal(err)
	}
	file := t.TempDir() + "/key"
	if err := os.WriteFile(file, append(c, '\n'), 0o600); err != nil {
		t.Fatal(err)
	}
	for text, env := range map[string]Env{
		"store:openai": {Directory: s.directory},
		"file:" + file: {UID: os.Getuid()},
		"env:A":        {Value: c.value(t)},
	} {
		t.Run(text, func(t *testing.T) {
			o := helper{}.run(t, request(t, text, env))
			if err := errors.Join(o.err, o.factsErr, o.exit); err != nil {
				t.Fatal(err, o.output)
			}
			c.same(t, o.entry.Value)
			if strings.HasPrefix(text, "store:") && (o.entry.Hosts[0] != "api.openai.com" || o.facts.Hosts[0] != "api.openai.com" ||
				o.facts.Provider != "openai" || o.entry.Created.IsZero()) {
				t.Errorf("%+v %+v", o.entry, o.facts)
			}
			c.absent(t, o.output)
		})
	}
}

func TestHelperRefusesInOneLineOnBothPipes(t *testing.T) {
	c := newCanary(t)
	file := t.TempDir() + "/key"
	if err := os.WriteFile(file, append(c, "\nsecond line"...), 0o600); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]error{
		"store:none":           ErrAbsent,
		"file:" + file:         ErrNewline,
		"env:A":                ErrUnset,
		"systemd:phantom-none": ErrElsewhere,
		"file:/etc/nothing":    syscall.ENOENT,
		"secret-service:no/no": nil, // root, or no bus: see below
	} {
		t.Run(text, func(t *testing.T) {
			env := Env{UID: os.Getuid(), Directory: t.TempDir() + "/none", Bus: "unix:path=/nonexistent"}
			o := helper{}.run(t, request(t, text, env))
			var refusal, told *Refusal
			if !errors.As(o.err, &refusal) || !errors.As(o.factsErr, &told) || refusal.Text != told.Text || o.exit != nil {
				t.Fatalf("%v, %v, %v", o.err, o.factsErr, o.exit)
			}
			if !strings.Contains(refusal.Text, text) || want != nil && !strings.Contains(refusal.Text, want.Error()) {
				t.Errorf("%q, want %v", refusal.Text, want)
			}
			c.absent(t, refusal.Text+o.output)
		})
	}
}

func TestHelperWithoutFactsPipe(t *testing.T) {
	c := newCanary(t)
	o := helper{noFacts: true}.run(t, request(t, "env:A", Env{Value: c.value(t)}))
	if err := errors.Join(o.err, o.exit); err != nil {
		t.Fatal(err, o.output)
	}
	c.same(t, o.entry.Value)
}

// Who looked at the facts and then wants no value is no fault of the helper's;
// who looked at nothing is gone.
func TestHelperWhoseReplyIsNotWanted(t *testing.T) {
	c := newCanary(t)
	o := helper{noReader: true}.run(t, request(t, "env:A", Env{Value: c.value(t)}))
	if o.factsErr != nil || o.exit != nil || strings.Contains(o.output, Stage) {
		t.Errorf("%+v", o)
	}
	o = helper{noReader: true, noFacts: true}.run(t, request(t, "env:A", Env{Value: c.value(t)}))
	if o.exit == nil || !strings.Contains(o.output, "write reply") {
		t.Errorf("%+v", o)
	}
	c.absent(t, o.output)
}

func TestHelperSurvivesABadRequest(t *testing.T) {
	for _, raw := range []string{"", "x", "{}\n", `{"ref":"store:../a","env":{},"length":0}` + "\n", strings.Repeat("a", maxHeader-1)} {
		o := helper{raw: []byte(raw)}.run(t, Request{})
		var refusal *Refusal
		if !errors.As(o.err, &refusal) || o.exit != nil {
			t.Errorf("%.20q: %v, %v, %s", raw, o.err, o.exit, o.output)
		}
	}
}

func TestHelperWithoutDescriptorsFails(t *testing.T) {
	cmd := exec.Command("/proc/self/exe")
	cmd.Args, cmd.Env = []string{Stage}, []string{}
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 125 || bytes.Count(out, []byte("\n")) != 1 {
		t.Errorf("%v: %s", err, out)
	}
}
