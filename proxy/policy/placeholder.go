// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strings"
)

// Modes of a [Shape].
const (
	ShapeProvider = "shape"    // as long as the real one, in the provider's form
	ShapeName     = "name"     // the variable's own name: KEY=KEY
	ShapeTemplate = "template" // the policy's own template
)

// plainTemplate is the form of a credential without a provider.
const plainTemplate = "{base62:*}"

// Shape says what a placeholder looks like.
type Shape struct {
	Mode      string   `json:"mode"`
	Templates []string `json:"templates,omitempty"` // the first that fits the length counts
}

// Placeholder makes what the agent holds instead of cred, whose real value has
// length characters. Mode by mode:
//
//   - shape: exactly length characters in the first of the provider's templates
//     that holds 128 random bits at that length. No template does: an error
//     that names the least length. With a provider's prefix that is between 22
//     (no prefix) and 55 (anthropic) characters.
//   - template: the policy's own; its length is the template's, or length where
//     a group is written "*".
//   - name: the first variable of cred, or its name. No entropy: the identity
//     of a request is then the namespace it comes from, nothing else.
//
// The characters are uniform over the template's alphabets and read from rand.
// tailSeed is a secret of the user the session is for: the part of a template
// that must stay the same from session to session is an HMAC-SHA256 of the
// credential's name and source under it. It may be empty where no template has
// such a part.
func Placeholder(cred Credential, length int, tailSeed []byte, rand io.Reader) (string, error) {
	text, err := placeholder(cred, length, tailSeed, rand)
	if err != nil {
		return "", fmt.Errorf("make placeholder: credential %q: %w", cred.Name, err)
	}
	return text, nil
}

func placeholder(cred Credential, length int, tailSeed []byte, rand io.Reader) (string, error) {
	if cred.Placeholder.Mode == ShapeName {
		return cred.name(), nil
	}
	t, err := cred.Placeholder.choose(length)
	if err != nil {
		return "", err
	}
	return t.fill(length, rand, func(n int) (string, error) { return cred.tail(n, tailSeed) })
}

// name is what stands for the credential in mode "name".
func (c Credential) name() string {
	if len(c.Env) > 0 {
		return c.Env[0]
	}
	return c.Name
}

// choose returns the template for a real value of length characters.
func (s Shape) choose(length int) (*template, error) {
	least, all := maxLength+1, s.Templates
	for _, text := range all {
		t, err := parseTemplate(text)
		if err != nil {
			return nil, err
		}
		_, open := t.open()
		if t.fits(length) || s.Mode == ShapeTemplate && !open {
			return t, nil
		}
		least = min(least, t.shortest())
	}
	switch {
	case len(all) == 0:
		return nil, errors.New("no template")
	case length > maxLength:
		return nil, fmt.Errorf("a value of %d characters is longer than %d", length, maxLength)
	}
	return nil, fmt.Errorf("a value of %d characters has no room for %d random bits in the shape %q; at least %d characters are needed",
		length, minEntropy, all[0], least)
}

// fill writes the template, with the open group as long as length leaves.
func (t *template) fill(length int, rand io.Reader, tail func(int) (string, error)) (string, error) {
	var out strings.Builder
	last := ""
	for _, p := range t.parts {
		n := p.length
		if n == anyLength {
			n = length - t.fixed()
		}
		var err error
		switch p.group {
		case "":
			last = p.literal
		case groupCRC:
			last = checksum(last)
		case groupTail:
			last, err = tail(n)
		default:
			last, err = draw(rand, alphabets[p.group], n)
		}
		if err != nil {
			return "", err
		}
		out.WriteString(last)
	}
	return out.String(), nil
}

// draw returns n characters, uniform over alphabet: an octet beyond the largest
// multiple of its size is thrown away.
func draw(rand io.Reader, alphabet string, n int) (string, error) {
	limit := 256 - 256%len(alphabet)
	out := make([]byte, 0, n)
	block := make([]byte, 64)
	for len(out) < n {
		if _, err := io.ReadFull(rand, block); err != nil {
			return "", fmt.Errorf("read random octets: %w", err)
		}
		for _, c := range block {
			if int(c) < limit && len(out) < n {
				out = append(out, alphabet[int(c)%len(alphabet)])
			}
		}
	}
	return string(out), nil
}

// checksum is what a GitHub token ends with: CRC-32 (IEEE) of its random part
// in base62, six digits, zeros in front.
func checksum(random string) string {
	digits := alphabets["base62"]
	out := []byte("000000")
	sum := crc32.ChecksumIEEE([]byte(random))
	for i := len(out) - 1; sum > 0; i-- { // 62^6 is more than 2^32
		out[i] = digits[sum%62]
		sum /= 62
	}
	return string(out)
}

// tail returns n characters that stay the same for one seed and credential.
func (c Credential) tail(n int, seed []byte) (string, error) {
	if len(seed) == 0 {
		return "", errors.New("its shape has a stable tail and there is no seed for it")
	}
	return draw(&stream{key: seed, label: "phantom-ns placeholder tail\x00" + c.Name + "\x00" + c.Source}, alphabets["base64url"], n)
}

// stream is HMAC-SHA256 in counter mode.
type stream struct {
	key     []byte
	label   string
	counter uint32
	rest    []byte
}

// Read never fails.
func (s *stream) Read(p []byte) (int, error) {
	if len(s.rest) == 0 {
		mac := hmac.New(sha256.New, s.key)
		mac.Write(binary.BigEndian.AppendUint32(nil, s.counter))
		mac.Write([]byte(s.label))
		s.rest = mac.Sum(nil)
		s.counter++
	}
	n := copy(p, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}
