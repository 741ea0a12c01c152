// SPDX-License-Identifier: Apache-2.0

package secret

import (
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"unicode/utf8"
)

// Kind is where a reference leads.
type Kind string

// The kinds of references: the word before the colon.
const (
	KindStore         Kind = "store"
	KindFile          Kind = "file"
	KindEnv           Kind = "env"
	KindExec          Kind = "exec"
	KindSecretService Kind = "secret-service"
	KindKeyring       Kind = "keyring"
	KindSystemd       Kind = "systemd"
)

// ErrUnsupported is answered by [Fetch] for a kind that parses but that this
// build cannot fetch.
var ErrUnsupported = errors.New("not supported by this build")

// maxRef limits a reference, in bytes.
const maxRef = 4096

// Ref names a credential's source. It holds nothing secret. The zero Ref is
// not valid: references come from [ParseRef].
type Ref struct {
	text string
	kind Kind
	// args: store, env: the name; file: the path; exec: argv; secret-service:
	// service, account; keyring, systemd: what follows the colon.
	args []string
}

// Kind is the word before the colon.
func (r Ref) Kind() Kind { return r.kind }

// Name is the name of a store: or env: reference, the path of a file: or exec:
// one, else what follows the colon.
func (r Ref) Name() string {
	switch r.kind {
	case KindStore, KindEnv, KindFile, KindExec:
		return r.args[0]
	}
	_, rest, _ := strings.Cut(r.text, ":")
	return rest
}

// AsUser tells whether the helper for this reference must run with the
// invoker's credentials, never as root. A file: reference of a user's own
// policy must too; that the reference alone cannot tell.
func (r Ref) AsUser() bool {
	return r.kind == KindExec || r.kind == KindSecretService || r.kind == KindKeyring
}

// String is the text that was parsed.
func (r Ref) String() string { return r.text }

// MarshalText is the text that was parsed.
func (r Ref) MarshalText() ([]byte, error) { return []byte(r.text), nil }

// UnmarshalText parses text as ParseRef does.
func (r *Ref) UnmarshalText(text []byte) (err error) {
	*r, err = ParseRef(string(text))
	return err
}

// Compiled at the first use: four processes of every session start with this
// package, and most never see a reference (1 ms each, measured).
var (
	storeName = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,62}$`) })
	envName   = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,254}$`) })
)

// ParseRef reads one of
//
//	store:NAME                        NAME as [a-z0-9][a-z0-9._-]{0,62}
//	file:/abs                         a clean absolute path
//	env:NAME
//	exec:/abs ARG…                    blanks separate; '…' and "…" hold them together, without escapes
//	secret-service:SERVICE/ACCOUNT    the last slash separates
//	keyring:TYPE/DESC
//	systemd:NAME
//
// Nothing outside these forms passes, control characters least of all. The
// error does not quote text: a credential may have been pasted in its place.
func ParseRef(text string) (Ref, error) {
	kind, rest, found := strings.Cut(text, ":")
	r := Ref{text: text, kind: Kind(kind)}
	err := errors.New("no kind in front, as in store:NAME")
	switch {
	case len(text) > maxRef:
		err = fmt.Errorf("longer than %d bytes", maxRef)
	case !utf8.ValidString(text) || strings.ContainsFunc(text, isControl):
		err = errors.New("a control character or not UTF-8")
	case found:
		r.args, err = parseArgs(r.kind, rest)
	}
	if err != nil {
		return Ref{}, fmt.Errorf("parse credential reference: %w", err)
	}
	return r, nil
}

func parseArgs(kind Kind, rest string) ([]string, error) {
	switch kind {
	case KindStore, KindSystemd:
		if !storeName().MatchString(rest) {
			return nil, errors.New("store: and systemd: want a name of a-z 0-9 . _ - with at most 63 letters")
		}
		return []string{rest}, nil
	case KindEnv:
		if !envName().MatchString(rest) {
			return nil, errors.New("env: wants the name of an environment variable")
		}
		return []string{rest}, nil
	case KindFile:
		return []string{rest}, checkPath(rest)
	case KindExec:
		return parseExec(rest)
	case KindSecretService:
		return parsePair(rest)
	case KindKeyring:
		return parseKey(rest)
	}
	return nil, errors.New("unknown kind")
}

func checkPath(path string) error {
	if !filepath.IsAbs(path) || filepath.Clean(path) != path || path == "/" {
		return errors.New("file: and exec: want an absolute path without . or .. or doubled slashes")
	}
	return nil
}

func parseExec(rest string) ([]string, error) {
	args, err := splitWords(rest)
	if err != nil {
		return nil, err
	}
	if len(args) == 0 {
		return nil, errors.New("exec: names no program")
	}
	return args, checkPath(args[0])
}

func parsePair(rest string) ([]string, error) {
	at := strings.LastIndexByte(rest, '/')
	if at <= 0 || at == len(rest)-1 {
		return nil, errors.New("two parts wanted around a slash, as in secret-service:SERVICE/ACCOUNT")
	}
	return []string{rest[:at], rest[at+1:]}, nil
}

// parseKey takes types of keys whose payload can be read, keyrings(7).
func parseKey(rest string) ([]string, error) {
	kind, description, _ := strings.Cut(rest, "/")
	if kind != "user" && kind != "big_key" || description == "" {
		return nil, errors.New("keyring: wants user/DESCRIPTION or big_key/DESCRIPTION")
	}
	return []string{kind, description}, nil
}

// splitWords cuts text at blanks outside quotes. There is no shell and no
// escape: a backslash outside quotes is refused rather than guessed at.
func splitWords(text string) ([]string, error) {
	var words []string
	var word strings.Builder
	var quote rune
	inside := false
	for _, c := range text {
		switch {
		case quote != 0 && c == quote:
			quote = 0
		case quote != 0:
			word.WriteRune(c)
		case c == '\'' || c == '"':
			quote, inside = c, true
		case c == '\\':
			return nil, errors.New("a backslash outside quotes")
		case c == ' ' && inside:
			words = append(words, word.String())
			word.Reset()
			inside = false
		case c != ' ':
			word.WriteRune(c)
			inside = true
		}
	}
	if quote != 0 {
		return nil, errors.New("an open quote")
	}
	if inside {
		words = append(words, word.String())
	}
	return words, nil
}
