// SPDX-License-Identifier: Apache-2.0

//go:build root

package cni

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/invoke"
	"github.com/containernetworking/cni/pkg/types"
	"github.com/containernetworking/cni/pkg/version"
	"golang.org/x/sys/unix"

	"github.com/phantom-ns/phantom-ns/test/rig"
)

// others is where Debian has the plugins of containernetworking-plugins.
const others = "/usr/lib/cni"

// node is a world with a daemon, and the library that calls plugins in it.
type node struct {
	*rig.World
	daemon   *rig.Node
	cni      *libcni.CNIConfig
	upstream *rig.Upstream
	key      string // the real credential
	scratch  string
}

// host is the name that the policies of these tests are about.
const host = "api.openai.com"

// newNode starts a daemon with a policy "web", which swaps one credential at
// one host, and "base", which knows nobody.
func newNode(t testing.TB) *node {
	t.Helper()
	w := rig.New(t)
	n := &node{World: w, scratch: scratch(t), key: rig.Canary(t, "sk-")}
	n.upstream = rig.NewUpstream(t, w.Listen)
	n.upstream.Serve(host, n.upstream.OpenAI(n.key))
	n.daemon = w.StartNode(map[string]string{
		"web":  fmt.Sprintf("version: 1\ncredentials:\n  openai:\n    from: %s\n%s", w.Secret("openai", n.key), n.upstream.Hosts()),
		"base": "version: 1\n",
	})
	n.cni = libcni.NewCNIConfigWithCacheDir([]string{filepath.Dir(rig.Plugin(t)), others}, filepath.Join(n.scratch, "cache"), inWorld{w})
	return n
}

// scratch is a directory with a short name: paths of sockets are in it.
func scratch(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "cni")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// inWorld starts plugins in a world, as a runtime of that node would.
type inWorld struct{ w *rig.World }

func (e inWorld) FindInPath(plugin string, paths []string) (string, error) {
	return invoke.FindInPath(plugin, paths)
}

func (e inWorld) Decode(data []byte) (version.PluginInfo, error) {
	return new(version.PluginDecoder).Decode(data)
}

// ExecPlugin returns what a plugin printed. Only its start is the world's
// thread's, so that any number run at once.
func (e inWorld) ExecPlugin(ctx context.Context, path string, stdin []byte, environ []string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, path)
	cmd.Env = append(environ, "PATH=/usr/sbin:/usr/bin:/sbin:/bin")
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(stdin), &stdout, &stderr
	if err := e.w.Do(cmd.Start); err != nil {
		return nil, err
	}
	err := cmd.Wait()
	if err == nil {
		return stdout.Bytes(), nil
	}
	refused := new(types.Error)
	if json.Unmarshal(stdout.Bytes(), refused) != nil || refused.Code == 0 {
		return nil, fmt.Errorf("%s: %w: stdout %q, stderr %q", filepath.Base(path), err, &stdout, &stderr)
	}
	return nil, refused
}

// list reads a network of these plugins, the texts of which are joined.
func (n *node) list(t testing.TB, version, name string, plugins ...string) *libcni.NetworkConfigList {
	t.Helper()
	text := fmt.Sprintf(`{"cniVersion":%q,"name":%q,"plugins":[`, version, name)
	for i, p := range plugins {
		if i > 0 {
			text += ","
		}
		text += p
	}
	l, err := libcni.ConfListFromBytes([]byte(text + "]}"))
	if err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return l
}

// ours is this plugin's part of a network, with more keys.
func (n *node) ours(more string) string {
	return fmt.Sprintf(`{"type":"phantom-cni","socket":%q%s}`, n.daemon.Socket(), more)
}

const underWeb = `,"policy":"web"`

// container is a network namespace in which nothing runs yet, as a runtime
// hands it over, and what the runtime says about it.
type container struct {
	libcni.RuntimeConf
	n *node
}

var ids struct {
	sync.Mutex
	last int
}

