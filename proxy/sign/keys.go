// SPDX-License-Identifier: Apache-2.0

package sign

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Keys is an AWS key pair, with the session token that temporary ones have. The
// slices of a real one lie in locked memory and are not to be kept.
type Keys struct {
	ID     []byte // access key id: public
	Secret []byte // secret access key
	Token  []byte // session token; empty: none
}

// ErrKeys is text that is no key pair. The text is not in it.
var ErrKeys = errors.New("want a key pair: ACCESS_KEY_ID:SECRET_ACCESS_KEY[:SESSION_TOKEN], or what `aws configure export-credentials` prints")

// ParseKeys reads what [Join] wrote. The slices are parts of text.
func ParseKeys(text []byte) (Keys, error) {
	parts := bytes.SplitN(text, []byte(":"), 3)
	if len(parts) < 2 {
		return Keys{}, ErrKeys
	}
	k := Keys{ID: parts[0], Secret: parts[1]}
	if len(parts) == 3 {
		k.Token = parts[2]
	}
	return k, k.check()
}

// Join is the pair as text, which ParseKeys reads.
func (k Keys) Join() []byte {
	parts := [][]byte{k.ID, k.Secret}
	if len(k.Token) > 0 {
		parts = append(parts, k.Token)
	}
	return bytes.Join(parts, []byte(":"))
}

// Read reads a key pair as people store it: in the form of Join, or as the JSON
// of the AWS CLI's export-credentials and of credential_process. The result is
// a copy, for the caller to wipe; so is text.
func Read(text []byte) ([]byte, error) {
	if !bytes.HasPrefix(bytes.TrimSpace(text), []byte("{")) {
		k, err := ParseKeys(text)
		if err != nil {
			return nil, err
		}
		return k.Join(), nil
	}
	var doc struct{ AccessKeyId, SecretAccessKey, SessionToken string }
	if json.Unmarshal(text, &doc) != nil {
		return nil, ErrKeys
	}
	k := Keys{ID: []byte(doc.AccessKeyId), Secret: []byte(doc.SecretAccessKey), Token: []byte(doc.SessionToken)}
	defer clear(k.Secret)
	defer clear(k.Token)
	if err := k.check(); err != nil {
		return nil, err
	}
	return k.Join(), nil
}

// Lengths of AWS's identifiers (IAM reference, AccessKey): an id has 16 to 128
// characters, and a secret 40. A placeholder's secret shorter than that would
// not hold 128 bits.
const (
	minID     = 16
	maxID     = 128
	minSecret = 40
)

func (k Keys) check() error {
	idOK := len(k.ID) >= minID && len(k.ID) <= maxID && strings.Trim(string(k.ID), upperDigits) == ""
	if !idOK || len(k.Secret) < minSecret || !plain(k.Secret) || !plain(k.Token) {
		return ErrKeys
	}
	return nil
}

// plain reports whether text holds base64's characters alone.
func plain(text []byte) bool {
	for _, c := range text {
		if strings.IndexByte(base62+"+/=_-", c) < 0 {
			return false
		}
	}
	return true
}

const (
	base32      = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567" // an id's
	upperDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	base62      = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	idPrefix    = 4 // AKIA is of a user, ASIA temporary: SDKs tell them apart
)

// Placeholder makes a pair as long as k, part by part, that begins as k's id
// does. Its secret holds more than 128 random bits.
func (k Keys) Placeholder(rand io.Reader) (Keys, error) {
	id, err := draw(rand, base32, len(k.ID)-idPrefix)
	if err != nil {
		return Keys{}, err
	}
	secret, err := draw(rand, base62, len(k.Secret))
	if err != nil {
		return Keys{}, err
	}
	token, err := draw(rand, base62, len(k.Token))
	if err != nil {
		return Keys{}, err
	}
	return Keys{ID: append(bytes.Clone(k.ID[:idPrefix]), id...), Secret: secret, Token: token}, nil
}

// draw returns n characters, uniform over alphabet.
func draw(rand io.Reader, alphabet string, n int) ([]byte, error) {
	limit := 256 - 256%len(alphabet)
	out := make([]byte, 0, n)
	block := make([]byte, 64)
	for len(out) < n {
		if _, err := io.ReadFull(rand, block); err != nil {
			return nil, fmt.Errorf("read random octets: %w", err)
		}
		for _, c := range block {
			if int(c) < limit && len(out) < n {
				out = append(out, alphabet[int(c)%len(alphabet)])
			}
		}
	}
	return out, nil
}
