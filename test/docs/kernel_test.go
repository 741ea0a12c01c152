// SPDX-License-Identifier: Apache-2.0

package docs

import (
	"fmt"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/phantom-ns/phantom-ns/bpf"
)

// instead says what happens without each feature that package bpf probes. A
// feature without a line here fails the test.
var instead = map[string]string{
	"network namespace cookie in sock_ops":             "legacy object",
	"errno from socket address hooks (bpf_set_retval)": "legacy object",
	"errno from sock_create (bpf_set_retval)":          "legacy object",
	"cgroup socket option hooks (CONFIG_CGROUP_BPF)":   "`run` refuses to start",
	"ring buffer map":                        "`run` refuses to start",
	"socket storage in socket address hooks": "`run` refuses to start",
	"socket storage in sock_create":          "`run` refuses to start",
	"sk_lookup programs":                     "`run` refuses to start",

	"programs at a device that outlive their process (tcx links)": "clsact filters",

	"LSM programs at a cgroup (CONFIG_BPF_LSM, `bpf` in `lsm=`)": "mounts cover the host's unix sockets that are there when the session begins, and the filter of system calls refuses families",
}

// featureTable is the table of bpf/feature.go, which is not exported.
func featureTable(t *testing.T) string {
	code := parse(t, "bpf", "feature.go")
	out := "| needed by | feature | since | without it |\n|---|---|---|---|\n"
	for _, list := range []struct{ variable, user string }{
		{"floorFeatures", "both objects"},
		{"fullFeatures", "full object"},
		{"steerFeatures", "second layer"},
		{"fenceFeatures", "guards of pods"},
		{"peerFeatures", "guard of unix sockets"},
	} {
		for _, row := range rows(t, code.value(t, list.variable)) {
			if len(row) < 2 || instead[row[0]] == "" {
				t.Fatalf("%s: say what happens without %q", list.variable, row)
			}
			out += fmt.Sprintf("| %s | %s | %s | %s |\n", list.user, row[0], row[1], instead[row[0]])
		}
	}
	return out
}

// TestEveryFeatureSentenceIsUsed finds lines of instead that no feature has.
func TestEveryFeatureSentenceIsUsed(t *testing.T) {
	table := featureTable(t)
	for name := range instead {
		if !strings.Contains(table, "| "+name+" |") {
			t.Errorf("package bpf probes no %q", name)
		}
	}
}

// errnoTable is the table of bpf/reason.h, as package bpf reads it.
func errnoTable(*testing.T) string {
	out := "| reason | from 6.1 | from 5.10 |\n|---|---|---|\n"
	for _, reason := range bpf.Reasons() {
		if reason.Errno() == 0 {
			continue
		}
		full, legacy := unix.ErrnoName(reason.Errno()), unix.ErrnoName(syscall.EPERM)
		switch reason {
		case bpf.ReasonInflight, bpf.ReasonOrphan: // the proxy closes the connection: no verdict of the kernel's
			legacy = full
		case bpf.ReasonInterface: // egress alone
			full = legacy
		case bpf.ReasonUnsolicited, bpf.ReasonSpoofed, bpf.ReasonFrame, bpf.ReasonFlows, bpf.ReasonMembership:
			full, legacy = "the packet is dropped", "no pods"
		case bpf.ReasonUnix, bpf.ReasonFamily:
			legacy = "no LSM programs"
		case bpf.ReasonUDP:
			full += "; on a connected socket EPERM"
		}
		out += fmt.Sprintf("| `%s` | %s | %s |\n", reason, full, legacy)
	}
	return out
}

// kernelTable is the rig's list of kernels, and what each lacks of package bpf's
// tables.
func kernelTable(t *testing.T) string {
	out := "| name | Debian | Linux | object | lacks |\n|---|---|---|---|---|\n"
	for line := range strings.Lines(read(t, "test/rig/vagrant/kernels")) {
		fields := strings.Fields(line)
		if len(fields) < 3 || fields[0] == "#" {
			continue
		}
		object, lacks := "full", lacking(t, fields[2])
		if len(lacks) > 0 {
			object = "legacy"
		}
		out += fmt.Sprintf("| %s | %s | %s | %s | %s |\n", fields[0], fields[1], fields[2], object, strings.Join(lacks, "; "))
	}
	return out
}

// lacking lists the features that are younger than a version. All are the full
// object's: the rig has no kernel that nothing serves.
func lacking(t *testing.T, version string) []string {
	t.Helper()
	code := parse(t, "bpf", "feature.go")
	var names []string
	for _, variable := range []string{"floorFeatures", "steerFeatures", "fullFeatures"} {
		for _, row := range rows(t, code.value(t, variable)) {
			if !before(t, version, row[1]) {
				continue
			}
			if variable != "fullFeatures" {
				t.Fatalf("the rig's kernel %s is older than %q", version, row[0])
			}
			names = append(names, row[0])
		}
	}
	return names
}

// before says whether one version, such as 6.1 or 7, is older than another.
func before(t *testing.T, version, than string) bool {
	t.Helper()
	a, b := release(t, version), release(t, than)
	return a[0] < b[0] || a[0] == b[0] && a[1] < b[1]
}

func release(t *testing.T, version string) (numbers [2]int) {
	t.Helper()
	if _, err := fmt.Sscanf(version+".0", "%d.%d", &numbers[0], &numbers[1]); err != nil {
		t.Fatalf("version %q: %v", version, err)
	}
	return numbers
}

// The floor stands in four documents and one place of the code.
func TestFloorIsTheSameEverywhere(t *testing.T) {
	code := parse(t, "enforcer", "kernel.go")
	floor := fmt.Sprintf("%s.%s", code.literal(t, "floorMajor"), code.literal(t, "floorMinor"))
	if !strings.Contains(read(t, "docs/KERNEL.md"), "Linux "+floor+" is the floor") {
		t.Errorf("KERNEL.md does not name the floor %s", floor)
	}
	if !strings.Contains(read(t, "docs/man/phantom-ns.1"), "Linux "+floor) {
		t.Errorf("phantom-ns.1 does not name the floor %s", floor)
	}
	if !strings.Contains(read(t, "README.md"), "Linux "+floor) {
		t.Errorf("README.md does not name the floor %s", floor)
	}
	if !strings.Contains(kernelTable(t), "| "+floor+" |") {
		t.Errorf("the rig has no kernel %s", floor)
	}
}
