// SPDX-License-Identifier: Apache-2.0

package oci

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var edits = Edits{
	Env:    []string{"KEY=placeholder", "SSL_CERT_FILE=/run/phantom-ns/bundle.pem"},
	Mounts: []Mount{{"/node/shared/a", "/run/phantom-ns"}},
	Attach: Hook{"/bin/phantom-runc", []string{"phantom-runc", "attach"}, 40},
	Detach: Hook{"/bin/phantom-runc", []string{"phantom-runc", "detach"}, 40},
}

const namespaces = `"namespaces":[{"type":"pid"},{"type":"mount"},{"type":"network"}]`

func TestConfig(t *testing.T) {
	const (
		attach = `{"args":["phantom-runc","attach"],"path":"/bin/phantom-runc","timeout":40}`
		detach = `{"args":["phantom-runc","detach"],"path":"/bin/phantom-runc","timeout":40}`
		mount  = `{"destination":"/run/phantom-ns","options":["bind","ro","nosuid","nodev"],"source":"/node/shared/a","type":"bind"}`
	)
	for name, test := range map[string]struct{ config, want string }{
		"bare": {
			`{"linux":{` + namespaces + `}}`,
			`{"linux":{` + namespaces + `},"mounts":[` + mount + `],"hooks":{"createRuntime":[` + attach + `],"poststop":[` + detach + `]}}`,
		},
		"environment, once each": {
			`{"linux":{` + namespaces + `},"process":{"env":["PATH=/bin","KEY=real","KEYS=1"],"args":["sh"]}}`,
			`{"linux":{` + namespaces + `},"mounts":[` + mount + `],"hooks":{"createRuntime":[` + attach + `],"poststop":[` + detach + `]},
			  "process":{"env":["PATH=/bin","KEYS=1","KEY=placeholder","SSL_CERT_FILE=/run/phantom-ns/bundle.pem"],"args":["sh"]}}`,
		},
		"mounts last, and instead of others": {
			`{"linux":{` + namespaces + `},"mounts":[{"destination":"/run/phantom-ns","source":"/theirs"},{"destination":"/run","type":"tmpfs"}]}`,
			`{"linux":{` + namespaces + `},"mounts":[{"destination":"/run","type":"tmpfs"},` + mount + `],"hooks":{"createRuntime":[` + attach + `],"poststop":[` + detach + `]}}`,
		},
		"hooks of others stay, and unknown keys": {
			`{"linux":{"rootfsPropagation":"private",` + namespaces + `},"new":{"big":12345678901234567890},"hooks":{"prestart":[{"path":"/d"}],"poststop":[{"path":"/p","env":["A=b"]}]}}`,
			`{"linux":{"rootfsPropagation":"private",` + namespaces + `},"new":{"big":12345678901234567890},"mounts":[` + mount + `],
			  "hooks":{"prestart":[{"path":"/d"}],"createRuntime":[` + attach + `],"poststop":[{"path":"/p","env":["A=b"]},` + detach + `]}}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Config([]byte(test.config), edits)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(normal(t, []byte(test.want)), normal(t, got)); diff != "" {
				t.Error(diff)
			}
			again, err := Config(got, edits)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(normal(t, got), normal(t, again)); diff != "" {
				t.Errorf("edited twice: %s", diff)
			}
		})
	}
}

func normal(t *testing.T, data []byte) map[string]any {
	t.Helper()
	var v map[string]any
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatalf("%v in %s", err, data)
	}
	return v
}

func TestRefusedContainers(t *testing.T) {
	capable := func(set, c string) string {
		return `{"linux":{` + namespaces + `},"process":{"capabilities":{"` + set + `":["CAP_CHOWN","` + c + `"]}}}`
	}
	for name, test := range map[string]struct {
		config string
		want   error
	}{
		"nothing said":           {`{}`, ErrHostNetwork},
		"host's network":         {`{"linux":{"namespaces":[{"type":"pid"},{"type":"mount"}]}}`, ErrHostNetwork},
		"host's processes":       {`{"linux":{"namespaces":[{"type":"network"},{"type":"mount"}]}}`, ErrProcesses},
		"another's processes":    {`{"linux":{"namespaces":[{"type":"network"},{"type":"mount"},{"type":"pid","path":"/proc/9/ns/pid"}]}}`, ErrProcesses},
		"host's mounts":          {`{"linux":{"namespaces":[{"type":"network"},{"type":"pid"}]}}`, ErrMounts},
		"another's mounts":       {`{"linux":{"namespaces":[{"type":"network"},{"type":"pid"},{"type":"mount","path":"/proc/1/ns/mnt"}]}}`, ErrMounts},
		"host's devices":         {`{"linux":{` + namespaces + `,"netDevices":{"eth1":{"name":"net1"}}}}`, ErrDevices},
		"no devices":             {`{"linux":{` + namespaces + `,"netDevices":{}}}`, nil},
		"privileged":             {capable("bounding", "CAP_SYS_ADMIN"), ErrCapability},
		"programs":               {capable("effective", "CAP_BPF"), ErrCapability},
		"modules, inherited":     {capable("inheritable", "CAP_SYS_MODULE"), ErrCapability},
		"files by handle":        {capable("permitted", "CAP_DAC_READ_SEARCH"), ErrCapability},
		"a joined user":          {`{"linux":{"namespaces":[{"type":"pid"},{"type":"mount"},{"type":"network"},{"type":"user","path":"/proc/1/ns/user"}]},"process":{"capabilities":{"bounding":["CAP_SYS_ADMIN"]}}}`, ErrCapability},
		"links on the host side": {capable("bounding", "CAP_NET_ADMIN"), ErrCapability},
		"others' stacks":         {capable("ambient", "CAP_PERFMON"), ErrCapability},
		"raw sockets":            {capable("bounding", "CAP_NET_RAW"), nil},
		"a namespace by path":    {`{"linux":{"namespaces":[{"type":"pid"},{"type":"mount"},{"type":"network","path":"/run/netns/x"}]}}`, nil},
		"users of its own":       {`{"linux":{"namespaces":[{"type":"pid"},{"type":"mount"},{"type":"network"},{"type":"user"}]},"process":{"capabilities":{"bounding":["CAP_SYS_ADMIN"]}}}`, nil},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := Config([]byte(test.config), edits); !errors.Is(err, test.want) {
				t.Errorf("%v, want %v", err, test.want)
			}
		})
	}
}

func TestProcessGetsTheEnvironment(t *testing.T) {
	got, err := Process([]byte(`{"args":["sh"],"env":["KEY=mine","A=b"],"cwd":"/"}`), edits.Env)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"args":["sh"],"cwd":"/","env":["A=b","KEY=placeholder","SSL_CERT_FILE=/run/phantom-ns/bundle.pem"]}`
	if diff := cmp.Diff(normal(t, []byte(want)), normal(t, got)); diff != "" {
		t.Error(diff)
	}
	if _, err := Process([]byte(`{"capabilities":{"effective":["CAP_SYS_ADMIN"]}}`), nil); !errors.Is(err, ErrCapability) {
		t.Errorf("exec --privileged: %v", err)
	}
}

// Whatever is accepted is attached, has its environment, and is refused or
// accepted again in the same way.
func FuzzConfig(f *testing.F) {
	f.Add([]byte(`{"linux":{` + namespaces + `},"process":{"env":["KEY=real"]},"mounts":null,"hooks":null}`))
	f.Add([]byte(`{"linux":null}`))
	f.Add([]byte(`{"linux":{"namespaces":[{}]},"process":[],"hooks":{"createRuntime":[7]}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		edited, err := Config(data, edits)
		if err != nil {
			return
		}
		var c struct {
			Hooks   struct{ CreateRuntime []json.RawMessage }
			Process *struct{ Env []string }
		}
		if err := json.Unmarshal(edited, &c); err != nil {
			t.Fatal(err)
		}
		if n := len(c.Hooks.CreateRuntime); n == 0 || !edits.Attach.same(c.Hooks.CreateRuntime[n-1]) {
			t.Errorf("not attached: %s", edited)
		}
		if c.Process != nil && cmp.Diff(c.Process.Env[len(c.Process.Env)-2:], edits.Env) != "" {
			t.Errorf("environment %q", c.Process.Env)
		}
	})
}
