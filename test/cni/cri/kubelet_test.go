// SPDX-License-Identifier: Apache-2.0

//go:build containers

package cri

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
	"sigs.k8s.io/yaml"
)

// kubelet starts the pod that a DaemonSet wants on a node, as a kubelet does:
// its volumes, its init containers one by one, then the others.
type kubelet struct {
	*pod
	spec    core.PodSpec
	files   map[string]map[string][]byte // of ConfigMaps and Secrets, by name
	running []string
}

// kubelet reads the DaemonSet and the ConfigMaps of a file of manifests.
func (b *bed) kubelet(manifests string, secrets map[string]map[string][]byte) *kubelet {
	b.t.Helper()
	data, err := os.ReadFile(manifests)
	if err != nil {
		b.t.Fatal(err)
	}
	k := &kubelet{pod: b.podOf("daemon", nil), files: secrets}
	k.config.Metadata.Namespace = "phantom-ns"
	for document := range bytes.SplitSeq(data, []byte("\n---\n")) {
		var set apps.DaemonSet
		if err := yaml.Unmarshal(document, &set); err != nil {
			b.t.Fatal(err)
		}
		switch set.Kind {
		case "DaemonSet":
			k.spec = set.Spec.Template.Spec
		case "ConfigMap":
			var m core.ConfigMap
			if err := yaml.Unmarshal(document, &m); err != nil {
				b.t.Fatal(err)
			}
			k.files[m.Name] = map[string][]byte{}
			for name, text := range m.Data {
				k.files[m.Name][name] = []byte(text)
			}
		}
	}
	return k
}

// begin starts the pod. It returns the init container that failed, and why.
func (k *kubelet) begin(t testing.TB) error {
	t.Helper()
	network := runtime.NamespaceMode_POD
	if k.spec.HostNetwork {
		network, k.config.Hostname = runtime.NamespaceMode_NODE, ""
	}
	all := slices.Concat(k.spec.InitContainers, k.spec.Containers)
	k.config.Linux.SecurityContext = &runtime.LinuxSandboxSecurityContext{
		NamespaceOptions: &runtime.NamespaceOption{Network: network, Pid: runtime.NamespaceMode_CONTAINER},
		Privileged:       slices.ContainsFunc(all, isPrivileged),
	}
	k.ended, k.running = false, nil
	if err := k.run(t, "runc"); err != nil {
		return err
	}
	for _, c := range k.spec.InitContainers {
		if code := k.awaitExit(t, k.startContainer(t, c)); code != 0 {
			return fmt.Errorf("%s: exit %d: %s", c.Name, code, k.log(c.Name))
		}
	}
	for _, c := range k.spec.Containers {
		id := k.startContainer(t, c)
		k.running = append(k.running, id)
		if c.StartupProbe != nil {
			k.probe(t, id, c)
		}
	}
	return nil
}

func (k *kubelet) must(t testing.TB) {
	t.Helper()
	if err := k.begin(t); err != nil {
		t.Fatal(err)
	}
}

// stop ends the pod within its time, as for an upgrade.
func (k *kubelet) stop(t testing.TB) {
	t.Helper()
	for _, id := range k.running {
		if _, err := k.b.runtime.StopContainer(k.b.patient(), &runtime.StopContainerRequest{ContainerId: id, Timeout: *k.spec.TerminationGracePeriodSeconds}); err != nil {
			t.Errorf("stop: %v", err)
		}
	}
	k.end(t)
}

func isPrivileged(c core.Container) bool {
	return c.SecurityContext.Privileged != nil && *c.SecurityContext.Privileged
}

func (k *kubelet) startContainer(t testing.TB, c core.Container) string {
	t.Helper()
	s := c.SecurityContext
	security := &runtime.LinuxContainerSecurityContext{
		Privileged:       isPrivileged(c),
		ReadonlyRootfs:   s.ReadOnlyRootFilesystem != nil && *s.ReadOnlyRootFilesystem,
		NoNewPrivs:       s.AllowPrivilegeEscalation != nil && !*s.AllowPrivilegeEscalation,
		NamespaceOptions: k.config.Linux.SecurityContext.NamespaceOptions,
		Capabilities:     new(runtime.Capability),
	}
	if s.Capabilities != nil {
		for _, c := range s.Capabilities.Drop {
			security.Capabilities.DropCapabilities = append(security.Capabilities.DropCapabilities, string(c))
		}
	}
	if s.SeccompProfile != nil {
		security.Seccomp = &runtime.SecurityProfile{ProfileType: runtime.SecurityProfile_RuntimeDefault}
	}
	config := &runtime.ContainerConfig{
		Metadata: &runtime.ContainerMetadata{Name: c.Name},
		Image:    &runtime.ImageSpec{Image: c.Image},
		Args:     c.Args,
		Mounts:   k.mounts(t, c),
		LogPath:  c.Name + ".log",
		Linux:    &runtime.LinuxContainerConfig{SecurityContext: security},
	}
	made, err := k.b.runtime.CreateContainer(k.b.patient(), &runtime.CreateContainerRequest{PodSandboxId: k.id, Config: config, SandboxConfig: k.config})
	if err != nil {
		t.Fatalf("create %s: %v", c.Name, err)
	}
	if _, err := k.b.runtime.StartContainer(k.b.patient(), &runtime.StartContainerRequest{ContainerId: made.ContainerId}); err != nil {
		t.Fatalf("start %s: %v", c.Name, err)
	}
	return made.ContainerId
}

