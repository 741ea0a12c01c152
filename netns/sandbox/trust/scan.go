// SPDX-License-Identifier: Apache-2.0

package trust

import (
	"io/fs"
	"path"
	"slices"
	"strings"
)

// The bounds of a scan. A developer's machine with eleven Pythons, three conda trees and four
// JDKs reads about 60 directories and covers about 40 files.
const (
	maxDirectories = 512  // read to match a "*", over the whole scan
	maxNames       = 2048 // read from one directory; the rest is not looked at
	maxTargets     = 256  // each is one mount in the namespace
)

// A scan finds targets for a plan.
type scan struct {
	tree        *tree
	plan        *Plan
	directories int // still to spend
}

// system finds the stores whose paths are fixed.
func (s *scan) system() {
	for _, name := range hashedDirectories {
		s.directory(name, hashedKind)
	}
	for _, name := range anchorDirectories {
		s.directory(name, anchorKind)
	}
	for _, name := range bundles {
		s.bundle(name)
	}
	for _, name := range looseBundles {
		s.bundle(name)
	}
}

func (s *scan) directory(name string, k kind) {
	n, err := s.tree.open(name)
	if err != nil {
		s.plan.skip(name, err)
		return
	}
	defer n.release()
	if err := n.directory(); err != nil {
		s.plan.skip(name, err)
		return
	}
	s.plan.add(n, name, k, nil)
}

func (s *scan) bundle(name string) {
	n, err := s.tree.open(name)
	if err != nil {
		s.plan.skip(name, err)
		return
	}
	defer n.release()
	if err := n.regular(); err != nil {
		s.plan.skip(name, err)
		return
	}
	if !s.room() {
		return
	}
	s.plan.add(n, name, bundleKind, nil)
}

func (s *scan) room() bool {
	if len(s.plan.targets) < maxTargets {
		return true
	}
	s.plan.warn("the first %d trust stores are covered, the others are not", maxTargets)
	return false
}

// python finds the bundles that packages bring.
func (s *scan) python() {
	for _, library := range systemLibraries {
		s.each(library, nil, s.library)
	}
	for _, prefix := range pythonPrefixes {
		s.each(prefix, []string{"lib", condaBundle}, s.prefix)
	}
}

// prefix looks into one sys.prefix.
func (s *scan) prefix(dir string) {
	for _, name := range s.having(dir, "lib", condaBundle) {
		if name == condaBundle {
			s.bundle(path.Join(dir, condaBundle))
			continue
		}
		s.expand(dir, prefixLibrary, nil, s.library)
	}
}

// library looks into one site-packages.
func (s *scan) library(dir string) {
	for _, name := range s.having(dir, packageBundles...) {
		s.bundle(path.Join(dir, name))
	}
}

// having returns which names may exist below a directory.
func (s *scan) having(dir string, names ...string) []string {
	n, err := s.tree.open(dir)
	if err != nil {
		s.plan.skip(dir, err)
		return nil
	}
	defer n.release()
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool { return !n.has(name) })
}

// each calls visit for every path a pattern of paths.go stands for; see expand.
func (s *scan) each(pattern string, probes []string, visit func(string)) {
	if dir, rest, ok := s.plan.base(pattern); ok {
		s.expand(dir, rest, probes, visit)
	}
}

// expand calls visit for every path below dir, which is literal, that matches pattern. Of what
// a final "*" matches only the names that have one of the probes below them are visited: a
// working directory may hold thousands, and a probe costs a single system call.
func (s *scan) expand(dir, pattern string, probes []string, visit func(string)) {
	literal, glob, rest := cutGlob(pattern)
	dir = path.Join(dir, literal)
	if glob == "" {
		visit(dir)
		return
	}
	if below, _, _ := cutGlob(rest); below != "" {
		probes = []string{below}
	}
	for _, name := range s.match(dir, glob, probes) {
		s.expand(path.Join(dir, name), rest, probes, visit)
	}
}

// cutGlob splits a pattern around its first component with a "*".
func cutGlob(pattern string) (literal, glob, rest string) {
	parts := strings.Split(pattern, "/")
	at := slices.IndexFunc(parts, func(part string) bool { return strings.Contains(part, "*") })
	if at < 0 {
		return pattern, "", ""
	}
	return strings.Join(parts[:at], "/"), parts[at], strings.Join(parts[at+1:], "/")
}

// match returns, sorted, the names in dir that match glob and may have a probe below them.
func (s *scan) match(dir, glob string, probes []string) []string {
	n, err := s.tree.open(dir)
	if err != nil {
		s.plan.skip(dir, err)
		return nil
	}
	defer n.release()
	if s.directories--; s.directories < 0 {
		s.plan.warn("the search for trust stores ended after %d directories", maxDirectories)
		return nil
	}
	list, more, err := n.entries(maxNames)
	if err != nil {
		s.plan.skip(dir, err)
		return nil
	}
	if more {
		s.plan.warn("search for trust stores in %q: only %d names were looked at", cut(dir), maxNames)
	}
	return n.fitting(list, glob, probes)
}

func (n *node) fitting(list []fs.DirEntry, glob string, probes []string) []string {
	var names []string
	for _, entry := range list {
		if ok, _ := path.Match(glob, entry.Name()); !ok || !n.enterable(entry) {
			continue
		}
		found := func(probe string) bool { return n.has(path.Join(entry.Name(), probe)) }
		if len(probes) == 0 || slices.ContainsFunc(probes, found) {
			names = append(names, entry.Name())
		}
	}
	slices.Sort(names)
	return names
}

// enterable leaves out files, and links wherever they would be refused: a working directory
// may hold many, and no pattern asked for them by name.
func (n *node) enterable(entry fs.DirEntry) bool {
	switch entry.Type() {
	case fs.ModeDir:
		return true
	case fs.ModeSymlink:
		return n.trusted
	default:
		return false
	}
}
