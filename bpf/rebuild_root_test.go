// SPDX-License-Identifier: Apache-2.0

//go:build root

package bpf

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestRebuild regenerates every object and its Go elsewhere, and compares bytes: what is committed is what the C says,
// and does not depend on the folder. It needs the toolchain of generate.go.
func TestRebuild(t *testing.T) {
	module, err := filepath.Abs("..")
	require(t, err)
	copyDir := filepath.Join(t.TempDir(), "elsewhere", "bpf")
	require(t, os.MkdirAll(copyDir, 0o755))
	sources, err := filepath.Glob("*")
	require(t, err)
	for _, name := range sources {
		if !isGenerated(name) {
			copyFile(t, name, filepath.Join(copyDir, name))
		}
	}
	for _, name := range []string{"go.mod", "go.sum"} {
		copyFile(t, filepath.Join(module, name), filepath.Join(copyDir, "..", name))
	}
	cmd := exec.Command("go", "generate", ".")
	cmd.Dir = copyDir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("generate: %v\n%s", err, out)
	}
	compared := 0
	for _, name := range sources {
		if isGenerated(name) {
			compareFiles(t, name, filepath.Join(copyDir, name))
			compared++
		}
	}
	if want := 2 * 7; compared != want { // six objects and the tests' one, each with its Go
		t.Errorf("compared %d files, want %d", compared, want)
	}
}

func isGenerated(name string) bool { return strings.Contains(name, "_bpfel") }

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	data, err := os.ReadFile(from)
	require(t, err)
	require(t, os.WriteFile(to, data, fs.FileMode(0o644)))
}

func compareFiles(t *testing.T, committed, rebuilt string) {
	t.Helper()
	want, err := os.ReadFile(committed)
	require(t, err)
	got, err := os.ReadFile(rebuilt)
	require(t, err)
	if !bytes.Equal(got, want) {
		t.Errorf("%s: %d bytes rebuilt differ from the %d committed", committed, len(got), len(want))
	}
}
