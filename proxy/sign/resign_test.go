// SPDX-License-Identifier: Apache-2.0

package sign

import (
	"bytes"
	"crypto/rand"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// client signs as a client does, with keys of its own and its own way with
// paths.
func client(keys Keys, r *Request, form pathForm, names ...string) {
	s := &Signature{scope: "20260102/eu-west-1/svc/aws4_request", time: "20260102T030405Z", signed: names, path: form, payload: hashOf(r.Content)}
	r.Header[fieldDate] = []string{s.time}
	s.Sign(keys, r)
}

func pairOf(t *testing.T, token string) (real, placeholder Keys) {
	t.Helper()
	real = Keys{ID: []byte("ASIAREALREALREALREAL"), Secret: []byte(strings.Repeat("s", 40)), Token: []byte(token)}
	placeholder, err := real.Placeholder(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return real, placeholder
}

func TestSignedAgainInTheClientsOwnForm(t *testing.T) {
	keys, placeholder := pairOf(t, "")
	for _, target := range []string{"/", "/a b%20c/%E4%BD%A0/x(1)!", "/a%2Fb?z=1&a=%2F+&a=", "/x?list-type=2&prefix=a/b c"} {
		for i, form := range pathForms {
			r := &Request{Method: "POST", Host: "svc.eu-west-1.amazonaws.com", Target: target, Header: http.Header{"X-Amz-Target": {" a   b "}}, Content: []byte("{}")}
			client(placeholder, r, form, "host", "x-amz-date", "x-amz-target")
			s, _, err := FromHeader(r.Header)
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Verify(placeholder, r); err != nil {
				t.Fatalf("%q, form %d: %v", target, i, err)
			}
			delete(r.Header, "X-Amz-Target") // a field of this hop, for all the signer knows
			s.Sign(keys, r)
			again, _, err := FromHeader(r.Header)
			if err != nil || again.ID != string(keys.ID) || slices.Contains(again.signed, "x-amz-target") {
				t.Fatal(again, err)
			}
			if err := again.Verify(keys, r); err != nil {
				t.Errorf("%q, form %d: not the real key's: %v", target, i, err)
			}
			if err := again.Verify(placeholder, r); !errors.Is(err, ErrMismatch) {
				t.Errorf("%q, form %d: %v", target, i, err)
			}
		}
	}
}

func TestTokenIsTheRealKeys(t *testing.T) {
	for name, c := range map[string]struct{ theirs, ours string }{"swapped": {"T", "real/token="}, "added": {"", "real/token="}, "taken out": {"T", ""}} {
		t.Run(name, func(t *testing.T) {
			keys, placeholder := pairOf(t, c.ours)
			placeholder.Token = []byte(c.theirs)
			r := &Request{Method: "GET", Host: "h", Target: "/", Header: http.Header{}}
			names := []string{"host", "x-amz-date"}
			if c.theirs != "" {
				names = append(names, tokenName)
				r.Header[fieldToken] = []string{c.theirs}
			}
			client(placeholder, r, pathForms[0], names...)
			s, _, err := FromHeader(r.Header)
			if err != nil || s.Verify(placeholder, r) != nil {
				t.Fatal(err)
			}
			s.Sign(keys, r)
			if got := strings.Join(r.Header[fieldToken], ","); got != c.ours {
				t.Errorf("token %q", got)
			}
			if again, _, err := FromHeader(r.Header); err != nil || again.Verify(keys, r) != nil || slices.Contains(again.signed, tokenName) != (c.ours != "") {
				t.Errorf("%+v %v", again, err)
			}
		})
	}
	keys, placeholder := pairOf(t, "real/token=")
	r := &Request{Method: "GET", Host: "h", Target: "/k?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=" + string(placeholder.ID) +
		"%2F20260102%2Feu-west-1%2Fs3%2Faws4_request&X-Amz-Date=20260102T030405Z&X-Amz-Expires=60&X-Amz-SignedHeaders=host&X-Amz-Security-Token=" + string(placeholder.Token), Header: http.Header{}}
	s := &Signature{scope: "20260102/eu-west-1/s3/aws4_request", time: "20260102T030405Z", signed: []string{"host"}, presigned: true, path: pathForms[0], payload: unsigned}
	s.signQuery(placeholder, r)
	s, _, err := FromQuery(r.Target)
	if err != nil || s.Verify(placeholder, r) != nil || QueryToken(r.Target) != string(placeholder.Token) {
		t.Fatal(err, r.Target)
	}
	s.Sign(keys, r)
	again, _, err := FromQuery(r.Target)
	if err != nil || again.Verify(keys, r) != nil || QueryToken(r.Target) != "real/token=" || strings.Contains(r.Target, string(placeholder.Token)) {
		t.Errorf("%v %s", err, r.Target)
	}
}

func TestMalformedSignatures(t *testing.T) {
	const good = "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, SignedHeaders=host;x-amz-date, Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
	read := func(value, date string) error {
		_, _, err := FromHeader(http.Header{"Authorization": {value}, "X-Amz-Date": {date}})
		return err
	}
	if err := read(good, "20130524T000000Z"); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string][2]string{
		"signature twice":     {good + ", Signature=00", "20130524T000000Z"},
		"short signature":     {good[:len(good)-2], "20130524T000000Z"},
		"another day":         {good, "20130525T000000Z"},
		"no time":             {good, ""},
		"scope of three":      {strings.Replace(good, "/s3/", "/", 1), "20130524T000000Z"},
		"empty region":        {strings.Replace(good, "us-east-1", "", 1), "20130524T000000Z"},
		"no host":             {strings.Replace(good, "host;", "", 1), "20130524T000000Z"},
		"names unsorted":      {strings.Replace(good, "host;x-amz-date", "x-amz-date;host", 1), "20130524T000000Z"},
		"a name twice":        {strings.Replace(good, "host;", "host;host;", 1), "20130524T000000Z"},
		"names in upper case": {strings.Replace(good, "host;x", "host;X", 1), "20130524T000000Z"},
	} {
		if err := read(c[0], c[1]); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, ours, _ := FromHeader(http.Header{"Authorization": {"AWS4-HMAC-SHA512 Credential=x"}}); ours {
		t.Error("another algorithm is taken")
	}
}

func TestKeysAreRead(t *testing.T) {
	const id, secret = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
	for name, c := range map[string]struct{ text, want string }{
		"pair":             {id + ":" + secret, id + ":" + secret},
		"with a token":     {id + ":" + secret + ":t/o+k=", id + ":" + secret + ":t/o+k="},
		"the CLI's":        {`{"Version": 1, "AccessKeyId": "` + id + `", "SecretAccessKey": "` + secret + `", "SessionToken": "tok", "Expiration": "2026-01-01T00:00:00Z"}`, id + ":" + secret + ":tok"},
		"the CLI's, plain": {`{"AccessKeyId": "` + id + `", "SecretAccessKey": "` + secret + `"}`, id + ":" + secret},
		"id alone":         {id, ""},
		"short secret":     {id + ":abc", ""},
		"bad id":           {strings.ToLower(id) + ":" + secret, ""},
		"space":            {id + ":" + secret + " ", ""},
		"not json":         {"{", ""},
		"another's json":   {`{"token": "x"}`, ""},
		"empty":            {"", ""},
	} {
		got, err := Read([]byte(c.text))
		if string(got) != c.want || (c.want == "") != errors.Is(err, ErrKeys) {
			t.Errorf("%s: %q %v", name, got, err)
		}
	}
}

func TestPlaceholderHasTheShape(t *testing.T) {
	keys, one := pairOf(t, strings.Repeat("t", 300))
	_, two := pairOf(t, strings.Repeat("t", 300))
	if len(one.ID) != 20 || len(one.Secret) != 40 || len(one.Token) != 300 || !bytes.HasPrefix(one.ID, []byte("ASIA")) {
		t.Errorf("%q %d %d", one.ID, len(one.Secret), len(one.Token))
	}
	if bytes.Equal(one.ID, two.ID) || bytes.Equal(one.Secret, two.Secret) || bytes.Equal(one.ID, keys.ID) {
		t.Error("not fresh")
	}
	if parsed, err := ParseKeys(one.Join()); err != nil || !bytes.Equal(parsed.Token, one.Token) {
		t.Error(err)
	}
}
