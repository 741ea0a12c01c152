// SPDX-License-Identifier: Apache-2.0

//go:build containers

package cri

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/phantom-ns/phantom-ns/test/rig"
)

// buildNode builds the image by its Dockerfile. What that begins with is made
// here: this machine's Go, roots and modules, as the registry's image has them.
func (b *bed) buildNode() (archive string) {
	b.t.Helper()
	root, err := rig.Root()
	if err != nil {
		b.t.Fatal(err)
	}
	env := goEnv(b.t)
	base := b.base()
	podman := []string{"podman", "--root", b.path("store"), "--runroot", b.path("storerun"), "--tmpdir", b.path("tmp"), "--storage-driver", "vfs"}
	b.run(append(podman, "import", "--quiet", "--change", "ENV PATH=/usr/local/go/bin:/bin", "--change", "ENV GOPATH=/go", "--change", "ENV GOTOOLCHAIN=local",
		"--change", "ENV GOPROXY=off", "--change", "ENV HOME=/root", base, "docker.io/library/golang:1.26-bookworm")...)
	b.run(append(podman, "build", "--quiet", "--isolation", "chroot", "--layers=false", "--pull=never", "--tag", nodeImage,
		"--volume", env["GOROOT"]+":/usr/local/go:ro", "--volume", env["GOMODCACHE"]+":/go/pkg/mod", "--volume", env["GOCACHE"]+":/root/.cache/go-build",
		"--file", filepath.Join(root, "packaging/kubernetes/Dockerfile"), root)...)
	archive = b.path("node.tar")
	b.run(append(podman, "save", "--quiet", "--format", "docker-archive", "-o", archive, nodeImage)...)
	return archive
}

// base is a root filesystem of a shell and the roots of authorities.
func (b *bed) base() string {
	b.t.Helper()
	files := map[string][]byte{"tmp/.keep": nil} // Go wants the folder
	for name, from := range map[string]string{"bin/sh": "/bin/busybox", "etc/ssl/certs/ca-certificates.crt": "/etc/ssl/certs/ca-certificates.crt"} {
		data, err := os.ReadFile(from)
		if err != nil {
			b.t.Fatal(err)
		}
		files[name] = data
	}
	b.write("base.tar", string(tarOf(b.t, files)))
	return b.path("base.tar")
}

func goEnv(t testing.TB) map[string]string {
	t.Helper()
	out, err := exec.Command("go", "env", "-json", "GOROOT", "GOMODCACHE", "GOCACHE").Output()
	if err != nil {
		t.Fatal(err)
	}
	var env map[string]string
	if err := json.Unmarshal(out, &env); err != nil {
		t.Fatal(err)
	}
	return env
}
