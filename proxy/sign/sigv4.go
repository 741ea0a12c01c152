// SPDX-License-Identifier: Apache-2.0

package sign

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"net/http"
	"slices"
	"strings"
)

// Names and constants of Signature Version 4, as AWS's reference writes them.
const (
	algorithm     = "AWS4-HMAC-SHA256"
	asymmetric    = "AWS4-ECDSA-P256-SHA256" // SigV4A, of multi-region buckets: not made here
	terminator    = "aws4_request"
	fieldDate     = "X-Amz-Date"
	fieldPayload  = "X-Amz-Content-Sha256"
	fieldToken    = "X-Amz-Security-Token"
	tokenName     = "x-amz-security-token"
	unsigned      = "UNSIGNED-PAYLOAD"
	streamSigned  = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
	streamTrailer = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
	dateLength    = len("20060102T150405Z")
)

// Errors of a signature that cannot be taken.
var (
	// ErrMalformed is a signature that is not in the form of the reference.
	ErrMalformed = errors.New("malformed AWS signature")
	// ErrMismatch is one that the placeholder did not make.
	ErrMismatch = errors.New("the AWS signature is not the placeholder's")
)

// Signature is what a request says of its own signature.
type Signature struct {
	ID        string // the access key id
	scope     string // DATE/REGION/SERVICE/aws4_request
	time      string // the moment it was made, 20060102T150405Z
	signed    []string
	value     string
	presigned bool
	path      pathForm // nil before Verify
	payload   string   // set by Verify
}

// FromHeader reads an Authorization field of this scheme; false when it is of
// another.
func FromHeader(header http.Header) (*Signature, bool, error) {
	values := header["Authorization"]
	if len(values) != 1 {
		return nil, false, nil
	}
	scheme, rest, _ := strings.Cut(values[0], " ")
	if scheme == asymmetric {
		return nil, true, ErrMalformed
	}
	if scheme != algorithm {
		return nil, false, nil
	}
	fields := make(map[string]string)
	for part := range strings.SplitSeq(rest, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		if _, twice := fields[name]; twice {
			return nil, true, ErrMalformed
		}
		fields[name] = value
	}
	s := &Signature{value: fields["Signature"]}
	if dates := header[fieldDate]; len(dates) == 1 {
		s.time = dates[0]
	}
	return s, true, s.read(fields["Credential"], fields["SignedHeaders"])
}

// read takes the two fields that have parts, and checks the whole.
func (s *Signature) read(credential, signed string) error {
	s.ID, s.scope, _ = strings.Cut(credential, "/")
	s.signed = strings.Split(signed, ";")
	parts := strings.Split(s.scope, "/")
	digest, err := hex.DecodeString(s.value)
	switch {
	case err != nil || len(digest) != sha256.Size:
	case len(parts) != 4 || parts[3] != terminator || slices.Contains(parts, ""):
	case len(s.time) != dateLength || s.time[:8] != parts[0]:
	case !slices.IsSorted(s.signed) || len(slices.Compact(slices.Clone(s.signed))) != len(s.signed) || !slices.Contains(s.signed, "host"):
	case strings.ToLower(signed) != signed:
	default:
		return nil
	}
	return ErrMalformed
}

// Service is the service of the scope, such as "s3".
func (s *Signature) Service() string { return strings.Split(s.scope, "/")[2] } // read wants four parts

// Streams reports, after Verify, whether the body's chunks are signed one by one;
// see [Signature.Stream].
func (s *Signature) Streams() bool { return s.payload == streamSigned || s.payload == streamTrailer }

// NeedsContent reports whether the signature covers a hash of the body that is
// in no field, so that the body has to be there before it can be checked. That
// of a presigned URL may; S3's covers no body, which may be an upload.
func NeedsContent(header http.Header, target string) bool {
	if len(header[fieldPayload]) > 0 {
		return false
	}
	if _, ours, err := FromHeader(header); ours {
		return err == nil
	}
	s, ours, err := FromQuery(target)
	return ours && err == nil && s.Service() != "s3"
}

// Verify checks the signature against the placeholder's keys.
func (s *Signature) Verify(keys Keys, r *Request) error {
	payloads, err := s.payloads(r)
	if err != nil {
		return err
	}
	key := signingKey(keys.Secret, s.scope)
	defer clear(key)
	for _, payload := range payloads {
		for _, path := range pathForms {
			if same(s.sign(key, r.canonical(path, s.signed, payload)), s.value) {
				s.path, s.payload = path, payload
				return nil
			}
		}
	}
	return ErrMismatch
}

// payloads are what may stand for the body in the signature.
func (s *Signature) payloads(r *Request) ([]string, error) {
	declared := r.Header[fieldPayload]
	switch {
	case len(declared) > 1:
		return nil, ErrMalformed
	case len(declared) == 1:
		return declared, nil
	case s.presigned:
		return []string{unsigned, hashOf(r.Content)}, nil
	}
	return []string{hashOf(r.Content)}, nil
}

// Sign puts the real key's signature in the place of the one that was verified.
// It is called on the request as it goes out, as the last thing.
func (s *Signature) Sign(keys Keys, r *Request) {
	if s.presigned {
		s.signQuery(keys, r)
		return
	}
	delete(r.Header, "Authorization")
	delete(r.Header, fieldToken)
	if len(keys.Token) > 0 {
		r.Header[fieldToken] = []string{string(keys.Token)}
	}
	signed := s.outgoing(r)
	key := signingKey(keys.Secret, s.scope)
	defer clear(key)
	s.value = s.sign(key, r.canonical(s.path, signed, s.payload))
	r.Header["Authorization"] = []string{algorithm + " Credential=" + string(keys.ID) + "/" + s.scope +
		", SignedHeaders=" + strings.Join(signed, ";") + ", Signature=" + s.value}
}

// outgoing are the names to sign: those the client signed that go out, and the
// token's.
func (s *Signature) outgoing(r *Request) []string {
	signed := slices.DeleteFunc(slices.Clone(s.signed), func(name string) bool { return !r.has(name) })
	if !s.presigned && r.has(tokenName) && !slices.Contains(signed, tokenName) {
		signed = append(signed, tokenName)
		slices.Sort(signed)
	}
	return signed
}

// sign is the signature of a canonical request, in hexadecimal.
func (s *Signature) sign(key []byte, canonical string) string {
	return hexMAC(key, algorithm+"\n"+s.time+"\n"+s.scope+"\n"+hashOf([]byte(canonical)))
}

// signingKey derives the key of one scope from a secret.
func signingKey(secret []byte, scope string) []byte {
	key := append([]byte("AWS4"), secret...)
	for part := range strings.SplitSeq(scope, "/") {
		next := mac(key, part)
		clear(key)
		key = next
	}
	return key
}

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}

func hexMAC(key []byte, text string) string { return hex.EncodeToString(mac(key, text)) }

func hashOf(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// same compares in constant time.
func same(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }
