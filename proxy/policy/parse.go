// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"path"
	"strings"
)

// rootKeys are the keys of a policy.
var rootKeys = keys[File]{
	"version": func(r *reader, n *node, _ *File) error {
		_, err := r.integer(n, "version", 1, 1)
		return err
	},
	"profile": func(r *reader, n *node, f *File) (err error) {
		f.Profile, err = r.profileName(n)
		return err
	},
	"telemetry": func(r *reader, n *node, f *File) error {
		text, err := r.choice(n, "telemetry", "deny", "allow")
		f.Telemetry = text == "allow"
		return err
	},
	"credentials": readCredentials,
	"egress":      readEgressList,
	"hosts":       readHosts,
	"upstream":    readUpstream,
	"forward":     readForward,
	"publish":     readPublish,
	"filesystem": func(r *reader, n *node, f *File) error {
		_, err := readMap(r, n, "filesystem", filesystemKeys, &f.Filesystem)
		return err
	},
	"permit": readPermit,
	"limits": func(r *reader, n *node, f *File) error {
		_, err := readMap(r, n, "limits", limitKeys, &f.Limits)
		return err
	},
	"audit": func(r *reader, n *node, f *File) error {
		_, err := readMap(r, n, "audit", auditKeys, f)
		return err
	},
	"strict": func(r *reader, n *node, f *File) error {
		_, err := readMap(r, n, "strict", strictKeys, f)
		return err
	},
}

var upstreamKeys = keys[Upstream]{
	"proxy": readProxy,
	"user": func(r *reader, n *node, u *Upstream) (err error) {
		u.User, err = r.proxyUser(n)
		return err
	},
	"password": func(r *reader, n *node, u *Upstream) (err error) {
		u.From, err = r.source(n, "upstream.password")
		return err
	},
	"networks": func(r *reader, n *node, u *Upstream) (err error) {
		u.Networks, err = readList(r, n, "upstream.networks", (*reader).network)
		return err
	},
}

var filesystemKeys = keys[Filesystem]{
	"home": func(r *reader, n *node, f *Filesystem) (err error) {
		f.Home, err = r.choice(n, "filesystem.home", "overlay", "read-only")
		return err
	},
	"write": func(r *reader, n *node, f *Filesystem) (err error) {
		f.Write, err = readList(r, n, "filesystem.write", (*reader).path)
		return err
	},
	"hide": func(r *reader, n *node, f *Filesystem) (err error) {
		f.Hide, err = readList(r, n, "filesystem.hide", (*reader).path)
		return err
	},
	"expose": func(r *reader, n *node, f *Filesystem) (err error) {
		f.Expose, err = readList(r, n, "filesystem.expose", (*reader).path)
		return err
	},
}

// The bounds of limits keep a slip of the pen from exhausting the host: memory
// of a session is at worst connections × streams × header_bytes.
var limitKeys = keys[Limits]{
	"connections": func(r *reader, n *node, l *Limits) (err error) {
		l.Connections, err = r.integer(n, "limits.connections", 1, 65536)
		return err
	},
	"streams": func(r *reader, n *node, l *Limits) (err error) {
		l.Streams, err = r.integer(n, "limits.streams", 1, 10000)
		return err
	},
	"header_bytes": func(r *reader, n *node, l *Limits) (err error) {
		l.HeaderBytes, err = r.integer(n, "limits.header_bytes", 4096, 1<<20)
		return err
	},
}

var auditKeys = keys[File]{
	"full": func(r *reader, n *node, f *File) (err error) {
		f.AuditFull, err = r.choice(n, "audit.full", AuditBlock, AuditDrop)
		return err
	},
}

var strictKeys = keys[File]{
	"key_at_rest": func(r *reader, n *node, f *File) (err error) {
		f.KeyAtRest, err = r.choice(n, "strict.key_at_rest", "warn", "refuse")
		return err
	},
}

// Parse reads a policy. file names it in errors and in the provenance of rules;
// nothing is opened. Every error is a [*ParseError].
func Parse(file string, data []byte) (*File, error) {
	r := &reader{file: file, data: data, unsupported: unsupported}
	return r.policy()
}

func (r *reader) policy() (*File, error) {
	root, err := r.tree()
	if err != nil {
		return nil, err
	}
	f := defaults()
	f.Name, f.given = r.file, make(map[string]string)
	given, err := readMap(r, root, "", rootKeys, f)
	if err != nil {
		return nil, err
	}
	for _, e := range root.entries {
		f.given[e.key.text] = r.rule(e.key)
	}
	if given["version"] == nil {
		return nil, r.fail(root, "version: missing; a policy begins with version: 1")
	}
	return f, nil
}

func readPermit(r *reader, n *node, f *File) (err error) {
	f.Permit, err = readList(r, n, "permit", func(r *reader, n *node) (string, error) {
		return r.choice(n, "permit", "nested_sandbox", "ptrace", "io_uring")
	})
	return err
}

// path reads ".", a path below it, one below the home ("~/x") or an absolute
// one, in its shortest spelling.
func (r *reader) path(n *node) (string, error) {
	text, err := r.str(n, "path")
	if err != nil {
		return "", err
	}
	clean := path.Clean(text)
	short := text == clean || text == "./"+clean || text == clean+"/"
	if !short || clean == "/" || clean == "~" || clean == ".." || strings.HasPrefix(clean, "../") || strings.HasPrefix(clean, "~/..") {
		return "", r.fail(n, "path: want ., ~/x, /x or x, without .. and without doubled slashes")
	}
	if strings.HasPrefix(clean, "~") && !strings.HasPrefix(clean, "~/") {
		return "", r.fail(n, "path: only the session's own home is known, as ~/")
	}
	return clean, nil
}

func (r *reader) profileName(n *node) (string, error) {
	name, err := r.word(n, "profile")
	if err == nil && name != NoProfile {
		if _, known := ProfileNamed(name); !known {
			err = r.fail(n, "profile: unknown; known: %s", profileNames())
		}
	}
	return name, err
}

// word reads a name of ours: of a credential, a provider, a profile.
func (r *reader) word(n *node, where string) (string, error) {
	text, err := r.str(n, where)
	if err == nil && !isWord(text) {
		err = r.fail(n, "%s: want a name of letters, digits and . _ - that begins with a letter or digit, at most 63", where)
	}
	return text, err
}

func isWord(text string) bool {
	if text == "" || len(text) > 63 || strings.ContainsRune("._-", rune(text[0])) {
		return false
	}
	return strings.Trim(text, alphabets["base62"]+"._-") == ""
}
