// SPDX-License-Identifier: Apache-2.0

package sign

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
)

// ErrAccount is text that is no key of a Google service account. The text is
// not in it.
var ErrAccount = errors.New("want the JSON key of a Google service account, with an RSA key of 2048 bits or more")

// Names in such a key's JSON, and the least and most bits of its RSA key.
const (
	accountType  = "service_account"
	nameType     = "type"
	nameEmail    = "client_email"
	nameKey      = "private_key"
	nameKeyID    = "private_key_id"
	minKeyBits   = 2048
	maxKeyBits   = 4096
	maxAssertion = 16 << 10 // of a JWT, in characters
)

// Account is a Google service account's key: whoever has it makes assertions
// (RFC 7523) that token endpoints and APIs take.
type Account struct {
	email string
	id    string
	key   *rsa.PrivateKey
	pem   string
	rest  map[string]json.RawMessage
}

// Email is the account's name.
func (a *Account) Email() string { return a.email }

// ReadAccount reads the JSON that the console hands out.
func ReadAccount(text []byte) (*Account, error) {
	a := &Account{}
	if json.Unmarshal(text, &a.rest) != nil {
		return nil, ErrAccount
	}
	kind := ""
	for name, to := range map[string]*string{nameType: &kind, nameEmail: &a.email, nameKey: &a.pem, nameKeyID: &a.id} {
		if json.Unmarshal(a.rest[name], to) != nil || *to == "" {
			return nil, ErrAccount
		}
	}
	block, _ := pem.Decode([]byte(a.pem))
	if block == nil || kind != accountType {
		return nil, ErrAccount
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	}
	clear(block.Bytes)
	var ok bool
	if a.key, ok = key.(*rsa.PrivateKey); err != nil || !ok || a.key.N.BitLen() < minKeyBits || a.key.N.BitLen() > maxKeyBits {
		return nil, ErrAccount
	}
	return a, nil
}

// Placeholder is the JSON of the same account with a fresh key: it parses, and
// signs what no endpoint takes. Making it costs tenths of a second.
func (a *Account) Placeholder() ([]byte, error) {
	key, err := rsa.GenerateKey(rand.Reader, minKeyBits)
	if err != nil {
		return nil, fmt.Errorf("make placeholder key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("make placeholder key: %w", err)
	}
	var id [20]byte // as long as Google's
	if _, err := rand.Read(id[:]); err != nil {
		return nil, fmt.Errorf("make placeholder key: %w", err)
	}
	doc := make(map[string]any, len(a.rest))
	for name, value := range a.rest {
		doc[name] = value
	}
	doc[nameKey] = string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	doc[nameKeyID] = hex.EncodeToString(id[:])
	return json.Marshal(doc)
}

// ID names the key: it is public, and in the head of every assertion.
func (a *Account) ID() string { return a.id }

// PEM is the private key as it stands in the JSON.
func (a *Account) PEM() string { return a.pem }

// jwtHead is what counts of an assertion's head (RFC 7515, section 4).
type jwtHead struct {
	Algorithm string `json:"alg"`
	KeyID     string `json:"kid"`
	Type      string `json:"typ,omitempty"`
}

// Made reports whether token is an assertion that this key made for this
// account.
func (a *Account) Made(token string) bool {
	signed, signature, found := cutLast(token, '.')
	head, payload, two := strings.Cut(signed, ".")
	if !found || !two || len(token) > maxAssertion || strings.Contains(payload, ".") {
		return false
	}
	var h jwtHead
	var claims struct {
		Issuer string `json:"iss"`
	}
	if !decodePart(head, &h) || h.Algorithm != "RS256" || h.KeyID != a.id || !decodePart(payload, &claims) || claims.Issuer != a.email {
		return false
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(signature)
	sum := sha256.Sum256([]byte(signed))
	return err == nil && rsa.VerifyPKCS1v15(&a.key.PublicKey, crypto.SHA256, sum[:], raw) == nil
}

// Again signs the claims of a token that another key made.
func (a *Account) Again(token string) (string, error) {
	_, rest, _ := strings.Cut(token, ".")
	payload, _, _ := strings.Cut(rest, ".")
	head, err := json.Marshal(jwtHead{Algorithm: "RS256", KeyID: a.id, Type: "JWT"})
	if err != nil {
		return "", fmt.Errorf("sign assertion: %w", err)
	}
	signed := base64.RawURLEncoding.EncodeToString(head) + "." + payload
	sum := sha256.Sum256([]byte(signed))
	raw, err := rsa.SignPKCS1v15(nil, a.key, crypto.SHA256, sum[:])
	if err != nil {
		return "", fmt.Errorf("sign assertion: %w", err)
	}
	return signed + "." + base64.RawURLEncoding.EncodeToString(raw), nil
}

// decodePart reads one part of a JWT. A name twice is read by some as the
// first, by some as the last: it is refused.
func decodePart(text string, to any) bool {
	data, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || json.Unmarshal(data, to) != nil {
		return false
	}
	return uniqueNames(data)
}

// uniqueNames reports whether no name of the outer object comes twice, in any
// case: encoding/json takes "ISS" for "iss".
func uniqueNames(data []byte) bool {
	d := json.NewDecoder(bytes.NewReader(data))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return false
	}
	seen := make(map[string]bool)
	for d.More() {
		name, err := d.Token()
		text, ok := name.(string)
		if err != nil || !ok || seen[strings.ToLower(text)] {
			return false
		}
		seen[strings.ToLower(text)] = true
		var value json.RawMessage
		if d.Decode(&value) != nil {
			return false
		}
	}
	return true
}

func cutLast(text string, c byte) (before, after string, found bool) {
	i := strings.LastIndexByte(text, c)
	if i < 0 {
		return text, "", false
	}
	return text[:i], text[i+1:], true
}
