// SPDX-License-Identifier: Apache-2.0

package trust

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"path"
	"strings"
)

// Where the session's trust lies inside the namespace. Apply writes both files at the top of
// its staging directory, which is therefore Dir itself or gets bound there.
const (
	Dir        = "/run/phantom-ns"
	CAPath     = Dir + "/ca.pem"     // the session CA alone, for clients that add it to their own roots
	BundlePath = Dir + "/bundle.pem" // the host's roots and the session CA, for clients that replace theirs
)

// Options says whose namespace it is and what must be trusted there.
type Options struct {
	SystemRoots []byte   // PEM, as SystemRoots returned it; empty on a host without roots
	CA          []byte   // PEM, exactly one certificate
	Home        string   // the user's home, absolute; empty when there is none
	Dir         string   // the user's working directory, absolute; empty when there is none
	Env         []string // the agent's environment: VIRTUAL_ENV, CONDA_PREFIX and JAVA_HOME are read
	UID         int      // the agent; never 0, for which no place would be out of the user's reach
	Root        string   // where the namespace's root is mounted; "/" when empty

	owner uint32 // who counts as root: tests without root put themselves here
}

// Plan is what Apply will cover. It holds no descriptor and may be dropped.
type Plan struct {
	// Warnings name targets that exist and stay uncovered, and bounds that were reached.
	// Apply appends to them. Paths in it are quoted and cut: they may be the user's.
	Warnings []string

	options Options
	ca      *x509.Certificate
	targets []target
	seen    map[string]bool // resolved paths of targets, and the warnings given
}

// A kind is the form a cover takes.
type kind int

// Directories come first: a bundle or a store may lie inside one.
const (
	hashedKind kind = iota // a directory that OpenSSL searches by subject hash
	anchorKind             // a directory every file of which p11-kit reads
	bundleKind             // a file of concatenated PEM
	javaKind               // a Java key store
)

// A target is one existing file or directory to cover.
type target struct {
	path   string
	kind   kind
	system bool   // reached through places of root's alone: failing to cover it is an error
	store  []byte // the cover of a Java store
}

// Build finds what there is to cover. It only reads.
func Build(o Options) (*Plan, error) {
	p, err := newPlan(o)
	if err != nil {
		return nil, err
	}
	t, err := openTree(p.options.Root, p.options.owner)
	if err != nil {
		return nil, err
	}
	defer t.close()
	s := &scan{tree: t, plan: p, directories: maxDirectories}
	s.system()
	s.java()
	s.python()
	return p, nil
}

func newPlan(o Options) (*Plan, error) {
	if o.UID <= 0 {
		return nil, fmt.Errorf("plan trust: uid %d: the agent must be an ordinary user", o.UID)
	}
	ca, err := parseCA(o.CA)
	if err != nil {
		return nil, fmt.Errorf("plan trust: %w", err)
	}
	if o.Root == "" {
		o.Root = "/"
	}
	return &Plan{options: o, ca: ca, seen: map[string]bool{}}, nil
}

func parseCA(data []byte) (*x509.Certificate, error) {
	block, rest := pem.Decode(data)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, errors.New("read session CA: no PEM certificate")
	}
	if next, _ := pem.Decode(rest); next != nil {
		return nil, errors.New("read session CA: more than one PEM block")
	}
	ca, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("read session CA: %w", err)
	}
	return ca, nil
}

// bundle is the merged file: the host's roots first, so that what reads only the
// beginning of a file sees what it always saw.
func (p *Plan) bundle() []byte {
	roots := p.options.SystemRoots
	merged := make([]byte, 0, len(roots)+1+len(p.options.CA))
	merged = append(merged, roots...)
	if len(roots) > 0 && roots[len(roots)-1] != '\n' {
		merged = append(merged, '\n')
	}
	return append(merged, p.options.CA...)
}

// add records a target once, by the path it has after its links.
func (p *Plan) add(n *node, named string, k kind, store []byte) {
	if p.seen[n.path] {
		return
	}
	p.seen[n.path] = true
	p.targets = append(p.targets, target{path: named, kind: k, system: n.trusted, store: store})
}

// maxWarnings bounds what a directory full of planted links can make the user read.
const maxWarnings = 32

func (p *Plan) warn(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if p.seen["warning "+text] || len(p.Warnings) > maxWarnings {
		return
	}
	p.seen["warning "+text] = true
	if len(p.Warnings) == maxWarnings {
		text = "further warnings about trust are not shown"
	}
	p.Warnings = append(p.Warnings, text)
}

// skip warns that an existing path stays as it is. What does not exist is no news.
func (p *Plan) skip(name string, err error) {
	if missing(err) {
		return
	}
	var r *refusal
	if errors.As(err, &r) {
		p.warn("skip %q: %s", cut(r.path), r.why)
		return
	}
	p.warn("skip %q: %v", cut(name), err)
}

// cut shortens a path that may be hostile, keeping its end, which says what it is.
func cut(name string) string {
	const most = 200
	if len(name) <= most {
		return name
	}
	return "…" + name[len(name)-most:]
}

// base returns the literal directory a pattern starts from and the rest of the pattern.
// "~/" is the user's home, "./" the working directory, "$NAME/" a variable.
func (p *Plan) base(pattern string) (dir, rest string, ok bool) {
	head, rest, _ := strings.Cut(pattern, "/")
	switch {
	case head == "":
		return "/", rest, true
	case head == "~":
		dir = p.options.Home
	case head == ".":
		dir = p.options.Dir
	case strings.HasPrefix(head, "$"):
		dir = lookup(p.options.Env, head[1:])
	}
	dir = path.Clean(dir)
	if !path.IsAbs(dir) || dir == "/" { // what the root holds has patterns of its own
		return "", "", false
	}
	return dir, rest, true
}

func lookup(env []string, name string) string {
	for _, entry := range env {
		if key, value, _ := strings.Cut(entry, "="); key == name {
			return value
		}
	}
	return ""
}
