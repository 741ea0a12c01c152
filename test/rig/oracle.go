// SPDX-License-Identifier: Apache-2.0

package rig

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Hit is one place where a secret was found.
type Hit struct {
	Place  string // what was searched: a file's path, or the caller's name for the bytes
	Form   string // how the secret was written there
	Offset int64
}

func (h Hit) String() string { return fmt.Sprintf("%s at %d (%s)", h.Place, h.Offset, h.Form) }

type needle struct {
	form string
	text []byte
}

// Oracle searches for secrets: as they are, reversed, in base64 at each of the
// three alignments and in both alphabets, in hex and percent-encoded, both in
// either case.
type Oracle struct {
	needles []needle
	longest int
}

// NewOracle makes an oracle for the given secrets, each of at least 16 bytes.
func NewOracle(secrets ...string) *Oracle {
	o := &Oracle{}
	for _, secret := range secrets {
		if len(secret) < 16 {
			panic("rig: a secret this short matches by accident")
		}
		o.add("raw", []byte(secret))
		o.add("reversed", reversed(secret))
		for alignment := range 3 {
			form := fmt.Sprintf("base64 alignment %d", alignment)
			o.add(form, base64At(base64.RawStdEncoding, secret, alignment))
			o.add(form+" url", base64At(base64.RawURLEncoding, secret, alignment))
		}
		lower := hex.EncodeToString([]byte(secret))
		o.add("hex", []byte(lower))
		o.add("hex upper", []byte(strings.ToUpper(lower)))
		o.add("percent", percent(lower))
		o.add("percent upper", percent(strings.ToUpper(lower)))
	}
	return o
}

func (o *Oracle) add(form string, text []byte) {
	for _, n := range o.needles {
		if bytes.Equal(n.text, text) {
			return
		}
	}
	o.needles = append(o.needles, needle{form, text})
	o.longest = max(o.longest, len(text))
}

func reversed(s string) []byte {
	out := make([]byte, len(s))
	for i := range len(s) {
		out[len(s)-1-i] = s[i]
	}
	return out
}

// base64At returns those characters of the encoding that depend on the secret
// alone when alignment bytes stand before it: whole characters only, so the
// first and last may be given up.
func base64At(coding *base64.Encoding, secret string, alignment int) []byte {
	padded := append(make([]byte, alignment), secret...)
	text := coding.EncodeToString(padded)
	first := (alignment*8 + 5) / 6
	last := len(padded) * 8 / 6
	return []byte(text[first:last])
}

// percent turns hex digits into a percent-encoding of every byte.
func percent(digits string) []byte {
	var out []byte
	for i := 0; i < len(digits); i += 2 {
		out = append(out, '%', digits[i], digits[i+1])
	}
	return out
}

// Bytes searches data; place names it in what is returned.
func (o *Oracle) Bytes(place string, data []byte) []Hit {
	var hits []Hit
	for _, n := range o.needles {
		if at := bytes.Index(data, n.text); at >= 0 {
			hits = append(hits, Hit{place, n.form, int64(at)})
		}
	}
	return hits
}

// Reader searches r to its end, in bounded memory.
func (o *Oracle) Reader(place string, r io.Reader) ([]Hit, error) {
	const window = 1 << 20
	buffer := make([]byte, 0, window+o.longest)
	var hits []Hit
	var base int64
	for {
		n, err := io.ReadFull(r, buffer[len(buffer):cap(buffer)])
		buffer = buffer[:len(buffer)+n]
		for _, hit := range o.Bytes(place, buffer) {
			hit.Offset += base
			hits = append(hits, hit)
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return hits, nil
		}
		if err != nil {
			return hits, err
		}
		// A secret that the window cut in two begins in its last bytes.
		keep := min(len(buffer), o.longest-1)
		base += int64(len(buffer) - keep)
		buffer = buffer[:copy(buffer[:cap(buffer)], buffer[len(buffer)-keep:])]
	}
}

// Files searches regular files, and directories to their ends without leaving
// a root through a link. Names count as well as contents. A file that vanished
// or may not be read is passed over; other errors are returned.
func (o *Oracle) Files(roots ...string) ([]Hit, error) {
	var hits []Hit
	for _, root := range roots {
		err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			if gone(err) {
				return nil
			}
			if err != nil {
				return err
			}
			hits = append(hits, o.Bytes("name of "+path, []byte(entry.Name()))...)
			if !entry.Type().IsRegular() {
				return nil
			}
			found, err := o.file(path)
			hits = append(hits, found...)
			return err
		})
		if err != nil {
			return hits, fmt.Errorf("search %s: %w", root, err)
		}
	}
	return hits, nil
}

func (o *Oracle) file(path string) ([]Hit, error) {
	f, err := os.Open(path)
	if gone(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return o.Reader(path, f)
}

func gone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission)
}
