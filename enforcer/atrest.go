// SPDX-License-Identifier: Apache-2.0

package enforcer

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/phantom-ns/phantom-ns/proxy/audit"
	"github.com/phantom-ns/phantom-ns/proxy/policy"
	"github.com/phantom-ns/phantom-ns/proxy/secret"
)

// ErrKeyAtRest ends a start where `strict: {key_at_rest: refuse}` asks for it.
var ErrKeyAtRest = errors.New("a real credential lies where the agent can read it")

// Bounds of the search. It goes on beside the rest of the start, which waits
// for it no longer than this.
const (
	atRestDeadline = 2 * time.Second
	maxAtRestFiles = 240     // one message carries 253 descriptors
	maxAtRestBytes = 4 << 20 // of one file
	maxAtRestTotal = 32 << 20
)

// The supervisor opens the files with the agent's rights and the proxy, which
// alone knows what to look for, reads them. They speak over a pair of their
// own, beside the start's:
//
//	supervisor                  proxy
//	   ├─ look + fds ─────────────▶│ searches
//	   │◀──────────────────── found│
const (
	msgLook  = "look"
	msgFound = "found"
)

// finding is a credential in a file: both by their place in the lists that both
// sides have.
type finding struct {
	File       int    `json:"file"`
	Line       int    `json:"line"`
	Credential string `json:"credential"`
}

// atRest is what the search found, by the names of files.
type atRest struct {
	files    []string
	findings []finding
	partly   bool // not everything was looked at
	err      error
}

// lookAtRest starts the search on the supervisor's side. Nil: there is nothing
// to look for.
func (s *Session) lookAtRest(spec *policy.Session, with *control) {
	if with == nil {
		return
	}
	done := make(chan atRest, 1)
	s.atRest = done
	patterns := s.atRestPatterns(spec)
	asked := asUser(s.config.User, func() {
		files, more := openAtRest(patterns)
		defer closeAll(files)
		found := atRest{partly: more}
		var fds []int
		for _, f := range files {
			found.files = append(found.files, f.Name())
			fd, err := Descriptor(f)
			found.err = errors.Join(found.err, err)
			fds = append(fds, fd)
		}
		if found.err == nil {
			found.err = with.send(message{Kind: msgLook}, fds...)
		}
		if found.err == nil {
			var m message
			m, _, found.err = with.expect(msgFound)
			found.findings, found.partly = m.Found, found.partly || m.Partly
		}
		done <- found
	})
	go func() {
		<-asked.done
		if asked.err != nil {
			done <- atRest{err: asked.err}
		}
		with.Close()
	}()
}

// atRestPatterns are the places to look at, absolute: those of the list, and
// the files that credentials come from where they are the user's.
func (s *Session) atRestPatterns(spec *policy.Session) []string {
	var all []string
	for _, p := range policy.AtRestPatterns() {
		if rest, ok := strings.CutPrefix(p, "~/"); ok {
			all = append(all, filepath.Join(globQuote(s.config.User.Home), rest))
		} else {
			all = append(all, filepath.Join(globQuote(s.config.Dir), p))
		}
	}
	for _, c := range spec.Credentials {
		if path, ok := strings.CutPrefix(c.Source, string(secret.KindFile)+":"); ok {
			all = append(all, globQuote(path))
		}
	}
	return all
}

// openAtRest opens what is there, and tells whether there was more than the
// bounds allow, or than could be opened.
func openAtRest(patterns []string) (files []*os.File, more bool) {
	type inode struct{ device, number uint64 }
	seen := make(map[inode]bool)
	total := int64(0)
	for _, pattern := range patterns {
		names, _ := filepath.Glob(pattern) // the patterns are well formed
		for _, name := range names {
			// O_NONBLOCK: a FIFO in place of a file must not hang the start.
			f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
			if err != nil {
				more = more || !isOutOfReach(err)
				continue
			}
			var st unix.Stat_t
			fd, err := Descriptor(f)
			if err != nil || unix.Fstat(fd, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFREG || st.Size == 0 || seen[inode{st.Dev, st.Ino}] {
				f.Close()
				continue
			}
			seen[inode{st.Dev, st.Ino}] = true
			total += min(st.Size, maxAtRestBytes)
			if len(files) == maxAtRestFiles || total > maxAtRestTotal {
				f.Close()
				return files, true
			}
			more = more || st.Size > maxAtRestBytes
			files = append(files, f)
		}
	}
	return files, more
}

// isOutOfReach tells what the agent cannot open either. Another error passes: a
// lease that somebody holds on the file, a shortage of descriptors.
func isOutOfReach(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENXIO)
}

// tellAtRest says what was found, or refuses for it. What is covered does not
// count.
func (s *Session) tellAtRest(covered []string) error {
	if s.atRest == nil {
		return nil
	}
	var found atRest
	select {
	case found = <-s.atRest:
	case <-time.After(atRestDeadline):
		found.partly = true
	}
	if found.err != nil {
		return fmt.Errorf("look for credentials at rest: %w", found.err)
	}
	var first error
	for _, f := range found.findings {
		if f.File < 0 || f.File >= len(found.files) || isBelow(withoutLinks(found.files[f.File]), covered) {
			continue
		}
		name := found.files[f.File]
		if err := s.trail.Log.Write(s.atRestRecord(f.Credential, fmt.Sprintf("%s:%d", name, f.Line))); err != nil {
			return err
		}
		line := fmt.Sprintf("the value of credential %q stands in %q, line %d, where the agent reads it", f.Credential, name, f.Line)
		if !s.strict {
			s.config.Notify(line + ": take it out there")
		} else if first == nil {
			first = fmt.Errorf("%w: %s", ErrKeyAtRest, line)
		} else {
			s.config.Notify(line)
		}
	}
	if found.partly && s.strict && first == nil {
		return fmt.Errorf("look for credentials at rest: more than %d MiB or %s, or a file that cannot be opened now, and strict.key_at_rest is refuse", maxAtRestTotal>>20, atRestDeadline)
	}
	return first
}

// atRestRecord is about a place where the agent reads a credential, or may.
func (s *Session) atRestRecord(credential, place string) audit.Record {
	verdict := audit.Allow
	if s.strict {
		verdict = audit.Deny
	}
	return audit.Record{
		Kind: audit.KindSession, Verdict: verdict, Reason: audit.ReasonKeyAtRest, Credential: credential,
		UID: uint32(s.config.User.UID), Path: place, Rule: "strict.key_at_rest",
	}
}
