// SPDX-License-Identifier: Apache-2.0

package swap

import (
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"strings"

	"github.com/phantom-ns/phantom-ns/proxy/policy"
	"github.com/phantom-ns/phantom-ns/proxy/sign"
)

// Body is how a body is judged.
type Body int

// A body that is not looked at, and the two that are.
const (
	NoBody Body = iota
	Form        // application/x-www-form-urlencoded
	JSON        // application/json
	Whole       // of any type: a signature covers its hash
)

// Body says how the body under header, of a request for target, is to be judged at a host where the
// credentials bound are usable. Unless that is NoBody, the whole body is to be
// in the [Request] before it is judged for good.
func (s *Set) Body(bound []*policy.Credential, header http.Header, target string) (Body, error) {
	form, json, signs := false, false, false
	for _, b := range bound {
		for _, p := range b.Positions {
			form = form || p.Kind == policy.PositionForm || p.Kind == policy.PositionServiceAccount
			json = json || p.Kind == policy.PositionJSON
			signs = signs || p.Kind == policy.PositionSigV4
		}
	}
	present := func(field string) bool { return len(header[textproto.CanonicalMIMEHeaderKey(field)]) > 0 }
	if signs && sign.NeedsContent(header, target) || s.claims(bound, present) {
		return Whole, nil
	}
	if !form && !json {
		return NoBody, nil
	}
	types := header["Content-Type"]
	if len(types) > 1 {
		return NoBody, ErrVariant
	}
	if len(types) == 0 || !plainText(header["Content-Encoding"], types[0]) {
		return NoBody, nil
	}
	media, _, _ := strings.Cut(types[0], ";")
	switch strings.ToLower(strings.Trim(media, " \t")) {
	case "application/x-www-form-urlencoded":
		if form {
			return Form, nil
		}
	case "application/json":
		if json {
			return JSON, nil
		}
	}
	return NoBody, nil
}

// plainText reports whether a body is neither compressed nor in another
// charset than UTF-8.
func plainText(codings []string, media string) bool {
	for _, coding := range codings {
		if coding != "" && !strings.EqualFold(coding, "identity") {
			return false
		}
	}
	_, charset, found := strings.Cut(strings.ToLower(media), "charset=")
	charset, _, _ = strings.Cut(strings.Trim(charset, " \t"), ";")
	return !found || slices.Contains([]string{"utf-8", "utf8", "us-ascii"}, strings.Trim(charset, ` "`))
}

func (j *judgement) body() error {
	switch j.request.Body {
	case Form:
		return j.form()
	case JSON:
		return j.json()
	}
	return nil
}

// names are the values of all positions of kind, each once.
func (j *judgement) names(kind policy.PositionKind) (out []string) {
	for _, c := range j.usable {
		for _, p := range c.Policy.Positions {
			if p.Kind == kind && !slices.Contains(out, p.Name) {
				out = append(out, p.Name)
			}
		}
	}
	return out
}

// form judges the declared fields of a form. A field twice is refused, whatever
// is in it: servers take the first, the last or both.
func (j *judgement) form() error {
	names := j.names(policy.PositionForm)
	asserts := j.declares(policy.PositionServiceAccount)
	if asserts && !slices.Contains(names, assertionField) {
		names = append(names, assertionField)
	}
	count := make([]int, len(names))
	for pair := range pairs(j.request.Content, 0) {
		plain, err := url.QueryUnescape(pair.name)
		if err != nil {
			plain = pair.name
		}
		at := slices.IndexFunc(names, func(name string) bool { return strings.EqualFold(name, plain) })
		if at < 0 {
			continue
		}
		if count[at]++; count[at] > 1 {
			return ErrDuplicate
		}
		found, err := j.pair(policy.PositionForm, pair.name, pair.value, pair.span)
		if err == nil && !found && asserts && plain == assertionField {
			found, err = j.assertion(pair.value, pair.span)
		}
		if err != nil {
			return err
		}
		j.finding.Foreign = j.finding.Foreign || !found && pair.value != ""
	}
	return nil
}
