// SPDX-License-Identifier: Apache-2.0

//go:build containers

package cri

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/phantom-ns/phantom-ns/test/rig"
)

// patience is how long anything here may take.
const patience = time.Minute

// bed is a world with a daemon of ours and a containerd, which has its usual
// paths on a /run of the world's own.
type bed struct {
	*rig.World
	t        testing.TB
	daemon   *rig.Node
	upstream *rig.Upstream
	key      string // the real one
	scratch  string
	mounts   string // the world's mount namespace
	cgroup   string // the parent of every pod's
	runtime  runtime.RuntimeServiceClient
}

// host is the name that the policy of these tests is about.
const host = "api.openai.com"

// newBed makes one with a daemon of the test's own, and a containerd whose
// paths are in the scratch.
func newBed(t testing.TB) *bed {
	t.Helper()
	b := newWorld(t)
	b.daemon = b.StartNode(map[string]string{
		"web": fmt.Sprintf("version: 1\ncredentials:\n  openai:\n    from: %s\n%s", b.Secret("openai", b.key), b.upstream.Hosts()),
	})
	b.networks()
	b.link(rig.Plugin(b.t), "bin/phantom-cni")
	b.containerd(b.path("bin"), b.path("net"))
	return b
}

// newWorld makes one in which no daemon runs yet.
func newWorld(t testing.TB) *bed {
	t.Helper()
	if _, err := os.Stat(archive); err != nil {
		t.Fatalf("run test/setup/install.sh containers: %v", err)
	}
	scratch, err := os.MkdirTemp("", "cri") // short: paths of sockets are below
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(scratch) })
	b := &bed{World: rig.New(t), t: t, scratch: scratch, cgroup: fmt.Sprintf("/phantom-ns-cri-%d", os.Getpid()), key: rig.Canary(t, "sk-")}
	b.do(func() error {
		b.mounts, err = os.Readlink("/proc/thread-self/ns/mnt")
		// containerd takes the machine's, though covered, for the world's.
		for unix.Unmount("/run/netns", unix.MNT_DETACH) == nil {
		}
		return errors.Join(err, unix.Mount("tmpfs", "/run", "tmpfs", 0, "mode=0755"))
	})
	t.Cleanup(b.sweep)
	b.upstream = rig.NewUpstream(t, b.Listen)
	b.upstream.Serve(host, b.upstream.OpenAI(b.key))
	return b
}

func (b *bed) do(f func() error) {
	b.t.Helper()
	if err := b.Do(f); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bed) path(name string) string { return filepath.Join(b.scratch, name) }

func (b *bed) write(name, text string) {
	b.t.Helper()
	err := errors.Join(os.MkdirAll(filepath.Dir(b.path(name)), 0o755), os.WriteFile(b.path(name), []byte(text), 0o644))
	if err != nil {
		b.t.Fatal(err)
	}
}

// network is a list of plugins that makes pods an interface on a bridge.
func (b *bed) network(more string) string {
	return fmt.Sprintf(`{"cniVersion":"1.0.0","name":"pods","plugins":[
{"type":"bridge","bridge":"cri0","isGateway":true,"ipam":{"type":"host-local","dataDir":%q,
"ranges":[[{"subnet":"10.95.0.0/24"}],[{"subnet":"fd95::/64"}]],"routes":[{"dst":"0.0.0.0/0"},{"dst":"::/0"}]}}%s]}`, b.path("ipam"), more)
}

// networks are the configurations of the runtime's two handlers: pods with an
// interface, and pods without.
func (b *bed) networks() {
	const from = `"policyFrom":{"annotation":"phantom-ns.dev/policy"},"capabilities":{"io.kubernetes.cri.pod-annotations":true}`
	ours := fmt.Sprintf(`{"type":"phantom-cni","socket":%q,%s}`, b.daemon.Socket(), from)
	b.write("net/10-pods.conflist", b.network(","+ours))
	b.write("sealed/10-sealed.conflist", fmt.Sprintf(`{"cniVersion":"1.0.0","name":"sealed","plugins":[%s]}`, ours))
}

