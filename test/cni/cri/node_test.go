// SPDX-License-Identifier: Apache-2.0

//go:build containers

package cri

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/phantom-ns/phantom-ns/test/rig"
)

// The chart with its values set, as test/kubernetes renders it, and the same
// when it is taken off.
const (
	installed = "../../kubernetes/testdata/full.yaml"
	taken     = "../../kubernetes/testdata/uninstall.yaml"
	nodeImage = "images.example/phantom-ns:v1" // what both name
)

// What the manifests put onto a node.
const (
	conflist = "/etc/cni/net.d/00-00-phantom-ns.conflist"
	plugin   = "/opt/cni/bin/phantom-cni"
	pins     = "/sys/fs/bpf/phantom-ns"
	shared   = "/var/lib/phantom-ns/shared/coder"
)

// cluster is what one node sees of one.
type cluster struct {
	*bed
	daemon    *kubelet
	agent     *pod   // under a policy, from the installation to the end
	neighbour string // a command that leaves a pod, if anything does
}

// A node of Kubernetes from the image and the manifests as they are, started as
// a kubelet would start them: installed, used, upgraded, taken off.
func TestNode(t *testing.T) {
	b := newWorld(t)
	b.machine()
	b.Write("/etc/cni/net.d/10-pods.conflist", []byte(b.network("")), 0o644)
	b.containerd("/opt/cni/bin", "/etc/cni/net.d")
	b.load(b.buildNode())
	c := &cluster{bed: b, daemon: b.kubelet(installed, b.secrets()), neighbour: b.neighbour()}
	policies := c.daemon.files["phantom-ns-policies"]
	policies["coder.yaml"] = append(policies["coder.yaml"],
		strings.ReplaceAll(b.upstream.Hosts(), b.upstream.CA, "/etc/phantom-ns/credentials/openai/..data/ca")...)
	c.install(t)
	c.upgrade(t)
	c.takeOff(t)
}

// install: a pod has the policy that it names; one that names none reaches
// nobody, and one of a namespace that is exempt has the network's.
func (c *cluster) install(t *testing.T) {
	c.daemon.must(t)
	c.isInstalled(t)
	c.agent = c.podIn("team-a", "agent", map[string]string{"phantom-ns.dev/policy": "coder"})
	c.agent.must(t)
	c.agent.swaps(t, true)
	c.agent.listen(t)
	if err := c.podIn("team-c", "stranger", map[string]string{"phantom-ns.dev/policy": "coder"}).run(t, "runc"); err == nil || !strings.Contains(err.Error(), "not granted") {
		t.Errorf("a pod of a namespace without a grant: %v", err)
	}
	c.leaves(t, "team-b", false)
	c.leaves(t, "kube-system", true)
}

// upgrade: while the daemon is away pods neither start, unless they are exempt,
// nor reach anything, but are reached; those that run go on when another comes.
func (c *cluster) upgrade(t *testing.T) {
	c.daemon.stop(t)
	c.isInstalled(t)
	c.agent.swaps(t, false)
	c.agent.probed(t)
	c.leaves(t, "kube-system", true)
	late := c.podIn("team-a", "late", map[string]string{"phantom-ns.dev/policy": "coder"})
	if err := late.run(t, "runc"); err == nil || !strings.Contains(err.Error(), "node.sock") {
		t.Errorf("a pod without the daemon: %v", err)
	}
	c.daemon.must(t)
	c.agent.swaps(t, true)
	c.daemon.stop(t)
}

// takeOff: not from under a pod; then nothing is left, and pods start as before.
func (c *cluster) takeOff(t *testing.T) {
	uninstall := c.kubelet(taken, c.secrets())
	if err := uninstall.begin(t); err == nil || !strings.Contains(err.Error(), "containers are attached") {
		t.Errorf("taken off from under a pod: %v", err)
	}
	uninstall.stop(t)
	c.isInstalled(t)
	c.agent.end(t)
	uninstall.must(t)
	c.isGone(t)
	c.leaves(t, "team-a", true)
	uninstall.stop(t)
}

// leaves fails unless a pod that names no policy reaches the node's network, or
// nobody.
func (c *cluster) leaves(t *testing.T, namespace string, want bool) {
	t.Helper()
	p := c.podIn(namespace, "silent-"+namespace, nil)
	p.must(t)
	exit := map[bool]int32{true: 0, false: 7}[want]
	if out, got := p.sh(t, c.neighbour); got != exit {
		t.Errorf("a pod of %s that names no policy: exit %d, want %d: %s", namespace, got, exit, out)
	}
	p.end(t)
}

