// SPDX-License-Identifier: Apache-2.0

package cdi

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/phantom-ns/phantom-ns/netns/sandbox/trust"
)

// specFile is ours among those of SpecDir.
const specFile = "phantom-ns.json"

func (l Layout) specs() string  { return cmp.Or(l.Specs, SpecDir) }
func (l Layout) shared() string { return cmp.Or(l.Shared, SharedDir) }

// Write makes folders and devices say what policies say, and nothing of any
// other policy. One process of a node calls it, one call at a time. A device
// appears after its files and goes before them; an error leaves what was there
// for the policies that came after it.
func (l Layout) Write(policies []Policy) error {
	if err := check(policies); err != nil {
		return fmt.Errorf("write CDI: %w", err)
	}
	roots, _, err := trust.SystemRoots(l.Root)
	if err != nil && !errors.Is(err, trust.ErrNoRoots) {
		return fmt.Errorf("write CDI: %w", err)
	}
	for _, p := range policies {
		if err := l.writeShared(p, roots); err != nil {
			return fmt.Errorf("write CDI: policy %s: %w", p.Name, err)
		}
	}
	if err := l.writeSpec(policies); err != nil {
		return fmt.Errorf("write CDI: %w", err)
	}
	if err := l.removeOthers(policies); err != nil {
		return fmt.Errorf("write CDI: %w", err)
	}
	return nil
}

func check(policies []Policy) error {
	seen := map[string]bool{}
	for _, p := range policies {
		if err := p.Check(); err != nil {
			return err
		}
		if seen[p.Name] {
			return fmt.Errorf("policy %s is there twice", p.Name)
		}
		seen[p.Name] = true
	}
	return nil
}

func (l Layout) writeShared(p Policy, roots []byte) error {
	files, err := trust.NewFiles(roots, p.CA)
	if err != nil {
		return err
	}
	folder := filepath.Join(l.shared(), p.Name)
	for _, path := range []string{l.shared(), folder} {
		if err := makeFolder(path); err != nil {
			return err
		}
	}
	for _, f := range []struct {
		name string
		data []byte
	}{
		{caFile, files.CA}, {bundleFile, files.Bundle}, {javaFile, files.Java}, {resolvFile, []byte(resolvConf)},
		{envFile, p.envFile()},
	} {
		if err := replace(folder, f.name, f.data); err != nil {
			return err
		}
	}
	return nil
}

// writeSpec activates the devices. Without policies there is no file: a
// specification must have a device.
func (l Layout) writeSpec(policies []Policy) error {
	if len(policies) == 0 {
		err := os.Remove(filepath.Join(l.specs(), specFile))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("remove specification: %w", err)
		}
		return nil
	}
	data, err := l.specification(policies)
	if err != nil {
		return err
	}
	if err := makeFolder(l.specs()); err != nil {
		return err
	}
	return replace(l.specs(), specFile, data)
}

// removeOthers sweeps the folders of policies that are gone. The folder of
// folders is ours alone.
func (l Layout) removeOthers(policies []Policy) error {
	entries, err := os.ReadDir(l.shared())
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("list folders: %w", err)
	}
	for _, e := range entries {
		if slices.ContainsFunc(policies, func(p Policy) bool { return p.Name == e.Name() }) {
			continue
		}
		if err := os.RemoveAll(filepath.Join(l.shared(), e.Name())); err != nil {
			return fmt.Errorf("remove folder: %w", err)
		}
	}
	return nil
}

// makeFolder makes a folder that everybody may read. What is there keeps its
// mode, and what has to be made above it is closed: /var/lib/phantom-ns is the
// store's, which nobody else may pass. Runtimes mount as root.
func makeFolder(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	err := os.Mkdir(path, 0o755)
	if errors.Is(err, os.ErrExist) {
		return nil
	}
	if err == nil {
		err = os.Chmod(path, 0o755) // the umask is the caller's
	}
	if err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	return nil
}

// replace puts a file for everybody to read in the place of another one, unless
// it says the same. The name it begins with is one that no runtime reads.
func replace(folder, name string, data []byte) error {
	path := filepath.Join(folder, name)
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, data) {
		return nil
	}
	temp := filepath.Join(folder, "."+name+".new")
	// What stands there is a crash's, or a container's: crun makes the place of a
	// mount that is inside of ours, by a link of the image, before ours is read-only.
	if err := os.RemoveAll(temp); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	_, err = f.Write(data)
	// The umask is the caller's.
	err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(temp, path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", name, err), os.Remove(temp))
	}
	return nil
}
