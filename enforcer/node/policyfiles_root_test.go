// SPDX-License-Identifier: Apache-2.0

//go:build root

package node

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// A ConfigMap is a directory that everybody may write, mounted so that nobody
// can, with files behind two links.
func TestPoliciesOfAConfigMap(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=0777"); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	}()
	inner := filepath.Join(dir, "..2026_11_22")
	err := errors.Join(os.Mkdir(inner, 0o755), os.WriteFile(filepath.Join(inner, "coder.yaml"), []byte(none), 0o444),
		os.Symlink("..2026_11_22", filepath.Join(dir, "..data")), os.Symlink("..data/coder.yaml", filepath.Join(dir, "coder.yaml")))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := readPolicies(dir); !errors.Is(err, errDirMode) {
		t.Errorf("while it can be written: %v", err)
	}
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	all, err := readPolicies(dir)
	if err != nil || len(all) != 2 || all[1].name != "coder" || all[1].err != nil || all[1].file == nil {
		t.Errorf("got %+v, %v", all, err)
	}
}
