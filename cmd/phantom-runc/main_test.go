// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/phantom-ns/phantom-ns/enforcer/node/cdi"
	"github.com/phantom-ns/phantom-ns/proxy/ca"
)

// box is a container that an engine is about to start, and what became of it.
type box struct {
	*testing.T
	shared, bundle, runc string
	executed             []string // the runtime's own command line; nil: it was not started
	stderr               bytes.Buffer
}

func newBox(t *testing.T) *box {
	t.Helper()
	dir := t.TempDir()
	b := &box{T: t, shared: filepath.Join(dir, "shared"), bundle: filepath.Join(dir, "bundle"), runc: filepath.Join(dir, "runc")}
	authority, err := ca.New(ca.Options{})
	b.check(err)
	layout := cdi.Layout{Specs: filepath.Join(dir, "cdi"), Shared: b.shared, Root: t.TempDir()}
	b.check(layout.Write([]cdi.Policy{{Name: "coder", Env: []string{"KEY=placeholder"}, CA: authority.PEM()}}))
	b.check(os.Mkdir(b.bundle, 0o755))
	b.check(os.WriteFile(b.runc, []byte("#!/bin/sh\n"), 0o755))
	b.write("config.json", `{"linux":{"namespaces":[{"type":"pid"},{"type":"mount"},{"type":"network"}]},"process":{"env":["KEY=real"]}}`)
	return b
}

func (b *box) check(err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

func (b *box) write(name, text string) {
	b.check(os.WriteFile(filepath.Join(b.bundle, name), []byte(text), 0o600))
}

func (b *box) read(name string) (v map[string]any) {
	b.Helper()
	data, err := os.ReadFile(filepath.Join(b.bundle, name))
	b.check(err)
	b.check(json.Unmarshal(data, &v))
	return v
}

func (b *box) run(line string) int {
	line = strings.NewReplacer("BUNDLE", b.bundle, "OURS", "--shared "+b.shared+" --runc "+b.runc).Replace(line)
	e := environment{self: "/usr/local/bin/phantom-runc", stdin: strings.NewReader(""), stderr: &b.stderr,
		exec: func(_ string, args, _ []string) error {
			b.executed = args
			return errors.New("executed")
		}}
	return e.main(strings.Fields(line))
}

func TestCreateEditsAndBecomesTheRuntime(t *testing.T) {
	b := newBox(t)
	b.run("--policy coder OURS --root /r create --bundle BUNDLE --pid-file /p box")
	if want := []string{b.runc, "--root", "/r", "create", "--bundle", b.bundle, "--pid-file", "/p", "box"}; !slices.Equal(b.executed, want) {
		t.Errorf("executed %q, want %q", b.executed, want)
	}
	config := b.read("config.json")
	env, hooks := config["process"].(map[string]any)["env"].([]any), config["hooks"].(map[string]any)
	if env[0] != "KEY=placeholder" {
		t.Errorf("environment %q", env)
	}
	for when, verb := range map[string]string{"createRuntime": "attach", "poststop": "detach"} {
		hook := hooks[when].([]any)[0].(map[string]any)
		args := hook["args"].([]any)
		if hook["path"] != "/usr/local/bin/phantom-runc" || args[1] != hookName || args[3] != "coder" || args[len(args)-1] != verb {
			t.Errorf("%s: %v", when, hook)
		}
	}
	mounts := config["mounts"].([]any)
	if last := mounts[len(mounts)-1].(map[string]any); last["destination"] != "/etc/resolv.conf" {
		t.Errorf("last mount %v", last)
	}
}

func TestExecGetsTheEnvironment(t *testing.T) {
	b := newBox(t)
	b.write("process.json", `{"args":["sh"],"env":["A=b"]}`)
	b.run("--policy coder OURS exec --process BUNDLE/process.json box")
	if env := b.read("process.json")["env"].([]any); env[0] != "A=b" || env[1] != "KEY=placeholder" || b.executed == nil {
		t.Errorf("environment %q, executed %q", env, b.executed)
	}
}

func TestOthersPassUntouched(t *testing.T) {
	for _, line := range []string{"--root /r state box", "kill box 9", "delete --force box", "--version", "exec box patch -p 1 --process file"} {
		b := newBox(t)
		b.run("OURS " + line)
		if want := append([]string{b.runc}, strings.Fields(line)...); !slices.Equal(b.executed, want) {
			t.Errorf("%s: executed %q", line, b.executed)
		}
	}
}

func TestNothingBeginsThatIsNotHeld(t *testing.T) {
	for line, why := range map[string]string{
		"OURS create --bundle BUNDLE box":                            "no policy",
		"--policy nobody OURS create --bundle BUNDLE box":            "the node has no such policy",
		"--policy ../coder OURS create --bundle BUNDLE box":          "not one that a policy can have",
		"--policy coder OURS create --bundle BUNDLE/none box":        "no such file",
		"--policy coder OURS create --bundle BUNDLE --bundle /x box": "twice",
		"--policy coder OURS create --bundle BUNDLE --config c box":  "--config",
		"--policy coder OURS restore --bundle BUNDLE box":            "checkpoints",
		"--policy coder OURS --unknown create --bundle BUNDLE box":   "--unknown",
		"--policy coder OURS exec --process BUNDLE/none box":         "no such file",
		"OURS exec --process BUNDLE/config.json box":                 "no policy",
		"phantom-hook --policy coder --socket BUNDLE/none attach":    "decode state",
		"phantom-hook --policy coder --socket BUNDLE/none something": "decode state",
		"phantom-hook --policy coder --what attach":                  "flag",
	} {
		b := newBox(t)
		if exit := b.run(line); exit == 0 || b.executed != nil || !strings.Contains(b.stderr.String(), why) {
			t.Errorf("%s: exit %d, executed %q, says %s", line, exit, b.executed, b.stderr.String())
		}
	}
}

func TestHookFails(t *testing.T) {
	for verb, test := range map[string]struct{ state, why string }{
		"attach": {`{"id":"box","pid":1}`, "/proc/1/ns/net"}, "detach": {`{"id":"box"}`, "the node's daemon does not answer"},
		"other": {`{"id":"box","pid":1}`, "no such hook"},
	} {
		var stderr bytes.Buffer
		e := environment{stdin: strings.NewReader(test.state), stderr: &stderr, exec: func(string, []string, []string) error { return io.EOF }}
		exit := e.main([]string{hookName, "--policy", "coder", "--socket", filepath.Join(t.TempDir(), "none"), verb})
		if exit == 0 || !strings.Contains(stderr.String(), test.why) {
			t.Errorf("%s: exit %d, says %q", verb, exit, stderr.String())
		}
	}
	var stderr bytes.Buffer
	e := environment{stdin: strings.NewReader(`{"id":"box"}`), stderr: &stderr}
	if exit := e.main([]string{hookName, "--policy", "coder", "attach"}); exit == 0 || !strings.Contains(stderr.String(), "no process") {
		t.Errorf("without a process: exit %d, %s", exit, stderr.String())
	}
}

func TestErrorsReachTheEngine(t *testing.T) {
	for format, want := range map[string]string{"json": `"msg":"phantom-runc: no policy`, "text": "phantom-runc: no policy"} {
		b := newBox(t)
		log := filepath.Join(b.bundle, "log")
		b.run("OURS --log " + log + " --log-format " + format + " create --bundle BUNDLE box")
		data, err := os.ReadFile(log)
		b.check(err)
		if !strings.Contains(string(data), want) || !bytes.HasSuffix(data, []byte("\n")) {
			t.Errorf("%s: %q", format, data)
		}
	}
}
