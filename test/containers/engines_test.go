// SPDX-License-Identifier: Apache-2.0

//go:build containers

package containers

import (
	"cmp"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
)

// place is where a container is started.
type place struct {
	policy string // "" is none: it is not held
	linked bool   // it has a link to a bridge; else it is sealed
}

// engine is a runtime that starts containers in a place.
type engine struct {
	// put is the beginning of a command line that runs a container in a place,
	// and hold what says its policy beside the network.
	put  func(place) []string
	hold func(*node, place) []string
	// show is the form of a flag that shows it a file or folder, read-only.
	show string
	// named tells that a container's name follows its image.
	named bool
	// told tells that its held containers are refused NET_ADMIN.
	told bool
	// What it links containers to.
	bridge  string
	subnet  netip.Prefix
	gateway netip.Addr
}

// Of the network of Docker's own, and of the one that open writes.
const (
	dockerBridge = "docker0"
	cniBridge    = "places0"
	cniSubnet    = "10.89.8.0/24"
)

// engines differ in who holds a container: podman and containerd call the
// plugin, Docker has phantom-runc. containerd's client alone starts containers
// without a filter of calls of its own.
var engines = map[string]engine{
	"podman": {
		put:    func(p place) []string { return []string{"podman", "run", "--rm", "--network", p.network()} },
		hold:   func(_ *node, p place) []string { return []string{"--device", "phantom-ns.dev/policy=" + p.policy} },
		show:   "type=bind,source=%s,target=%s,ro=true",
		bridge: cniBridge, subnet: netip.MustParsePrefix(cniSubnet), gateway: netip.MustParseAddr("10.89.8.1"),
	},
	"ctr": {
		put: func(place) []string { return []string{"ctr", "run", "--rm", "--cni"} },
		hold: func(n *node, p place) []string {
			return strings.Fields(n.run("phantom-ns", "cdi", "flags", "--runtime", "ctr", p.policy))
		},
		show: "type=bind,src=%s,dst=%s,options=rbind:ro", named: true,
		bridge: cniBridge, subnet: netip.MustParsePrefix(cniSubnet), gateway: netip.MustParseAddr("10.89.8.1"),
	},
	"docker": {
		put: func(p place) []string {
			if p.linked {
				return []string{"docker", "run", "--rm"}
			}
			return []string{"docker", "run", "--rm", "--network", "none"}
		},
		hold:   func(_ *node, p place) []string { return []string{"--runtime", "phantom-" + p.policy} },
		show:   "type=bind,source=%s,target=%s,readonly",
		told:   true,
		bridge: dockerBridge, subnet: netip.MustParsePrefix("172.17.0.0/16"), gateway: netip.MustParseAddr("172.17.0.1"),
	},
}

// start is the command line by which it runs a program in a container. What is
// shown by flags comes before what holds the container: containerd's client
// mounts in the order of its flags, and the image would come first, too.
func (e engine) start(n *node, p place, flags []string, program ...string) []string {
	words := append(e.put(p), flags...)
	if p.policy != "" {
		words = append(words, e.hold(n, p)...)
	}
	words = append(words, image)
	if e.named {
		words = append(words, p.network())
	}
	return append(words, program...)
}

// mount is the flag that shows from at to.
func (e engine) mount(from, to string) []string {
	return []string{"--mount", fmt.Sprintf(e.show, from, to)}
}

// network is the name of the place's own.
func (p place) network() string {
	return fmt.Sprintf("place-%s-%t", cmp.Or(p.policy, "free"), p.linked)
}

// open makes the place's network the first of CNI's, which is the one that
// containerd's client takes, until the test ends.
func (n *node) open(p place) {
	n.t.Helper()
	var plugins []string
	if p.linked {
		plugins = append(plugins, `{"type": "bridge", "bridge": "`+cniBridge+`", "isDefaultGateway": true,
  "ipam": {"type": "host-local", "ranges": [[{"subnet": "`+cniSubnet+`"}]]}}`)
	}
	if p.policy != "" {
		plugins = append(plugins, `{"type": "phantom-cni", "policy": "`+p.policy+`"}`)
	}
	const path = "/etc/cni/net.d/00-place.conflist"
	n.Write(path, fmt.Appendf(nil, `{"cniVersion": "1.0.0", "name": %q, "plugins": [%s]}`, p.network(), strings.Join(plugins, ", ")), 0o644)
	n.t.Cleanup(func() { n.do(func() error { return os.RemoveAll(path) }) })
}

// runtimes are Docker's from here on; most of them refuse.
func (n *node) runtimes() {
	n.t.Helper()
	n.Write("/etc/docker/daemon.json", []byte(`{"runtimes": {
  "phantom-coder": {"path": "/usr/local/bin/phantom-runc", "runtimeArgs": ["--policy", "coder"]},
  "phantom-other": {"path": "/usr/local/bin/phantom-runc", "runtimeArgs": ["--policy", "other"]},
  "unknown": {"path": "/usr/local/bin/phantom-runc", "runtimeArgs": ["--policy", "nobody"]},
  "nothing": {"path": "/usr/local/bin/phantom-runc"}
}}`), 0o644)
	n.docker.cmd.Process.Signal(syscall.SIGHUP)
	// The settings are taken over some time after the signal.
	n.eventually("sh", "-c", "docker info 2>/dev/null | grep -q '^ Runtimes:.* nothing'")
}

// each runs a part under every engine, all at the same time.
func (n *node) each(t *testing.T, run func(*node, *testing.T, engine)) {
	t.Helper()
	t.Run("under", func(t *testing.T) {
		for name, e := range engines {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				run(n.part(t), t, e)
			})
		}
	})
}
