// SPDX-License-Identifier: Apache-2.0

//go:build containers

package containers

func (b *bed) containerd() {
	b.t.Helper()
	b.Write("/etc/containerd/config.toml", []byte(`version = 2
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.restart"]
`), 0o644)
	b.serve([]string{"ctr", "version"}, "containerd", "--log-level", "error")
	b.run("ctr", "image", "import", archive)
}

// dockerd starts Docker with the settings that are there. It starts a
// containerd of its own where there is none.
func (n *node) dockerd() {
	n.t.Helper()
	n.docker = n.serve([]string{"docker", "version"}, "dockerd", "--log-level", "error", "--cgroup-parent", "/"+n.cgroup)
	n.run("docker", "load", "-i", archive)
}

// podman is no daemon: it is told what this machine's limits and cgroups are.
func (b *bed) podman() {
	b.t.Helper()
	b.Write("/etc/containers/containers.conf", []byte(`[containers]
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
