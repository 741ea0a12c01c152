// SPDX-License-Identifier: Apache-2.0

//go:build containers

package cri

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

// Images: the one that test/setup/install.sh containers makes, and one that
// holds a pod's namespaces open.
const (
	archive = "/var/cache/phantom-ns-test/containers/image.tar"
	image   = "docker.io/library/node:22"
	pause   = "docker.io/library/pause:test"
)

// pauseArchive writes an image of a busybox that sleeps, in Docker's format.
func pauseArchive(t testing.TB) string {
	t.Helper()
	busybox, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Fatalf("install busybox-static: %v", err)
	}
	layer := tarOf(t, map[string][]byte{"busybox": busybox})
	sum := sha256.Sum256(layer)
	config := encode(t, map[string]any{
		"architecture": "amd64", "os": "linux",
		"config": map[string]any{"Entrypoint": []string{"/busybox", "sleep", "1000000"}},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{"sha256:" + hex.EncodeToString(sum[:])}},
	})
	manifest := encode(t, []any{map[string]any{"Config": "config.json", "RepoTags": []string{pause}, "Layers": []string{"layer.tar"}}})
	path := filepath.Join(t.TempDir(), "pause.tar")
	all := tarOf(t, map[string][]byte{"config.json": config, "layer.tar": layer, "manifest.json": manifest})
	if err := os.WriteFile(path, all, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// tarOf is an archive of programs.
func tarOf(t testing.TB, files map[string][]byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for name, data := range files {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(data))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func encode(t testing.TB, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
