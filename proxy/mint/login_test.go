// SPDX-License-Identifier: Apache-2.0

package mint

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/phantom-ns/phantom-ns/proxy/secret"
)

func TestLoginRoundTrip(t *testing.T) {
	for _, l := range []Login{
		{Access: "access-0123456789", Refresh: "refresh+/=~.-_", ID: "a.b.c", Expires: time.Unix(1767225600, 0)},
		{Access: "access-0123456789", Refresh: "refresh"},
	} {
		v, err := l.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if !IsLogin(v) || secret.Check(v) != nil {
			t.Errorf("%s", v.Reveal())
		}
		if got, err := ParseLogin(v); err != nil || got != l {
			t.Errorf("%+v, %v", got, err)
		}
	}
	for _, bad := range []Login{{}, {Access: "a"}, {Refresh: "r"}, {Access: "a\"", Refresh: "r"}, {Access: "a", Refresh: "r\n"}, {Access: "a", Refresh: "r", ID: "é"}} {
		if _, err := bad.Encode(); !errors.Is(err, ErrLogin) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
	for _, text := range []string{"", "{}", "sk-ant-oat01-0123456789", `{"access_token":1,"refresh_token":"r"}`, `{"access_token":"a","refresh_token":"r"`} {
		if _, err := ParseLogin(value(t, text)); !errors.Is(err, ErrLogin) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestImport(t *testing.T) {
	const claude = `{"claudeAiOauth":{"accessToken":"sk-ant-oat01-x","refreshToken":"sk-ant-ort01-x","expiresAt":1767225600123,"scopes":["a"]}}`
	l, err := Import([]byte(claude), "/claudeAiOauth/accessToken", "/claudeAiOauth/refreshToken", "", "/claudeAiOauth/expiresAt")
	if err != nil || l != (Login{Access: "sk-ant-oat01-x", Refresh: "sk-ant-ort01-x", Expires: time.UnixMilli(1767225600123)}) {
		t.Errorf("%+v, %v", l, err)
	}
	const codex = `{"tokens":{"access_token":"e30.eyJleHAiOjE3NjcyMjU2MDB9.x","refresh_token":"r","id_token":"i"}}`
	l, err = Import([]byte(codex), "/tokens/access_token", "/tokens/refresh_token", "/tokens/id_token", "")
	if err != nil || l.ID != "i" || !l.Expires.Equal(time.Unix(1767225600, 0)) {
		t.Errorf("%+v, %v", l, err)
	}
	for _, text := range []string{"", "[]", "{}", `{"tokens":[]}`, `{"tokens":{"access_token":"a"}}`, `{"tokens":{"access_token":{},"refresh_token":"r"}}`} {
		if _, err := Import([]byte(text), "/tokens/access_token", "/tokens/refresh_token", "", ""); err == nil {
			t.Errorf("%q passed", text)
		}
	}
}

func TestTime(t *testing.T) {
	now := time.Unix(1700000000, 0)
	for text, want := range map[string]time.Time{
		"3600": now.Add(time.Hour), "0": now, "0.5": now.Add(500 * time.Millisecond), "1767225600": time.Unix(1767225600, 0),
		"1767225600123": time.UnixMilli(1767225600123), "2026-01-01T00:00:00Z": time.Unix(1767225600, 0), "2026-01-01T01:00:00+01:00": time.Unix(1767225600, 0),
	} {
		if got, ok := Time(text, now); !ok || !got.Equal(want) {
			t.Errorf("%s: %s, %v", text, got, ok)
		}
	}
	for _, text := range []string{"", "soon", "-1", "NaN", "Inf", "1e300", "2026-01-01"} {
		if got, ok := Time(text, now); ok {
			t.Errorf("%s: %s", text, got)
		}
	}
}

func TestGrantIsWrittenSafely(t *testing.T) {
	g := grant{{"grant_type", "x"}, {"secret", `a&b="\ é`}}
	if got := string(g.form()); got != "grant_type=x&secret=a%26b%3D%22%5C%20%C3%A9" {
		t.Error(got)
	}
	if got := string(g.json()); got != `{"grant_type":"x","secret":"a&b=\"\\ é"}` {
		t.Error(got)
	}
}

// wire answers requests of our own.
type wire func(*http.Request) (*http.Response, error)

func (w wire) Do(r *http.Request) (*http.Response, error) { return w(r) }

func answers(status int, text string) wire {
	return func(*http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: status, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(text))}, nil
	}
}

// shelf is a store with one login.
type shelf struct {
	login Login
	err   error // of Save
	saves int
}

func (s *shelf) Login() (Login, error) { return s.login, nil }
func (s *shelf) Close() error          { return nil }
func (s *shelf) Save(l Login) error {
	s.saves++
	if s.err == nil {
		s.login = l
	}
	return s.err
}

func refresher(s *shelf, warned *int) *Refresher {
	return NewRefresher(Refresher{
		URL: "https://token.test/t", Client: "c",
		Lease: func(context.Context) (Lease, error) { return s, nil },
		Warn:  func(string, error) { *warned++ },
	}, s.login)
}

// TestRefusedIsTold: what time does not heal is told apart, and nothing of an
// answer is in an error.
func TestRefusedIsTold(t *testing.T) {
	const canary = "canary-0123456789"
	for _, c := range []struct {
		status  int
		text    string
		refused bool
	}{
		{400, `{"error":"invalid_grant","error_description":"` + canary + `"}`, true},
		{401, `{"error":{"code":"refresh_token_reused","message":"` + canary + `"}}`, true},
		{400, `{"error":"temporarily_unavailable"}`, false},
		{503, canary, false},
		{200, canary, false},
		{200, `{"access_token":{"v":"` + canary + `"}}`, false},
		{302, `{"access_token":"` + canary + `"}`, false},
	} {
		warned := 0
		s := &shelf{login: Login{Access: "old-access", Refresh: canary}}
		_, err := refresher(s, &warned).Exchange(t.Context(), answers(c.status, c.text))
		if err == nil || errors.Is(err, ErrRefused) != c.refused || strings.Contains(fmt.Sprint(err), canary) || s.saves != 0 {
			t.Errorf("%d %s: %v", c.status, c.text, err)
		}
	}
}

// TestUnsavedLoginGoesOn: when the store cannot be written, this session keeps
// the login that it has, and stores it when it can.
func TestUnsavedLoginGoesOn(t *testing.T) {
	warned := 0
	s := &shelf{login: Login{Access: "access-1", Refresh: "refresh-1"}, err: errors.New("disk full")}
	r := refresher(s, &warned)
	sent := ""
	up := func(n int) wire {
		return func(req *http.Request) (*http.Response, error) {
			body, _ := io.ReadAll(req.Body)
			sent = string(body)
			return answers(200, fmt.Sprintf(`{"access_token":"access-%d-0123456789","refresh_token":"refresh-%d"}`, n, n))(req)
		}
	}
	if _, err := r.Exchange(t.Context(), up(2)); err != nil || warned != 1 || s.login.Refresh != "refresh-1" {
		t.Fatalf("%v, %d warnings, %+v", err, warned, s.login)
	}
	s.err = nil
	if _, err := r.Exchange(t.Context(), up(3)); err != nil || !strings.Contains(sent, "refresh-2") || s.login.Refresh != "refresh-3" || warned != 1 {
		t.Errorf("%v, sent %s, stored %+v", err, sent, s.login)
	}
}

// TestRefresherKeepsNoToken: between exchanges they are in locked memory alone.
func TestRefresherKeepsNoToken(t *testing.T) {
	warned := 0
	s := &shelf{login: Login{Access: "access-1", Refresh: "refresh-1", ID: "id-1"}}
	r := refresher(s, &warned)
	for _, s.err = range []error{nil, errors.New("disk full")} {
		if _, err := r.Exchange(t.Context(), answers(200, `{"access_token":"access-2-0123456789","refresh_token":"refresh-2"}`)); err != nil {
			t.Fatal(err)
		}
		if text := fmt.Sprintf("%+v", *r); strings.Contains(text, "-1") || strings.Contains(text, "-2") {
			t.Errorf("it keeps a token: %s", text)
		}
	}
}

// TestTakenOver: what another session has refreshed is used, and nothing is
// asked for.
func TestTakenOver(t *testing.T) {
	warned := 0
	s := &shelf{login: Login{Access: "access-1-0123456789", Refresh: "refresh-1"}}
	r := refresher(s, &warned)
	s.login = Login{Access: "access-2-0123456789", Refresh: "refresh-2", Expires: time.Now().Add(time.Hour)}
	token, err := r.Exchange(t.Context(), wire(func(*http.Request) (*http.Response, error) {
		t.Error("asked")
		return nil, io.EOF
	}))
	if err != nil || string(token.Value.Reveal()) != "access-2-0123456789" || !token.Expires.Equal(s.login.Expires) || len(token.Also) != 1 {
		t.Errorf("%+v, %v", token, err)
	}
	// One that is about to end, too, is no use.
	s.login = Login{Access: "access-3-0123456789", Refresh: "refresh-3", Expires: time.Now().Add(time.Second)}
	if _, err := r.Exchange(t.Context(), answers(200, `{"access_token":"access-4-0123456789"}`)); err != nil || s.login.Access != "access-4-0123456789" || s.login.Refresh != "refresh-3" {
		t.Errorf("%+v, %v", s.login, err)
	}
}
