// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/phantom-ns/phantom-ns/proxy/audit"
	"github.com/phantom-ns/phantom-ns/proxy/mint"
	"github.com/phantom-ns/phantom-ns/proxy/policy"
	"github.com/phantom-ns/phantom-ns/proxy/scrub"
	"github.com/phantom-ns/phantom-ns/proxy/sign"
)

// Bounds of an answer that is captured, decoded. Those of token endpoints have a
// few KiB. Of a service of AWS every answer is held: IAM's longest, of
// GetAccountAuthorizationDetails, comes in pages of up to 1,000 items.
const (
	maxAnswer        = 256 << 10
	maxServiceAnswer = 4 << 20
)

// answerLimit is the bound for x.
func (x *exchange) answerLimit() int {
	if x.endpoint.Service {
		return maxServiceAnswer
	}
	return maxAnswer
}

var (
	errAnswerLong  = errors.New("capture answer: longer than 256 KiB, or 4 MiB of a service of AWS")
	errAnswerField = errors.New("capture answer: it has a field that looks like a credential and is not declared as one")
	errAnswerValue = errors.New("capture answer: what is declared as a credential is no text")
)

// suspects are fields, in lower case, that hold credentials whoever sends them.
// An endpoint's answer with one that is not declared is not passed on.
var suspects = []string{
	"access_token", "accesstoken", "refresh_token", "refreshtoken", "id_token", "idtoken", "token", "api_token", "auth_token",
	"session_token", "sessiontoken", "secretaccesskey", "secret_access_key", "secret", "client_secret", "clientsecret",
	"api_key", "apikey", "password", "private_key", "privatekey", "device_code", "registration_access_token",
}

// capture takes the credentials out of an endpoint's answer and puts
// placeholders in. The answer is held whole: either all of it is understood, or
// nothing of it reaches the agent.
func (s *Server) capture(x *exchange, resp *http.Response, header http.Header) error {
	if !s.reserveAnswer(x, resp, header) {
		return errHeld
	}
	text, err := s.readAnswer(resp, header, x.answerLimit())
	if err != nil {
		return err
	}
	defer clear(text)
	answer, err := mint.Read(strings.Join(header["Content-Type"], ","), text)
	if err != nil {
		return err
	}
	if x.endpoint.Pair != nil {
		answer.Rename("secretkey", "secretaccesskey") // Cognito's
	}
	texts, err := s.takeFields(x, answer)
	if err == nil {
		err = s.keepLogin(x, answer)
	}
	if err != nil {
		return err
	}
	safe := answer.Replace(texts)
	resp.Body, resp.ContentLength, resp.Trailer = io.NopCloser(bytes.NewReader(safe)), int64(len(safe)), nil
	return nil
}

// keepLogin stores what a login endpoint answered. Where an answer has no
// refresh token, the one that was sent stays good.
func (s *Server) keepLogin(x *exchange, answer *mint.Answer) error {
	if x.endpoint.Login == "" || answer.Get("access_token") == "" {
		return nil
	}
	refresh := answer.Get("refresh_token")
	if refresh == "" {
		refresh = x.finding.Real("refresh_token")
	}
	login := mint.Login{
		Access: answer.Get("access_token"), Refresh: refresh, ID: answer.Get("id_token"),
		Expires: answer.Ends(answer.Get("access_token"), time.Now()),
	}
	if s.keep == nil {
		return errNotKept
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.ctx), mint.Deadline)
	defer cancel()
	if err := s.keep(ctx, x.endpoint.Login, login); err != nil {
		return fmt.Errorf("%w: %w", errNotKept, err)
	}
	return nil
}

var errNotKept = errors.New("capture answer: the login could not be stored")

var errHeld = errors.New("capture answer: the session holds too much")

// reserveAnswer makes room for an answer of its own length, or of any.
func (s *Server) reserveAnswer(x *exchange, resp *http.Response, header http.Header) bool {
	size := x.answerLimit()
	if n := resp.ContentLength; n >= 0 && n < int64(size) && len(header["Content-Encoding"]) == 0 {
		size = int(n)
	}
	return s.reserve(x, size) == nil
}

// readAnswer reads a whole body, decoded.
func (s *Server) readAnswer(resp *http.Response, header http.Header, limit int) ([]byte, error) {
	body, err := scrub.Decode(header["Content-Encoding"], resp.Body, scrub.Limits{Budget: &s.decoding})
	if err != nil {
		return nil, err
	}
	defer body.Close()
	for _, name := range ofTheCoded {
		delete(header, name)
	}
	text, err := io.ReadAll(io.LimitReader(body, int64(limit)+1))
	if err != nil {
		return nil, fmt.Errorf("capture answer: %w", err)
	}
	if len(text) > limit {
		clear(text)
		return nil, errAnswerLong
	}
	return text, nil
}

