// SPDX-License-Identifier: Apache-2.0

package node

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/phantom-ns/phantom-ns/enforcer/node"
	"github.com/phantom-ns/phantom-ns/enforcer/node/api"
	"github.com/phantom-ns/phantom-ns/enforcer/node/members"
)

// units is where the files of the service manager are.
const units = "../../packaging/systemd"

// directives are those that the units use, by section: systemd ignores one that
// it does not know, and with it what it was there for.
var directives = map[string]string{
	"Unit":   "Description Documentation After Before Requires",
	"Socket": "ListenStream ListenSequentialPacket FileDescriptorName SocketGroup SocketMode DirectoryMode RemoveOnStop",
	"Service": "Type ExecStart ExecReload Restart RestartSec TimeoutStopSec FileDescriptorStoreMax LimitNOFILE LimitMEMLOCK TasksMax KillMode OOMScoreAdjust " +
		"RuntimeDirectory RuntimeDirectoryMode RuntimeDirectoryPreserve StateDirectory StateDirectoryMode LogsDirectory LogsDirectoryMode ConfigurationDirectory " +
		"CapabilityBoundingSet LockPersonality RestrictRealtime SystemCallArchitectures RestrictAddressFamilies UMask",
	"Install": "WantedBy",
}

// readUnit returns a unit's settings as SECTION.KEY, each with its values.
func readUnit(t *testing.T, name string) map[string][]string {
	t.Helper()
	file, err := os.Open(filepath.Join(units, name))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	settings, section := map[string][]string{}, ""
	lines := bufio.NewScanner(file)
	for number := 1; lines.Scan(); number++ {
		line := lines.Text()
		if line == "" || line[0] == '#' {
			continue
		}
		if line[0] == '[' {
			section = strings.Trim(line, "[]")
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if !ok || value == "" || !slices.Contains(strings.Fields(directives[section]), key) {
			t.Errorf("%s:%d: %q in section %q", name, number, line, section)
		}
		settings[section+"."+key] = append(settings[section+"."+key], value)
	}
	return settings
}

// wants fails the test where a setting is not what the program relies on.
func wants(t *testing.T, unit map[string][]string, want map[string]string) {
	t.Helper()
	for key, value := range want {
		if got := strings.Join(unit[key], "|"); got != value {
			t.Errorf("%s is %q, want %q", key, got, value)
		}
	}
}

func TestUnitsSayWhatTheProgramReliesOn(t *testing.T) {
	wants(t, readUnit(t, "phantom-ns.socket"), map[string]string{
		"Socket.ListenStream": api.Socket, "Socket.ListenSequentialPacket": members.Socket,
		"Socket.SocketGroup": node.Group, "Socket.SocketMode": "0660", "Socket.DirectoryMode": "0750",
	})
	wants(t, readUnit(t, "phantom-ns.service"), map[string]string{
		"Service.Type": "notify", "Service.ExecStart": "/usr/local/bin/phantom-ns serve", "Service.ExecReload": "/bin/kill -HUP $MAINPID",
		"Service.KillMode": "process", "Service.Restart": "always", "Unit.Requires": "phantom-ns.socket",
		"Service.RuntimeDirectory": filepath.Base(node.RunDir), "Service.RuntimeDirectoryPreserve": "yes",
		"Service.FileDescriptorStoreMax": fmt.Sprint(node.MaxSessions * 7), // six listeners and a forwarded port
	})
}

// A member of the group is no proxy, and the proxy no member.
func TestTheProxysUserIsNoMember(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(units, "phantom-ns.sysusers"))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) >= 3 && line[0] != '#' {
			got = append(got, strings.Join(f[:3], " "))
		}
	}
	want := []string{"g phantom-ns -", "g phantom-ns-proxy -", "u phantom-ns -:phantom-ns-proxy"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestDirectoriesAreNobodyElses(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(units, "phantom-ns.tmpfiles"))
	if err != nil {
		t.Fatal(err)
	}
	modes := map[string]string{}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) >= 5 && f[0] == "d" {
			modes[f[1]] = f[2] + " " + f[3] + " " + f[4]
		}
	}
	for path, mode := range map[string]string{
		node.RunDir: "0750 root phantom-ns", node.PoliciesDir: "0755 root root", filepath.Dir(node.StateDir): "0700 root root",
	} {
		if modes[path] != mode {
			t.Errorf("%s: %q, want %q", path, modes[path], mode)
		}
	}
}