// newContainer makes one, with lo down.
func (n *node) newContainer(t testing.TB) *container {
	t.Helper()
	ids.Lock()
	ids.last++
	id := fmt.Sprintf("%064x", ids.last)
	ids.Unlock()
	path := filepath.Join(n.scratch, id[50:])
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	const self = "/proc/thread-self/ns/net"
	err := n.Do(func() error {
		home, err := unix.Open(self, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(home)
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return err
		}
		err = unix.Mount(self, path, "", unix.MS_BIND, "")
		return errors.Join(err, unix.Setns(home, unix.CLONE_NEWNET))
	})
	if err != nil {
		t.Fatalf("make namespace: %v", err)
	}
	return &container{n: n, RuntimeConf: libcni.RuntimeConf{ContainerID: id, NetNS: path, IfName: "eth0", CapabilityArgs: map[string]any{}}}
}

// remove takes the namespace away, as a runtime does after DEL, or without.
func (c *container) remove(t testing.TB) {
	t.Helper()
	err := c.n.Do(func() error { return unix.Unmount(c.NetNS, unix.MNT_DETACH) })
	if err := errors.Join(err, os.Remove(c.NetNS)); err != nil {
		t.Fatal(err)
	}
}

// pod says of which pod the container is, as containerd and CRI-O do.
func (c *container) pod(namespace string, annotations map[string]string) *container {
	c.Args = [][2]string{{"IgnoreUnknown", "1"}, {"K8S_POD_NAMESPACE", namespace}, {"K8S_POD_NAME", "pod"},
		{"K8S_POD_INFRA_CONTAINER_ID", c.ContainerID}, {"K8S_POD_UID", "u"}}
	c.CapabilityArgs["io.kubernetes.cri.pod-annotations"] = annotations
	return c
}

func (c *container) add(l *libcni.NetworkConfigList) (types.Result, error) {
	return c.n.cni.AddNetworkList(context.Background(), l, &c.RuntimeConf)
}

func (c *container) check(l *libcni.NetworkConfigList) error {
	return c.n.cni.CheckNetworkList(context.Background(), l, &c.RuntimeConf)
}

func (c *container) del(l *libcni.NetworkConfigList) error {
	return c.n.cni.DelNetworkList(context.Background(), l, &c.RuntimeConf)
}

// mustAdd adds and, when the test ends, deletes.
func (c *container) mustAdd(t testing.TB, l *libcni.NetworkConfigList) types.Result {
	t.Helper()
	r, err := c.add(l)
	if err != nil {
		t.Fatalf("ADD: %v", err)
	}
	t.Cleanup(func() {
		if err := c.del(l); err != nil {
			t.Errorf("DEL at the end: %v", err)
		}
	})
	return r
}

// placeholder is what stands for the credential of a policy on this node.
func (n *node) placeholder(t testing.TB, policy string) string {
	t.Helper()
	env, err := os.ReadFile(filepath.Join(n.daemon.Dir, "shared", policy, "env"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(env)) {
		if value, ok := strings.CutPrefix(line, "OPENAI_API_KEY="); ok {
			return strings.TrimSpace(value)
		}
	}
	t.Fatalf("no placeholder in %q", env)
	return ""
}

// swaps tells what a request with the placeholder comes to: the upstream's
// answer, which it gives for the real credential alone, or curl's exit. The
// container has the resolv.conf that it would be given.
func (c *container) swaps(t testing.TB) string {
	t.Helper()
	shared := filepath.Join(c.n.daemon.Dir, "shared/web")
	out, exit := c.run(t, "unshare", "--mount", "sh", "-c", `mount --bind "$0/resolv.conf" /etc/resolv.conf && exec curl -sS --max-time 20 --cacert "$0/ca.pem" -H "Authorization: Bearer $1" "$2"`,
		shared, c.n.placeholder(t, "web"), "https://"+host+"/v1/models")
	if exit == 0 && strings.Contains(out, c.n.upstream.Answer) {
		return "swapped"
	}
	return fmt.Sprintf("exit %d %s", exit, out)
}

// run runs a program in the container, as the first that does.
func (c *container) run(t testing.TB, words ...string) (stdout string, exit int) {
	t.Helper()
	cmd := exec.Command("nsenter", append([]string{"--net=" + c.NetNS, "--"}, words...)...)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	if err := c.n.Do(cmd.Start); err != nil {
		t.Fatal(err)
	}
	err := cmd.Wait()
	if failed := new(exec.ExitError); err != nil && !errors.As(err, &failed) {
		t.Fatal(err)
	}
	if stderr.Len() > 0 {
		t.Logf("%q: %s", words, &stderr)
	}
	return out.String(), cmd.ProcessState.ExitCode()
}
