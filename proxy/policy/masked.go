// SPDX-License-Identifier: Apache-2.0

package policy

import (
	_ "embed" // the table
	"regexp"
	"slices"
	"strings"
)

// The formats of a credential file. Data about a file names one of them.
const (
	FormatINI            = "ini" // also .properties, git's and Python's dialects
	FormatJSON           = "json"
	FormatYAML           = "yaml"
	FormatTOML           = "toml"
	FormatXML            = "xml"
	FormatNetrc          = "netrc"
	FormatNpmrc          = "npmrc"           // ini whose keys may begin with a registry
	FormatGitCredentials = "git-credentials" // one URL a line
	FormatText           = "text"            // the whole file is the credential
)

var maskedFormats = []string{
	FormatINI, FormatJSON, FormatYAML, FormatTOML, FormatXML, FormatNetrc, FormatNpmrc, FormatGitCredentials, FormatText,
}

// The encodings of a credential in a field.
const (
	EncodingBase64 = "base64"
	EncodingBasic  = "basic" // base64 of USER:CREDENTIAL
)

// KnownFile is a place where tools keep credentials: data, in masked.yaml. The
// agent sees a copy, without what it must not see.
type KnownFile struct {
	Path    string // "~/x" or absolute
	Format  string // of a file with Secrets; "" for one that is emptied, and for a folder
	Secrets []FileSecret
	Folder  bool     // only what Keep names is left of it
	Keep    []string // names in the folder; a * stands for anything
}

// FileSecret is a field that holds a credential.
type FileSecret struct {
	// Field is the path of the field, one element a step: a name without regard
	// to case, in which * stands for anything; "**" for any number of steps;
	// "{host}" for a step that names the host the credential is for. The field
	// of FormatText has no steps.
	Field      []string
	Credential string // stands there; or
	Provider   string // that provider's; both "": the one of {host}, if any
	Encoding   string // how it is written; "" as it is
	Part       int    // of a key pair: 1 is the id, 2 the key, 3 the session's token
}

//go:embed masked.yaml
var maskedTable []byte

// KnownFiles returns the built-in table of credential files. It takes some
// milliseconds; [KnownFilePaths] does not.
func KnownFiles() []KnownFile {
	all, err := parseKnownFiles("masked.yaml", maskedTable)
	if err != nil { // the binary itself is broken; a test reads the table
		panic("policy: embedded table: " + err.Error())
	}
	return all
}

// knownPath is how a path stands in the table; a test holds it against the
// parser.
var knownPath = regexp.MustCompile(`(?m)^  - (?:path: )?([~/]\S*)$`)

// KnownFilePaths returns the paths of KnownFiles.
func KnownFilePaths() []string {
	var out []string
	for _, m := range knownPath.FindAllSubmatch(maskedTable, -1) {
		out = append(out, string(m[1]))
	}
	return out
}

// knownFiles is the table as it is read.
type knownFiles struct{ all []KnownFile }

var knownFilesKeys = keys[knownFiles]{
	"files": func(r *reader, n *node, k *knownFiles) error {
		files, err := readSome(r, n, "files", func(r *reader, n *node) (f KnownFile, err error) {
			_, err = readMap(r, n, "files", knownFileKeys, &f)
			return f, err
		})
		k.all = append(k.all, files...)
		return err
	},
	"folders": func(r *reader, n *node, k *knownFiles) error {
		folders, err := readSome(r, n, "folders", func(r *reader, n *node) (KnownFile, error) {
			f := KnownFile{Folder: true}
			if n.kind == isText {
				path, err := r.path(n)
				f.Path = path
				return f, err
			}
			_, err := readMap(r, n, "folders", knownFolderKeys, &f)
			return f, err
		})
		k.all = append(k.all, folders...)
		return err
	},
	"emptied": func(r *reader, n *node, k *knownFiles) error {
		paths, err := readSome(r, n, "emptied", (*reader).path)
		for _, path := range paths {
			k.all = append(k.all, KnownFile{Path: path})
		}
		return err
	},
}

var knownFolderKeys = keys[KnownFile]{
	"path": func(r *reader, n *node, f *KnownFile) (err error) { f.Path, err = r.path(n); return err },
	"keep": func(r *reader, n *node, f *KnownFile) (err error) {
		f.Keep, err = readSome(r, n, "keep", func(r *reader, n *node) (string, error) { return r.str(n, "keep") })
		return err
	},
}

