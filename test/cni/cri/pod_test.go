// SPDX-License-Identifier: Apache-2.0

//go:build containers

package cri

import (
	"context"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// pod is a sandbox with one container that sleeps.
type pod struct {
	b         *bed
	config    *runtime.PodSandboxConfig
	id        string
	container string
	ended     bool
}

// podOf describes a pod as a kubelet does.
func (b *bed) podOf(name string, annotations map[string]string) *pod {
	return &pod{b: b, config: &runtime.PodSandboxConfig{
		Metadata:     &runtime.PodSandboxMetadata{Name: name, Namespace: "default", Uid: name + "-uid"},
		Hostname:     name,
		LogDirectory: b.path("logs"),
		DnsConfig:    &runtime.DNSConfig{Servers: []string{"10.96.0.10"}},
		Annotations:  annotations,
		Linux:        &runtime.LinuxPodSandboxConfig{CgroupParent: b.cgroup},
	}}
}

// run makes the sandbox. It ends with the test, if that has not ended it.
func (p *pod) run(t testing.TB, handler string) error {
	t.Helper()
	made, err := p.b.runtime.RunPodSandbox(p.b.patient(), &runtime.RunPodSandboxRequest{Config: p.config, RuntimeHandler: handler})
	if err != nil {
		return err
	}
	p.id = made.PodSandboxId
	t.Cleanup(func() { p.end(t) })
	return nil
}

// end stops and removes the sandbox, each twice, as a kubelet may.
func (p *pod) end(t testing.TB) {
	t.Helper()
	if p.ended {
		return
	}
	p.ended = true
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for range 2 {
		if _, err := p.b.runtime.StopPodSandbox(ctx, &runtime.StopPodSandboxRequest{PodSandboxId: p.id}); err != nil {
			t.Errorf("stop %s: %v", p.config.Hostname, err)
		}
	}
	for range 2 {
		if _, err := p.b.runtime.RemovePodSandbox(ctx, &runtime.RemovePodSandboxRequest{PodSandboxId: p.id}); err != nil {
			t.Errorf("remove %s: %v", p.config.Hostname, err)
		}
	}
}

// start starts the container, with what the webhook puts into a pod's: the
// environment and the folder of its policy.
func (p *pod) start(t testing.TB, policy string) {
	t.Helper()
	p.startWith(t, filepath.Join(p.b.daemon.Dir, "shared", policy))
}

func (p *pod) startWith(t testing.TB, shared string) {
	t.Helper()
	config := &runtime.ContainerConfig{
		Metadata: &runtime.ContainerMetadata{Name: "main"},
		Image:    &runtime.ImageSpec{Image: image},
		Command:  []string{"sleep", "1000000"},
		Envs:     p.b.environment(filepath.Join(shared, "env")),
		Mounts:   []*runtime.Mount{{HostPath: shared, ContainerPath: "/run/phantom-ns", Readonly: true}},
		LogPath:  "main.log",
		Linux:    &runtime.LinuxContainerConfig{},
	}
	made, err := p.b.runtime.CreateContainer(p.b.patient(), &runtime.CreateContainerRequest{PodSandboxId: p.id, Config: config, SandboxConfig: p.config})
	if err != nil {
		t.Fatalf("create container: %v", err)
	}
	p.container = made.ContainerId
	if _, err := p.b.runtime.StartContainer(p.b.patient(), &runtime.StartContainerRequest{ContainerId: p.container}); err != nil {
		t.Fatalf("start container: %v", err)
	}
}

func (b *bed) environment(path string) []*runtime.KeyValue {
	var all []*runtime.KeyValue
	for line := range strings.Lines(string(b.Read(path))) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			all = append(all, &runtime.KeyValue{Key: key, Value: value})
		}
	}
	return all
}

// sh runs a line in the container.
func (p *pod) sh(t testing.TB, line string) (out string, exit int32) {
	t.Helper()
	r, err := p.b.runtime.ExecSync(p.b.patient(), &runtime.ExecSyncRequest{ContainerId: p.container, Cmd: []string{"sh", "-c", line}, Timeout: 30})
	if err != nil {
		t.Fatalf("exec %q: %v", line, err)
	}
	if len(r.Stderr) > 0 {
		t.Logf("%q: %s", line, r.Stderr)
	}
	return string(r.Stdout), r.ExitCode
}

// addresses are what containerd reports of the pod.
func (p *pod) addresses(t testing.TB) []string {
	t.Helper()
	s, err := p.b.runtime.PodSandboxStatus(p.b.patient(), &runtime.PodSandboxStatusRequest{PodSandboxId: p.id})
	if err != nil {
		t.Fatalf("status: %v", err)
	}
	all := []string{s.Status.Network.Ip}
	for _, more := range s.Status.Network.AdditionalIps {
		all = append(all, more.Ip)
	}
	return all
}

// listen starts a server in the container.
func (p *pod) listen(t testing.TB) {
	t.Helper()
	p.sh(t, `(cd / && exec setsid python3 -c 'import http.server,socket
class S(http.server.HTTPServer): address_family = socket.AF_INET6
S(("::", 8080), http.server.BaseHTTPRequestHandler).serve_forever()' >/dev/null 2>&1 &)`)
}

// probed fails unless the node is answered at every address, as a kubelet's
// probe would be.
func (p *pod) probed(t testing.TB) {
	t.Helper()
	for _, a := range p.addresses(t) {
		// curl tries again while nobody listens yet: the server has just begun.
		out := p.b.run("curl", "-s", "--max-time", "10", "--retry", "50", "--retry-connrefused", "--retry-delay", "1", "-o", "/dev/null", "-w", "%{http_code}",
			"http://"+netip.AddrPortFrom(netip.MustParseAddr(a), 8080).String()+"/")
		if out != "501" {
			t.Errorf("probe of %s: %s", a, out)
		}
	}
}
