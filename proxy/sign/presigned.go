// SPDX-License-Identifier: Apache-2.0

package sign

import (
	"slices"
	"strings"
)

// Names of a presigned URL's query.
const (
	queryAlgorithm  = "X-Amz-Algorithm"
	queryCredential = "X-Amz-Credential"
	queryDate       = "X-Amz-Date"
	querySigned     = "X-Amz-SignedHeaders"
	querySignature  = "X-Amz-Signature"
	queryToken      = "X-Amz-Security-Token"
)

// FromQuery reads a presigned URL; false when the target is none. parts are the
// names whose pairs belong to the signature.
func FromQuery(target string) (s *Signature, ours bool, err error) {
	_, query, _ := strings.Cut(target, "?")
	if !strings.Contains(query, querySignature+"=") {
		return nil, false, nil
	}
	values := make(map[string]string)
	for text := range strings.SplitSeq(query, "&") {
		name, value, _ := strings.Cut(text, "=")
		if !IsQueryName(name) {
			continue
		}
		if _, twice := values[name]; twice {
			return nil, true, ErrMalformed
		}
		values[name] = decodePercent(value)
	}
	s = &Signature{value: values[querySignature], time: values[queryDate], presigned: true}
	if values[queryAlgorithm] != algorithm {
		return nil, true, ErrMalformed
	}
	return s, true, s.read(values[queryCredential], values[querySigned])
}

// IsQueryName reports whether a pair of a presigned URL belongs to its
// signature.
func IsQueryName(name string) bool {
	return slices.Contains([]string{queryAlgorithm, queryCredential, queryDate, querySigned, querySignature, queryToken}, name)
}

// QueryToken is the session token of a presigned URL, or "".
func QueryToken(target string) string {
	_, query, _ := strings.Cut(target, "?")
	for text := range strings.SplitSeq(query, "&") {
		if name, value, _ := strings.Cut(text, "="); name == queryToken {
			return decodePercent(value)
		}
	}
	return ""
}

// signQuery is Sign for a presigned URL: every pair stays in its place, those
// of the key and the signature with new values.
func (s *Signature) signQuery(keys Keys, r *Request) {
	path, query, _ := strings.Cut(r.Target, "?")
	signed := s.outgoing(r)
	var out []string
	for text := range strings.SplitSeq(query, "&") {
		switch name, _, _ := strings.Cut(text, "="); name {
		case querySignature, queryToken:
		case queryCredential:
			out = append(out, name+"="+encode(string(keys.ID)+"/"+s.scope, false))
		case querySigned:
			out = append(out, name+"="+encode(strings.Join(signed, ";"), false))
		default:
			out = append(out, text)
		}
	}
	if len(keys.Token) > 0 {
		out = append(out, queryToken+"="+encode(string(keys.Token), false))
	}
	r.Target = path + "?" + strings.Join(out, "&")
	key := signingKey(keys.Secret, s.scope)
	defer clear(key)
	s.value = s.sign(key, r.canonical(s.path, signed, s.payload))
	r.Target += "&" + querySignature + "=" + s.value
}
