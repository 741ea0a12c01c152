// SPDX-License-Identifier: Apache-2.0

package test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/phantom-ns/phantom-ns/"

// fences names who alone may import a package, and why.
var fences = map[string]struct {
	rooms []string
	why   string
}{
	"github.com/cilium/ebpf":                     {[]string{"bpf", "enforcer"}, "only the kernel half speaks to the kernel half"},
	"github.com/vishvananda/netlink":             {[]string{"netns"}, "links and routes exist only in a namespace's room"},
	"github.com/vishvananda/netns":               {[]string{"netns"}, "a thread in another namespace is dangerous; one room knows how"},
	"github.com/containernetworking/cni":         {[]string{"cmd/phantom-cni"}, "the plugin's protocol ends in the plugin"},
	"github.com/containernetworking/plugins/pkg": {[]string{"netns"}, "a thread in another namespace is dangerous; one room knows how"},
	"github.com/google/nftables":                 {[]string{"netns"}, "what leaves a namespace is decided in its room"},
	"github.com/mdlayher/netlink":                {[]string{"netns"}, "the connection below google/nftables"},
	"github.com/godbus/dbus":                     {[]string{"proxy/secret"}, "the Secret Service is a source like others"},
	"filippo.io/age":                             {[]string{"proxy/secret"}, "what is at rest is one room's business"},
	"github.com/miekg/dns":                       {[]string{"proxy/dns"}, "one parser of the wire format"},
	"github.com/goccy/go-yaml":                   {[]string{"proxy/policy"}, "one parser of policy"},
	"github.com/klauspost/compress":              {[]string{"proxy/scrub"}, "what is forwarded must be readable"},
	"github.com/andybalholm/brotli":              {[]string{"proxy/scrub"}, "what is forwarded must be readable"},
	"github.com/spf13/cobra":                     {[]string{"cmd/phantom-ns"}, "the command line ends at the edge"},
	"tags.cncf.io/container-device-interface":    {[]string{"enforcer/node/cdi"}, "one writer of devices"},
}

// layers lists the rooms from the top down; a room imports only rooms below
// it, or its own inner rooms.
var layers = [][]string{
	{"cmd"},
	{"enforcer/node", "enforcer/node/webhook"},
	{"enforcer/doctor", "enforcer/node/cdi", "enforcer/node/oci", "enforcer/node/members", "enforcer/node/install"},
	{"enforcer/node/api", "enforcer/node/grants", "enforcer/node/systemd"},
	{"enforcer"},
	{"enforcer/console"},
	{"bpf", "netns", "proxy"},
	{"netns/sandbox"},
	{"netns/sandbox/trust", "netns/sandbox/fence", "proxy/dns", "proxy/swap", "proxy/scrub", "proxy/mask"},
	{"proxy/mint"},
	{"proxy/policy", "proxy/secret", "proxy/ca", "proxy/audit", "netns/sandbox/mountinfo"},
	{"proxy/sign", "proxy/accept"},
}

// exceptions are imports that the rule above cannot express, with the reason.
var exceptions = map[[2]string]string{
	{"netns/sandbox", "netns"}: "the child is born inside the handle's namespace",
	{"proxy", "proxy/dns"}:     "the proxy asks the table which name an address is",
}

type goPackage struct {
	ImportPath string
	Imports    []string
	Doc        string
	GoFiles    []string
}

func listPackages(t *testing.T) []goPackage {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports,Doc,GoFiles", "./...")
	cmd.Dir = ".."
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("list packages: %v\n%s", err, stderr.Bytes())
	}
	var packages []goPackage
	decoder := json.NewDecoder(bytes.NewReader(out))
	for {
		var p goPackage
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			return packages
		} else if err != nil {
			t.Fatalf("list packages: %v", err)
		}
		packages = append(packages, p)
	}
}

func within(room, of string) bool { return room == of || strings.HasPrefix(room, of+"/") }

// layerOf returns the layer of the innermost listed room that holds the room.
func layerOf(room string) (layer int, ok bool) {
	best := -1
	for i, rooms := range layers {
		for _, r := range rooms {
			if within(room, r) && len(r) > best {
				best, layer = len(r), i
			}
		}
	}
	return layer, best >= 0
}

func TestImportsGoDownward(t *testing.T) {
	for _, p := range listPackages(t) {
		room := strings.TrimPrefix(p.ImportPath, module)
		from, ok := layerOf(room)
		if !ok {
			continue // test/ may import everything
		}
		for _, imported := range p.Imports {
			below, ours := strings.CutPrefix(imported, module)
			if !ours {
				continue
			}
			if strings.HasPrefix(below, "test") {
				t.Errorf("%s imports %s: the product does not import its tests", room, below)
			}
			if to, _ := layerOf(below); to <= from && exceptions[[2]string{room, below}] == "" {
				t.Errorf("%s imports %s, which is not below it", room, below)
			}
		}
	}
}

func TestFencesHold(t *testing.T) {
	for _, p := range listPackages(t) {
		room := strings.TrimPrefix(p.ImportPath, module)
		if within(room, "test") {
			continue
		}
		for _, imported := range p.Imports {
			for fenced, fence := range fences {
				inside := slices.ContainsFunc(fence.rooms, func(r string) bool { return within(room, r) })
				if within(imported, fenced) && !inside {
					t.Errorf("%s imports %s: %s", room, imported, fence.why)
				}
			}
		}
	}
}

func TestEveryPackageSaysWhatItGuarantees(t *testing.T) {
	for _, p := range listPackages(t) {
		if p.Doc == "" && len(p.GoFiles) > 0 {
			t.Errorf("%s has no package comment", path.Base(p.ImportPath))
		}
	}
}
