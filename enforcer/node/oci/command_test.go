// SPDX-License-Identifier: Apache-2.0

package oci

import (
	"slices"
	"strings"
	"testing"
)

func TestParseCommand(t *testing.T) {
	for _, test := range []struct {
		line, name, policy, bundle, passed string
	}{
		// As containerd's shim calls it for Docker, through the script that Docker makes of runtimeArgs.
		{"--policy a --root /r --log /l.json --log-format json --systemd-cgroup create --bundle /b --pid-file /p --console-socket /c id",
			"create", "a", "/b", "--root /r --log /l.json --log-format json --systemd-cgroup create --bundle /b --pid-file /p --console-socket /c id"},
		// As conmon calls it for podman, with --runtime-flag policy=a.
		{"--policy=a --log-format=json --log=/l create -b /b --pid-file /p id", "create", "a", "/b", "--log-format=json --log=/l create -b /b --pid-file /p id"},
		{"--cgroup-manager cgroupfs --policy a create --bundle=/b id", "create", "a", "/b", "--cgroup-manager cgroupfs create --bundle=/b id"},
		// runc looks for options behind the id, too.
		{"--policy a run id --detach -b /b", "run", "a", "/b", "run id --detach -b /b"},
		{"--policy a exec --tty --cwd /b id tar -b /b --config", "exec", "a", "", "exec --tty --cwd /b id tar -b /b --config"},
		{"--root /create --policy a kill id 9", "kill", "a", "", "--root /create kill id 9"},
		{"--root --policy create -b /b id", "create", "", "/b", "--root --policy create -b /b id"},
		{"--version", "", "", "", "--version"},
		{"", "", "", "", ""},
	} {
		c, err := ParseCommand(strings.Fields(test.line))
		if err != nil {
			t.Errorf("%s: %v", test.line, err)
			continue
		}
		bundle := ""
		if c.Name == "create" || c.Name == "run" || c.Name == "exec" {
			bundle, err = c.Option("bundle", "b")
		}
		if err != nil || c.Name != test.name || c.Own["policy"] != test.policy || bundle != test.bundle {
			t.Errorf("%s: command %q, policy %q, bundle %q, %v", test.line, c.Name, c.Own["policy"], bundle, err)
		}
		if got := c.Args(); !slices.Equal(got, strings.Fields(test.passed)) {
			t.Errorf("%s: passes %q", test.line, got)
		}
	}
}

func TestParseCommandRefusesWhatItDoesNotKnow(t *testing.T) {
	for _, line := range []string{"--new value create id", "--policy", "--root", "-x create id"} {
		if c, err := ParseCommand(strings.Fields(line)); err == nil {
			t.Errorf("%s: %+v", line, c)
		}
	}
	for _, line := range []string{
		"create --bundle /a --bundle /b id", "create --bundle /a id -b /b", "create --bundle", "create -b/a id",
		"create --bundle /a --config other.json id", "create --bundle /a id -f other.json", "exec -it id sh",
	} {
		c, err := ParseCommand(strings.Fields(line))
		if err != nil {
			t.Fatal(err)
		}
		if bundle, err := c.Option("bundle", "b"); err == nil {
			t.Errorf("%s: %q", line, bundle)
		}
	}
}

func TestState(t *testing.T) {
	s, err := ReadState(strings.NewReader(`{"ociVersion":"1.0.2","id":"c","status":"creating","pid":7,"bundle":"/b","annotations":{"a":"b"}}`))
	if err != nil || s != (State{"c", 7}) {
		t.Errorf("%+v, %v", s, err)
	}
	for _, bad := range []string{"", "{}", `{"id":1}`, `{"id":"c"`} {
		if s, err := ReadState(strings.NewReader(bad)); err == nil {
			t.Errorf("%q: %+v", bad, s)
		}
	}
}