// takeFields holds the values of the declared fields, all or none, and returns
// the placeholders.
func (s *Server) takeFields(x *exchange, answer *mint.Answer) (map[int]string, error) {
	declared := func(name string) *policy.Credential {
		for _, f := range x.endpoint.Secrets {
			if f.Field == name {
				return f.Credential
			}
		}
		return nil
	}
	for name := range answer.Other {
		if declared(name) != nil {
			return nil, fmt.Errorf("%w: %q", errAnswerValue, name)
		}
	}
	now := time.Now()
	var values []freshValue
	for i, f := range answer.Fields {
		c := declared(f.Name)
		switch {
		case f.Value == "":
		case c != nil:
			v := freshValue{fields: []int{i}, credential: c, text: f.Value, expires: expiry(answer, f.Name, now)}
			if x.endpoint.Service && x.endpoint.Pair == nil {
				v.user, v.text = basicOf(f.Value)
			}
			values = append(values, v)
		case slices.Contains(suspects, f.Name):
			return nil, fmt.Errorf("%w: %q", errAnswerField, f.Name)
		}
	}
	if pair := x.endpoint.Pair; pair != nil {
		if !slices.ContainsFunc(values, func(v freshValue) bool { return answer.Fields[v.fields[0]].Name == x.endpoint.Secrets[1].Field }) {
			return nil, nil // ids alone are public
		}
		one, err := joinPair(pair, x.endpoint.Secrets, answer, values)
		if err != nil {
			return nil, err
		}
		values = []freshValue{one}
	}
	texts, err := s.vault.hold(s, x, values)
	for _, v := range values {
		if at := v.fields[0]; err == nil && v.user != "" {
			texts[at] = base64.StdEncoding.EncodeToString([]byte(v.user + ":" + texts[at]))
		}
	}
	return texts, err
}

// basicOf takes apart what docker is to log in with; a value in another form is
// a password by itself.
func basicOf(value string) (user, password string) {
	plain, err := base64.StdEncoding.DecodeString(value)
	user, password, found := strings.Cut(string(plain), ":")
	if err != nil || !found || user == "" || password == "" || strings.Trim(user, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
		return "", value
	}
	return user, password
}

var errAnswerPair = errors.New("capture answer: it has a key pair that is not one, or several")

// joinPair makes one credential of the parts of a key pair.
func joinPair(pair *policy.Credential, parts []policy.MintedField, answer *mint.Answer, values []freshValue) (freshValue, error) {
	keys := make([][]byte, len(parts))
	one := freshValue{credential: pair, expires: values[0].expires, fields: make([]int, len(parts))}
	for _, v := range values {
		at := slices.IndexFunc(parts, func(p policy.MintedField) bool { return p.Field == answer.Fields[v.fields[0]].Name })
		if keys[at] != nil {
			return one, errAnswerPair
		}
		keys[at], one.fields[at] = []byte(v.text), v.fields[0]
	}
	one.fields = one.fields[:len(values)]
	text, err := sign.Read(sign.Keys{ID: keys[0], Secret: keys[1], Token: keys[2]}.Join())
	if err != nil {
		return one, errAnswerPair
	}
	one.text = string(text)
	return one, nil
}

// freshValue is one credential in an answer.
type freshValue struct {
	fields     []int // of a key pair, in its order; else one
	credential *policy.Credential
	text       string
	user       string // text came behind it, in base64; else ""
	expires    time.Time
}

// placeholder is in the value's own form where that is a JWT, else in the
// credential's.
func (v *freshValue) placeholder() (string, error) {
	if v.credential.Signs() {
		return pairPlaceholder(v.text)
	}
	if text, err := policy.HolderFor(*v.credential, []byte(v.text), time.Time{}, nil, rand.Reader); err == nil {
		return text, nil
	}
	return policy.Placeholder(*v.credential, shortestHolder, nil, rand.Reader) // the value is too short for the shape
}

func pairPlaceholder(text string) (string, error) {
	keys, err := sign.ParseKeys([]byte(text))
	if err != nil {
		return "", err
	}
	theirs, err := keys.Placeholder(rand.Reader)
	return string(theirs.Join()), err
}

// shortestHolder has room for 128 bits in every provider's shape.
const shortestHolder = 64

// uncaptured is the answer for an answer that is not passed on.
func uncaptured(err error) *refusal {
	if errors.Is(err, errHeld) {
		return errHolding
	}
	return &refusal{status: http.StatusBadGateway, reason: audit.ReasonBadResponse, cause: err,
		hint: "this endpoint hands out credentials, and its answer is not one they can be taken out of: see captures"}
}

// The names under which answers say how long a credential lasts: RFC 6749 has
// the first, others the rest.
var (
	lifetimes        = []string{"expires_in", "expires_at", "expiration", "expires", "expires_on", "expiry"}
	refreshLifetimes = []string{"refresh_token_expires_in", "refresh_expires_in", "refresh_token_expires_at"}
)

// expiry is when the value of a field ends; the zero time where the answer does
// not say. A refresh token does not end with the access token it came with.
func expiry(answer *mint.Answer, field string, now time.Time) time.Time {
	names := lifetimes
	if strings.Contains(field, "refresh") {
		names = refreshLifetimes
	}
	for _, name := range names {
		text, there := answer.Other[name]
		for _, f := range answer.Fields {
			if f.Name == name {
				text, there = f.Value, true
			}
		}
		if !there {
			continue
		}
		if at, ok := mint.Time(text, now); ok {
			return at
		}
	}
	return time.Time{}
}