// machine gives the world what a node has: a folder of plugins that is its own,
// and mounts of which containers see changes, a bpffs among them.
func (b *bed) machine() {
	b.do(func() error {
		return errors.Join(
			os.MkdirAll("/opt/cni/bin", 0o755), os.MkdirAll(b.path("bin"), 0o755),
			unix.Mount(b.path("bin"), "/opt/cni/bin", "", unix.MS_BIND, ""),
			unix.Mount("bpf", "/sys/fs/bpf", "bpf", 0, "mode=0700"),
			unix.Mount("", "/sys/fs/bpf", "", unix.MS_SHARED, ""),
			unix.Mount("", "/run", "", unix.MS_SHARED, ""),
		)
	})
}

// secrets are what the manifests want there to be.
func (b *bed) secrets() map[string]map[string][]byte {
	b.t.Helper()
	ca, err := os.ReadFile(b.upstream.CA)
	if err != nil {
		b.t.Fatal(err)
	}
	return map[string]map[string][]byte{
		"openai-key":      {"key": []byte(b.key), "ca": ca},
		"phantom-ns-seed": {"seed": []byte(strings.Repeat("seed", 8))},
	}
}

// neighbour is a command that asks a server of the world's, which pods reach
// over their bridge.
func (b *bed) neighbour() string {
	b.t.Helper()
	l, err := b.Listen("tcp", rig.Addr4.Addr().String()+":0")
	if err != nil {
		b.t.Fatal(err)
	}
	server := &http.Server{Handler: http.NotFoundHandler()}
	go server.Serve(l)
	b.t.Cleanup(func() { server.Shutdown(context.Background()) })
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return fmt.Sprintf("curl -sS --max-time 10 -o /dev/null http://%s", net.JoinHostPort(rig.Addr4.Addr().String(), port))
}

func (b *bed) podIn(namespace, name string, annotations map[string]string) *pod {
	p := b.podOf(name, annotations)
	p.config.Metadata.Namespace = namespace
	return p
}

// must starts the pod.
func (p *pod) must(t *testing.T) {
	t.Helper()
	if err := p.run(t, "runc"); err != nil {
		t.Fatalf("run sandbox of %s: %v", p.config.Hostname, err)
	}
	p.startWith(t, shared)
}

// swaps fails unless a request is answered, or refused.
func (p *pod) swaps(t *testing.T, want bool) {
	t.Helper()
	out, exit := p.sh(t, swap)
	if got := exit == 0 && strings.Contains(out, p.b.upstream.Answer); got != want || !want && exit != 7 && exit != 6 {
		t.Errorf("swap: exit %d %s, want an answer: %t", exit, out, want)
	}
}

// isInstalled fails unless the list is the network's with the plugin behind it,
// and the plugin is there.
func (b *bed) isInstalled(t *testing.T) {
	t.Helper()
	var list struct {
		Name    string
		Plugins []struct{ Type, Bridge string }
	}
	if err := json.Unmarshal(b.Read(conflist), &list); err != nil {
		t.Fatalf("%s: %v", conflist, err)
	}
	if got := fmt.Sprintf("%+v", list); got != "{Name:pods Plugins:[{Type:bridge Bridge:cri0} {Type:phantom-cni Bridge:}]}" {
		t.Errorf("%s: %s", conflist, got)
	}
	if modes := b.modes(conflist, plugin); modes[conflist] != 0o600 || modes[plugin] != 0o755 {
		t.Errorf("modes: %v", modes)
	}
}

// isGone fails when something of ours is left on the node, or the network's own
// file is not.
func (b *bed) isGone(t *testing.T) {
	t.Helper()
	if left := b.modes(conflist, plugin, pins, "/etc/cdi/phantom-ns.json", "/run/phantom-ns-node"); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	if string(b.Read("/etc/cni/net.d/10-pods.conflist")) != b.network("") {
		t.Error("the network's own file is another")
	}
}

// modes are those of the files that are there.
func (b *bed) modes(paths ...string) map[string]fs.FileMode {
	all := map[string]fs.FileMode{}
	b.do(func() error {
		for _, path := range paths {
			if info, err := os.Lstat(path); err == nil {
				all[path] = info.Mode().Perm()
			}
		}
		return nil
	})
	return all
}