var propagations = map[core.MountPropagationMode]runtime.MountPropagation{
	core.MountPropagationHostToContainer: runtime.MountPropagation_PROPAGATION_HOST_TO_CONTAINER,
	core.MountPropagationBidirectional:   runtime.MountPropagation_PROPAGATION_BIDIRECTIONAL,
}

func (k *kubelet) mounts(t testing.TB, c core.Container) []*runtime.Mount {
	t.Helper()
	var all []*runtime.Mount
	for _, m := range c.VolumeMounts {
		mount := &runtime.Mount{HostPath: k.volume(t, m.Name), ContainerPath: m.MountPath, Readonly: m.ReadOnly}
		if m.MountPropagation != nil {
			mount.Propagation = propagations[*m.MountPropagation]
		}
		all = append(all, mount)
	}
	return all
}

// volume makes what a pod mounts, and returns where it is.
func (k *kubelet) volume(t testing.TB, name string) string {
	t.Helper()
	at := slices.IndexFunc(k.spec.Volumes, func(v core.Volume) bool { return v.Name == name })
	if at < 0 {
		t.Fatalf("no volume %s", name)
	}
	v := k.spec.Volumes[at]
	switch {
	case v.HostPath != nil && *v.HostPath.Type == core.HostPathDirectoryOrCreate:
		k.b.do(func() error { return os.MkdirAll(v.HostPath.Path, 0o755) })
		return v.HostPath.Path
	case v.HostPath != nil:
		return v.HostPath.Path
	case v.ConfigMap != nil:
		return k.project(t, name, k.files[v.ConfigMap.Name], v.ConfigMap.Items, 0o644)
	case v.Secret != nil:
		return k.project(t, name, k.files[v.Secret.SecretName], v.Secret.Items, os.FileMode(*v.Secret.DefaultMode))
	}
	t.Fatalf("volume %s is of a kind that nobody expects", name)
	return ""
}

// project writes files as a kubelet does: each is a link to one in a folder,
// which is a link itself, so that all change in one step.
func (k *kubelet) project(t testing.TB, name string, files map[string][]byte, items []core.KeyToPath, mode os.FileMode) string {
	t.Helper()
	dir := k.b.path("volumes/" + name)
	err := errors.Join(os.RemoveAll(dir), os.MkdirAll(filepath.Join(dir, "..2026"), 0o755), os.Symlink("..2026", filepath.Join(dir, "..data")))
	for key, data := range files {
		path := key
		if i := slices.IndexFunc(items, func(i core.KeyToPath) bool { return i.Key == key }); i >= 0 {
			path = items[i].Path
		} else if len(items) > 0 {
			continue
		}
		err = errors.Join(err, os.WriteFile(filepath.Join(dir, "..2026", path), data, mode), os.Symlink("..data/"+path, filepath.Join(dir, path)))
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// awaitExit asks until a container has ended: nobody tells.
func (k *kubelet) awaitExit(t testing.TB, id string) int32 {
	t.Helper()
	ctx := k.b.patient()
	for {
		s, err := k.b.runtime.ContainerStatus(ctx, &runtime.ContainerStatusRequest{ContainerId: id})
		if err != nil {
			t.Fatalf("status: %v", err)
		}
		if s.Status.State == runtime.ContainerState_CONTAINER_EXITED {
			return s.Status.ExitCode
		}
		unix.Nanosleep(&unix.Timespec{Nsec: int64(50 * time.Millisecond)}, nil)
	}
}

// probe asks as often as a kubelet may, and sooner.
func (k *kubelet) probe(t testing.TB, id string, c core.Container) {
	t.Helper()
	ctx := k.b.patient()
	for {
		r, err := k.b.runtime.ExecSync(ctx, &runtime.ExecSyncRequest{ContainerId: id, Cmd: c.StartupProbe.Exec.Command, Timeout: int64(c.StartupProbe.TimeoutSeconds)})
		if err == nil && r.ExitCode == 0 {
			return
		}
		if ctx.Err() != nil {
			t.Fatalf("%s does not begin: %v %s\n%s", c.Name, err, r.GetStderr(), k.log(c.Name))
		}
		unix.Nanosleep(&unix.Timespec{Nsec: int64(50 * time.Millisecond)}, nil)
	}
}

func (k *kubelet) log(name string) []byte {
	data, _ := os.ReadFile(k.b.path("logs/" + name + ".log")) // there may be none
	return data
}
