// SPDX-License-Identifier: Apache-2.0

//go:build root

package node

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/phantom-ns/phantom-ns/enforcer/node/api"
	"github.com/phantom-ns/phantom-ns/test/rig"
)

// host is the name that the policies of these tests are about.
const host = "api.openai.com"

// bed is a node with an upstream, and two policies that swap a credential each
// for it.
type bed struct {
	*testing.T
	world    *rig.World
	node     *rig.Node
	upstream *rig.Upstream
	client   *api.Client
	key      string // the real credential
	scratch  string // a short path, where namespaces are mounted
	made     int
}

func newBed(t *testing.T, flags ...string) *bed {
	t.Helper()
	b := &bed{T: t, world: rig.New(t), key: rig.Canary(t, "sk-")}
	scratch, err := os.MkdirTemp("", "pods")
	if err != nil {
		t.Fatal(err)
	}
	b.scratch = scratch
	t.Cleanup(func() { os.RemoveAll(scratch) })
	b.upstream = rig.NewUpstream(t, b.world.Listen)
	b.upstream.Serve(host, b.upstream.OpenAI(b.key))
	b.world.Write("/etc/resolv.conf", []byte("nameserver 127.0.0.2\n"), 0o644)
	b.node = b.world.StartNode(map[string]string{"web": b.policy("openai"), "other": b.policy("other")}, flags...)
	b.client = b.node.Client()
	t.Cleanup(b.client.Close)
	return b
}

// policy has a credential of that name for the upstream.
func (b *bed) policy(name string) string {
	return fmt.Sprintf("version: 1\ncredentials:\n  %s:\n    from: %s\n    provider: openai\n%s", name, b.world.Secret(name, b.key), b.upstream.Hosts())
}

// pod is a network namespace as a runtime hands it over: a mount.
type pod struct {
	*bed
	api.Attachment
	address string // where it is plugged in
}

// self is the calling thread's namespace, which is the world's in Do.
const self = "/proc/thread-self/ns/net"

// newPod makes a namespace that is to be attached under a policy, sealed.
func (b *bed) newPod(policy string) *pod {
	b.Helper()
	b.made++
	name := fmt.Sprint("pod", b.made)
	p := &pod{bed: b, Attachment: api.Attachment{
		Network: "net", Container: name, Interface: "eth0", Namespace: filepath.Join(b.scratch, name), Policy: policy, Sealed: true,
	}}
	if err := os.WriteFile(p.Namespace, nil, 0o600); err != nil {
		b.Fatal(err)
	}
	err := b.world.Do(func() error {
		return away(func() error { return unix.Unshare(unix.CLONE_NEWNET) }, func() error {
			return unix.Mount(self, p.Namespace, "", unix.MS_BIND, "")
		})
	})
	if err != nil {
		b.Fatal(err)
	}
	return p
}

// away calls f on the calling thread in another namespace.
func away(leave, f func() error) error {
	home, err := unix.Open(self, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(home)
	if err := leave(); err != nil {
		return err
	}
	return errors.Join(f(), unix.Setns(home, unix.CLONE_NEWNET))
}

// do calls f in the pod's namespace, on the world's thread.
func (p *pod) do(f func() error) error {
	return p.world.Do(func() error {
		there, err := unix.Open(p.Namespace, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(there)
		return away(func() error { return unix.Setns(there, unix.CLONE_NEWNET) }, f)
	})
}

// attach asks for the attachment and fails the test where it is refused.
func (p *pod) attach() api.Attachment {
	p.Helper()
	made, err := p.client.Attach(p.Context(), p.Attachment)
	if err != nil {
		p.Fatalf("attach: %v", err)
	}
	return made
}

func (p *pod) detach() {
	p.Helper()
	if err := p.client.Detach(p.Context(), p.Container, p.Interface); err != nil {
		p.Errorf("detach: %v", err)
	}
}

// command starts a program inside, as root of the machine.
func (p *pod) command(args ...string) *rig.Process {
	p.Helper()
	return p.world.Program(rig.Session{Root: true, Dir: "/"}, "nsenter", append([]string{"--net=" + p.Namespace, "--"}, args...)...)
}

// placeholder is what containers of a policy hold.
func (b *bed) environment(policy string) map[string]string {
	b.Helper()
	data, err := os.ReadFile(filepath.Join(b.node.Dir, "shared", policy, "env"))
	if err != nil {
		b.Fatal(err)
	}
	env := map[string]string{}
	for line := range strings.Lines(string(data)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		env[name] = value
	}
	return env
}

// ask is curl's question to the upstream with a policy's placeholder.
func (p *pod) ask(policy string) *rig.Process {
	p.Helper()
	return p.command("curl", "-sS", "--max-time", "20", "--cacert", filepath.Join(p.node.Dir, "shared", p.Policy, "bundle.pem"),
		"-H", "Authorization: Bearer "+p.environment(policy)["OPENAI_API_KEY"], "-w", "%{http_code}", "-o", "/dev/null", "https://"+host+"/v1/models")
}

// swaps fails the test unless the pod's placeholder became the credential.
func (p *pod) swaps() {
	p.Helper()
	if r := p.ask(p.Policy).Wait(); r.Stdout != "200" {
		p.Errorf("swap: %v", r)
	}
}

// remove takes the namespace away, as a runtime does with its container.
func (p *pod) remove() {
	p.Helper()
	if err := p.world.Do(func() error { return unix.Unmount(p.Namespace, unix.MNT_DETACH) }); err != nil {
		p.Fatal(err)
	}
	if err := os.Remove(p.Namespace); err != nil {
		p.Fatal(err)
	}
}

// move mounts the namespace at another path.
func (p *pod) move(path string) {
	p.Helper()
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		p.Fatal(err)
	}
	if err := p.world.Do(func() error { return unix.Mount(p.Namespace, path, "", unix.MS_BIND, "") }); err != nil {
		p.Fatal(err)
	}
	p.Namespace = path
}
