// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
)

// layoutOf names what programs must agree on to share maps: sizes, kinds, and the C types of keys and values with the
// names of their fields.
func layoutOf(spec *ebpf.CollectionSpec) (string, error) {
	hash := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(spec.Maps)) {
		if isConstant(name) {
			continue
		}
		if err := describe(hash, spec.Maps[name]); err != nil {
			return "", fmt.Errorf("describe map %s: %w", name, err)
		}
	}
	return hex.EncodeToString(hash.Sum(nil))[:16], nil
}

// isConstant tells a program's own sections (.rodata), which are never pinned.
func isConstant(name string) bool { return strings.HasPrefix(name, ".") }

func describe(to io.Writer, m *ebpf.MapSpec) error {
	fmt.Fprintln(to, m.Name, m.Type, m.KeySize, m.ValueSize, m.MaxEntries, m.Flags)
	for _, t := range []btf.Type{m.Key, m.Value} {
		if t == nil || m.InnerMap != nil {
			continue
		}
		text, err := (&btf.GoFormatter{}).TypeDeclaration("t", t)
		if err != nil {
			return err
		}
		fmt.Fprintln(to, text)
	}
	if m.InnerMap == nil {
		return nil
	}
	return describe(to, m.InnerMap)
}

// pinnedMaps are a node's, by name.
type pinnedMaps map[string]*ebpf.Map

// close gives up these references: a collection holds its own.
func (p pinnedMaps) close() {
	for _, m := range p {
		m.Close()
	}
}

// maps opens the pinned maps of this layout, and makes them first if there are none.
func (n *node) maps(spec *ebpf.CollectionSpec, layout string) (pinnedMaps, error) {
	dir := n.layoutDir(layout)
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		if err := n.makeMaps(spec, dir); err != nil {
			return nil, err
		}
	}
	pinned := pinnedMaps{}
	for name := range spec.Maps {
		if isConstant(name) {
			continue
		}
		m, err := ebpf.LoadPinnedMap(filepath.Join(dir, name), nil)
		if err != nil {
			pinned.close()
			return nil, fmt.Errorf("open map %s: %w", name, err)
		}
		pinned[name] = m
	}
	return pinned, nil
}

func (n *node) layoutDir(layout string) string { return filepath.Join(n.dir, mapsPrefix+layout) }

// makeMaps pins new maps in a place of their own; the rename is the step that makes them the node's.
func (n *node) makeMaps(spec *ebpf.CollectionSpec, dir string) error {
	making := filepath.Join(n.dir, makingDir)
	if err := errors.Join(os.RemoveAll(making), os.Mkdir(making, 0o700)); err != nil {
		return fmt.Errorf("make maps: %w", err)
	}
	for name, m := range spec.Maps {
		if isConstant(name) {
			continue
		}
		if err := pinNewMap(m, filepath.Join(making, name)); err != nil {
			return fmt.Errorf("make map %s: %w", name, err)
		}
	}
	return os.Rename(making, dir)
}

func pinNewMap(spec *ebpf.MapSpec, path string) error {
	m, err := ebpf.NewMap(spec)
	if err != nil {
		return err
	}
	defer m.Close()
	return m.Pin(path)
}

// otherLayouts lists the directories of maps that programs of another build left.
func (n *node) otherLayouts(layout string) (others []string, err error) {
	all, err := filepath.Glob(filepath.Join(n.dir, mapsPrefix+"*"))
	for _, dir := range all {
		if dir != n.layoutDir(layout) {
			others = append(others, dir)
		}
	}
	return others, err
}

// forgetLayouts is the last step: no program looks at the other maps any more.
func (n *node) forgetLayouts(layout string) error {
	others, err := n.otherLayouts(layout)
	for _, dir := range others {
		err = errors.Join(err, os.RemoveAll(dir))
	}
	return err
}

// recover makes the maps whole: what a process before knew is known, and what it had only half stored goes.
func (o *Object) recover(layout string) error {
	if err := o.objects.Ledgers.Update(strangers, &redirectLedger{}, ebpf.UpdateNoExist); err != nil &&
		!errors.Is(err, ebpf.ErrKeyExist) {
		return fmt.Errorf("store ledger: %w", err)
	}
	known, err := o.Sessions()
	if err != nil {
		return err
	}
	for _, cookie := range known {
		o.prefixes[cookie] = nil
	}
	if err := o.recoverPrefixes(); err != nil {
		return err
	}
	if err := o.forgetHalves(); err != nil {
		return err
	}
	return o.closeSessions(layout)
}

// recoverPrefixes collects what has to be deleted with each session.
func (o *Object) recoverPrefixes() error {
	var prefix redirectPrefix
	var value uint32
	var homeless []redirectPrefix
	entries := o.objects.Prefixes.Iterate()
	for entries.Next(&prefix, &value) {
		if _, known := o.prefixes[prefix.Netns]; known {
			o.prefixes[prefix.Netns] = append(o.prefixes[prefix.Netns], prefix)
		} else {
			homeless = append(homeless, prefix)
		}
	}
	err := entries.Err()
	for _, prefix := range homeless {
		err = errors.Join(err, forget(o.objects.Prefixes, &prefix))
	}
	if err != nil {
		return fmt.Errorf("recover prefixes: %w", err)
	}
	return nil
}

// forgetHalves deletes what was stored for a session that was never activated, or already was not any more.
func (o *Object) forgetHalves() error {
	for _, m := range o.perSession() {
		keys, err := keysOf(m)
		if err != nil {
			return err
		}
		for _, key := range keys {
			if _, known := o.prefixes[key]; known || key == strangers {
				continue
			}
			if err := forget(m, key); err != nil {
				return err
			}
		}
	}
	return nil
}

// closeSessions stores each session of another layout without rules, so that its namespace is refused and no stranger.
// The key of sessions is a cookie in every layout.
func (o *Object) closeSessions(layout string) error {
	others, err := o.node.otherLayouts(layout)
	if err != nil {
		return err
	}
	for _, dir := range others {
		if err := o.closeSessionsOf(dir); err != nil {
			return fmt.Errorf("take over sessions of %s: %w", dir, err)
		}
	}
	return nil
}

func (o *Object) closeSessionsOf(dir string) error {
	old, err := ebpf.LoadPinnedMap(filepath.Join(dir, redirectMapSessions), &ebpf.LoadPinOptions{ReadOnly: true})
	if err != nil {
		return err
	}
	defer old.Close()
	cookies, err := keysOf(old)
	if err != nil {
		return err
	}
	for _, cookie := range cookies {
		if _, known := o.prefixes[cookie]; known {
			continue
		}
		if err := o.storeNew(cookie, &redirectSession{}, nil); err != nil {
			return err
		}
	}
	return nil
}
