// SPDX-License-Identifier: Apache-2.0

package rig

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// Binary returns the path of phantom-ns, built from this source tree as a
// release is: no cgo, Go's own resolver and user database. Built once a
// process; test processes that run at the same time share the file.
func Binary(t testing.TB) string { return program(t, phantomNS) }

// Plugin returns the path of phantom-cni, built as Binary is and beside it.
func Plugin(t testing.TB) string { return program(t, phantomCNI) }

var (
	phantomNS  = sync.OnceValues(func() (string, error) { return build("phantom-ns") })
	phantomCNI = sync.OnceValues(func() (string, error) { return build("phantom-cni") })
)

func program(t testing.TB, built func() (string, error)) string {
	t.Helper()
	path, err := built()
	if err != nil {
		t.Fatalf("rig: %v", err)
	}
	return path
}

func build(name string) (string, error) {
	root, err := Root()
	if err != nil {
		return "", err
	}
	path := filepath.Join(root, "build", "rig", name)
	unlock, err := lock(path + ".lock")
	if err != nil {
		return "", err
	}
	defer unlock()
	return path, GoBuild(path, "./cmd/"+name)
}

// GoBuild compiles a package of this module into a static program. A relative
// package path begins at the module's root.
func GoBuild(output, pkg string) error {
	root, err := Root()
	if err != nil {
		return err
	}
	cmd := exec.Command("go", "build", "-trimpath", "-tags", "netgo,osusergo", "-o", output, pkg)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w\n%s", pkg, err, out)
	}
	return nil
}

// Root is the directory of this module's go.mod, above the working directory.
// Tests that depend on more than the product may are modules of their own, in
// directories of it.
func Root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		mod, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && bytes.HasPrefix(mod, []byte("module github.com/phantom-ns/phantom-ns\n")) {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("find go.mod: not inside the source tree")
		}
		dir = parent
	}
}

// lock takes an exclusive lock that ends with the process at the latest.
func lock(path string) (unlock func(), err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return func() { f.Close() }, nil
}
