// SPDX-License-Identifier: Apache-2.0

package enforcer

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"slices"
	"time"

	"github.com/phantom-ns/phantom-ns/proxy/policy"
	"github.com/phantom-ns/phantom-ns/proxy/secret"
)

// needle is one form of a credential's value.
type needle struct {
	credential string
	value      secret.Value
}

// minNeedle is the shortest form that is looked for. A shorter one would be
// found in innocent text.
const minNeedle = 12

// newNeedles are the forms of one value: as it is, and in base64 at each of
// the three ways it can lie across the groups of three bytes.
func newNeedles(c *policy.Credential, value secret.Value) ([]needle, error) {
	raw := value.Reveal()
	if c.Signs() {
		// The key id is no secret, and stands in many places.
		parts := bytes.Split(raw, []byte(":"))
		raw = parts[min(1, len(parts)-1)]
	}
	forms := [][]byte{bytes.Clone(raw)}
	for skip := range 3 {
		whole := raw[min(skip, len(raw)):]
		whole = whole[:len(whole)/3*3] // what follows may change the rest
		for _, alphabet := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
			form := make([]byte, alphabet.EncodedLen(len(whole)))
			alphabet.Encode(form, whole)
			if n := len(forms); n > 1 && bytes.Equal(forms[n-1], form) {
				continue
			}
			forms = append(forms, form)
		}
	}
	var all []needle
	for _, form := range forms {
		if len(form) < minNeedle {
			continue
		}
		v, err := secret.New(form) // wipes form
		if err != nil {
			return all, err
		}
		all = append(all, needle{c.Name, v})
	}
	return all, nil
}

// answerAtRest is the proxy's side of the search.
func answerAtRest(with *control, needles []needle) error {
	defer with.Close()
	defer func() {
		for _, n := range needles {
			n.value.Wipe()
		}
	}()
	m, files, err := with.receive()
	if err != nil {
		return err
	}
	defer closeAll(files)
	if m.Kind != msgLook {
		return errors.New("search for credentials at rest: an unknown message")
	}
	answer := message{Kind: msgFound}
	until := time.Now().Add(atRestDeadline)
	longest := 0
	for _, n := range needles {
		longest = max(longest, n.value.Len())
	}
	buffer := make([]byte, max(searchChunk, 2*longest))
	defer clear(buffer)
	for i, f := range files {
		if time.Now().After(until) {
			answer.Partly = true
			break
		}
		found, err := searchFile(f, needles, longest, buffer)
		answer.Partly = answer.Partly || err != nil
		for _, one := range found {
			one.File = i
			answer.Found = append(answer.Found, one)
		}
	}
	return with.send(answer)
}

// searchChunk is how much of a file is in memory, which is locked, at once.
const searchChunk = 256 << 10

// searchFile returns the first line of f with each credential that is in it.
func searchFile(f io.Reader, needles []needle, longest int, buffer []byte) ([]finding, error) {
	f = io.LimitReader(f, maxAtRestBytes)
	var found []finding
	line, kept := 1, 0
	for {
		n, err := io.ReadFull(f, buffer[kept:])
		if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
			return nil, err
		}
		data := buffer[:kept+n]
		for _, one := range needles {
			if slices.ContainsFunc(found, func(f finding) bool { return f.Credential == one.credential }) {
				continue
			}
			if at := bytes.Index(data, one.value.Reveal()); at >= 0 {
				found = append(found, finding{Line: line + bytes.Count(data[:at], []byte("\n")), Credential: one.credential})
			}
		}
		if err != nil {
			return found, nil
		}
		// One may begin at the end of this part.
		past := len(data) - longest
		line += bytes.Count(data[:past], []byte("\n"))
		kept = copy(buffer, data[past:])
	}
}
