// SPDX-License-Identifier: Apache-2.0

//go:build containers

package containers

import "testing"

func (b *bed) containerd() {
	b.t.Helper()
	b.Write("/etc/containerd/config.toml", []byte(`version = 2
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.restart"]
`), 0o644)
	b.serve([]string{"ctr", "version"}, "containerd")
	b.run("ctr", "image", "import", archive)
}

func (b *bed) docker(runtimes string) {
	b.t.Helper()
	b.Write("/etc/docker/daemon.json", []byte(runtimes), 0o644)
	b.serve([]string{"docker", "version"}, "dockerd", "--cgroup-parent", "/"+b.cgroup)
	b.run("docker", "load", "-i", archive)
}

func (b *bed) podman() {
	b.t.Helper()
	b.Write("/etc/containers/containers.conf", []byte(`[containers]
cgroups = "enabled"
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "none"
[network]
network_backend = "cni"
`), 0o644)
	b.run("podman", "load", "-i", archive)
}

func TestRuntimesStart(t *testing.T) {
	b := newBed(t)
	b.podman()
	t.Log(b.run("podman", "run", "--rm", "--cgroup-parent", "/"+b.cgroup, image, "node", "-v"))
	b.containerd()
	t.Log(b.run("ctr", "run", "--rm", "--cgroup", "/"+b.cgroup+"/x", image, "x", "node", "-v"))
	b.docker(`{}`)
	t.Log(b.run("docker", "run", "--rm", "--network", "none", image, "node", "-v"))
	t.Log(b.run("docker", "run", "--rm", image, "ip", "addr"))
}