var knownFileKeys = keys[KnownFile]{
	"path": func(r *reader, n *node, f *KnownFile) (err error) { f.Path, err = r.path(n); return err },
	"format": func(r *reader, n *node, f *KnownFile) (err error) {
		f.Format, err = r.choice(n, "format", maskedFormats...)
		return err
	},
	"secrets": func(r *reader, n *node, f *KnownFile) (err error) {
		f.Secrets, err = readSome(r, n, "secrets", (*reader).fileSecret)
		return err
	},
}

var fileSecretKeys = keys[FileSecret]{
	"field": func(r *reader, n *node, s *FileSecret) (err error) { s.Field, err = r.field(n); return err },
	"provider": func(r *reader, n *node, s *FileSecret) (err error) {
		s.Provider, err = r.word(n, "provider")
		return err
	},
	"part": func(r *reader, n *node, s *FileSecret) (err error) {
		s.Part, err = r.integer(n, "part", 1, 3)
		return err
	},
	"encoding": func(r *reader, n *node, s *FileSecret) (err error) {
		s.Encoding, err = r.choice(n, "encoding", EncodingBase64, EncodingBasic)
		return err
	},
}

func (r *reader) fileSecret(n *node) (s FileSecret, err error) {
	if n.kind == isText {
		s.Field, err = r.field(n)
		return s, err
	}
	_, err = readMap(r, n, "secrets", fileSecretKeys, &s)
	return s, err
}

// field reads the path of a field: steps that each begin with a slash, in which
// ~1 is a slash and ~0 a tilde (RFC 6901). "/" is the whole file.
func (r *reader) field(n *node) ([]string, error) {
	text, err := r.str(n, "field")
	if err != nil {
		return nil, err
	}
	steps, ok := ParseField(text)
	if !ok {
		return nil, r.fail(n, "field: want steps that each begin with /, such as /hosts/*/token")
	}
	return steps, nil
}

// ParseField splits the path of a field into its steps.
func ParseField(text string) ([]string, bool) {
	rest, ok := strings.CutPrefix(text, "/")
	if !ok {
		return nil, false
	}
	if rest == "" {
		return []string{}, true
	}
	steps := strings.Split(rest, "/")
	for i, step := range steps {
		steps[i] = strings.NewReplacer("~1", "/", "~0", "~").Replace(step)
	}
	return steps, !slices.Contains(steps, "")
}

func parseKnownFiles(name string, data []byte) ([]KnownFile, error) {
	r := &reader{file: name, data: data}
	root, err := r.tree()
	if err != nil {
		return nil, err
	}
	var table knownFiles
	_, err = readMap(r, root, "", knownFilesKeys, &table)
	return table.all, err
}

// BoundTo reports whether the credential may go to host, a name as it stands
// in some tool's configuration.
func (c *Credential) BoundTo(host string) bool {
	name, err := Canonical(host)
	return err == nil && slices.ContainsFunc(c.Hosts, func(pattern string) bool { return covers(pattern, name) })
}

// keyPrefixes begin the keys of well-known providers.
var keyPrefixes = []string{
	"sk-", "sk_", "rk_live_", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "glpat-", "xoxb-", "xoxp-", "hf_", "gsk_",
	"AKIA", "ASIA", "AIza", "eyJ", "xai-", "npm_", "pypi-", "dckr_pat_", "ya29.", "shpat_", "SG.", "dop_v1_", "vercel_", "r8_",
}

// minKeyLength is the shortest value that is taken for a key.
const minKeyLength = 16

// LooksLikeKey tells whether a text is shaped like a provider's key.
func LooksLikeKey(text string) bool {
	return len(text) >= minKeyLength && slices.ContainsFunc(keyPrefixes, func(p string) bool { return strings.HasPrefix(text, p) })
}

// KeyShapes returns an expression that finds such keys in a text.
func KeyShapes() string {
	var quoted []string
	for _, p := range keyPrefixes {
		if p != "eyJ" { // JSON in base64 is often no more than that; a JWT has dots
			quoted = append(quoted, regexp.QuoteMeta(p))
		}
	}
	return `\b(?:(?:` + strings.Join(quoted, "|") + `)[A-Za-z0-9_.-]{12,}|eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]*)?)`
}