func (b *bed) link(from, to string) {
	b.t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(b.path(to)), 0o755), os.Symlink(from, b.path(to))); err != nil {
		b.t.Fatal(err)
	}
}

// containerd starts one that looks for plugins and networks there, with the
// images that pods need.
func (b *bed) containerd(plugins, networks string) {
	b.t.Helper()
	for _, plugin := range []string{"bridge", "host-local", "loopback"} {
		b.link("/usr/lib/cni/"+plugin, "bin/"+plugin)
	}
	b.write("config.toml", fmt.Sprintf(`version = 2
root = %q
state = %q
disabled_plugins = ["io.containerd.internal.v1.restart"]
[grpc]
  address = %q
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = %q
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = %q
    conf_dir = %q
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "native"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.sealed]
    runtime_type = "io.containerd.runc.v2"
    cni_conf_dir = %q
`, b.path("root"), b.path("state"), b.path("c.sock"), pause, plugins, networks, b.path("sealed")))
	b.start("containerd", "--config", b.path("config.toml"))
	conn, err := grpc.NewClient("unix://"+b.path("c.sock"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { conn.Close() })
	b.runtime = runtime.NewRuntimeServiceClient(conn)
	if _, err := b.runtime.Version(b.patient(), &runtime.VersionRequest{}, grpc.WaitForReady(true)); err != nil {
		b.t.Fatalf("start containerd: %v", err)
	}
	b.load(pauseArchive(b.t))
	b.load(archive)
}

// load gives the runtime an image.
func (b *bed) load(archive string) {
	b.t.Helper()
	b.run("ctr", "--address", b.path("c.sock"), "--namespace", "k8s.io", "image", "import", "--snapshotter", "native", archive)
}

func (b *bed) patient() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	b.t.Cleanup(cancel)
	return ctx
}

const path = "PATH=/usr/sbin:/usr/bin:/sbin:/bin"

func (b *bed) command(ctx context.Context, words ...string) (*exec.Cmd, *bytes.Buffer) {
	cmd := exec.CommandContext(ctx, words[0], words[1:]...)
	out := new(bytes.Buffer)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.Env = []string{path, "HOME=/root", "LANG=C.UTF-8"}
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.WaitDelay = time.Second // shims keep what they inherited
	return cmd, out
}

// start starts a daemon that ends with the test. What it said is printed when
// the test fails.
func (b *bed) start(words ...string) {
	b.t.Helper()
	cmd, out := b.command(context.Background(), words...)
	b.do(cmd.Start)
	b.t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
		if b.t.Failed() {
			b.t.Logf("%s said:\n%s", words[0], out)
		}
	})
}

func (b *bed) run(words ...string) string {
	b.t.Helper()
	cmd, out := b.command(b.patient(), words...)
	b.do(cmd.Start)
	if err := cmd.Wait(); err != nil {
		b.t.Fatalf("%q: %v\n%s", words, err, out)
	}
	return out.String()
}

// sweep fails the test when a process of the world is left, and ends it.
func (b *bed) sweep() {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		var pid int
		mounts, _ := os.Readlink(dir + "/ns/mnt")
		cgroup, _ := os.ReadFile(dir + "/cgroup")
		fmt.Sscanf(dir, "/proc/%d", &pid)
		if pid == os.Getpid() || mounts != b.mounts && !strings.Contains(string(cgroup), b.cgroup+"/") {
			continue
		}
		name, _ := os.ReadFile(dir + "/cmdline")
		b.t.Errorf("process %d is left: %q", pid, name)
		unix.Kill(pid, unix.SIGKILL)
	}
	for _, pattern := range []string{"/sys/fs/cgroup/*" + b.cgroup, "/sys/fs/cgroup" + b.cgroup} {
		parents, _ := filepath.Glob(pattern)
		for _, parent := range parents {
			os.Remove(parent)
		}
	}
}
