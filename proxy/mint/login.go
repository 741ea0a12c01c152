// SPDX-License-Identifier: Apache-2.0

package mint

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/phantom-ns/phantom-ns/proxy/secret"
)

// Login is a subscription's login as it is stored: one line of JSON.
//
//	{"access_token":"…","refresh_token":"…","id_token":"…","expires":1767225600}
type Login struct {
	Access, Refresh string
	ID              string    // "" where the service has none
	Expires         time.Time // of the access token; zero: not known
}

// ErrLogin is a stored login that is none.
var ErrLogin = errors.New("read login: want access_token and refresh_token")

// IsLogin tells a stored login from a token that stands alone.
func IsLogin(v secret.Value) bool {
	return strings.HasPrefix(string(v.Reveal()[:min(1, v.Len())]), "{")
}

// ParseLogin reads one.
func ParseLogin(v secret.Value) (Login, error) {
	a, err := Read("application/json", v.Reveal())
	if err != nil {
		return Login{}, ErrLogin
	}
	l := Login{Access: a.Get("access_token"), Refresh: a.Get("refresh_token"), ID: a.Get("id_token")}
	if n, err := strconv.ParseInt(a.Other["expires"], 10, 64); err == nil && n > 0 {
		l.Expires = time.Unix(n, 0)
	}
	return l, l.check()
}

func (l Login) check() error {
	if l.Access == "" || l.Refresh == "" {
		return ErrLogin
	}
	for _, token := range []string{l.Access, l.Refresh, l.ID} { // as b64token, RFC 6750
		if strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '"' || r == '\\' }) {
			return ErrLogin
		}
	}
	return nil
}

// Encode is what ParseLogin reads.
func (l Login) Encode() (secret.Value, error) {
	if err := l.check(); err != nil {
		return secret.Value{}, err
	}
	out := []byte(`{"access_token":"` + l.Access + `","refresh_token":"` + l.Refresh + `"`)
	if l.ID != "" {
		out = append(out, `,"id_token":"`+l.ID+`"`...)
	}
	if !l.Expires.IsZero() {
		out = fmt.Appendf(out, `,"expires":%d`, l.Expires.Unix())
	}
	return secret.New(append(out, '}'))
}

// Token is the access token, and what else answers are searched for.
func (l Login) Token() (t Token, err error) {
	t.Expires = l.Expires
	if t.Value, err = secret.New([]byte(l.Access)); err != nil {
		return Token{}, err
	}
	for _, text := range []string{l.Refresh, l.ID} {
		if text == "" {
			continue
		}
		v, err := secret.New([]byte(text))
		if err != nil {
			return Token{}, err
		}
		t.Also = append(t.Also, v)
	}
	return t, nil
}

// claimedEnd is the exp of a JWT; the zero time for any other token.
func claimedEnd(token string) time.Time {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return time.Time{}
	}
	plain, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return time.Time{}
	}
	defer clear(plain)
	var claims struct {
		Exp float64 `json:"exp"`
	}
	if json.Unmarshal(plain, &claims) != nil || claims.Exp <= 0 || claims.Exp > 1e11 {
		return time.Time{}
	}
	return time.Unix(int64(claims.Exp), 0)
}

// Import makes a login of what a tool keeps in a file of its own: the texts at
// the pointers of access token, refresh token and, unless they are "", of id
// token and end.
func Import(file []byte, access, refresh, id, expires string) (Login, error) {
	var tree any
	if err := json.Unmarshal(file, &tree); err != nil {
		return Login{}, errors.New("read login: not JSON")
	}
	l := Login{Access: follow(tree, access), Refresh: follow(tree, refresh), ID: follow(tree, id)}
	if at, ok := Time(follow(tree, expires), time.Now()); ok {
		l.Expires = at
	} else {
		l.Expires = claimedEnd(l.Access)
	}
	return l, l.check()
}

// follow is the text or number at an RFC 6901 pointer; "" where there is none.
func follow(tree any, pointer string) string {
	if pointer == "" {
		return ""
	}
	for token := range strings.SplitSeq(pointer[1:], "/") {
		object, ok := tree.(map[string]any)
		if !ok {
			return ""
		}
		tree = object[strings.NewReplacer("~1", "/", "~0", "~").Replace(token)]
	}
	switch v := tree.(type) {
	case string:
		return v
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	return ""
}

// Lease is the one right to refresh a stored login: no other session has it at
// the same time.
type Lease interface {
	// Login is what is stored now: another session may have refreshed it.
	Login() (Login, error)
	// Save stores what came of it. It returns when the new login would survive a
	// crash; a crash before leaves the old one.
	Save(Login) error
	Close() error
}

// Refresher is the Exchange of a stored login.
type Refresher struct {
	URL    string // of the token endpoint
	Form   bool
	Client string
	Scope  string
	Lease  func(ctx context.Context) (Lease, error)
	Warn   func(text string, err error)

	known   digest       // of the access token that this session has
	unsaved secret.Value // the login that could not be stored; empty: none
	spent   digest       // of the stored refresh token that it was got for
}

// digest tells tokens apart where the tokens themselves are not to be kept: a
// text in ordinary memory stays there as long as the session.
type digest [sha256.Size]byte

func digestOf(token string) digest { return sha256.Sum256([]byte(token)) }

// NewRefresher begins with a login that was read.
func NewRefresher(r Refresher, now Login) *Refresher {
	r.known = digestOf(now.Access)
	return &r
}

// enough is how long a token that another session got must last to be worth
// taking over, beside what the Minter asks for.
const enough = 2 * earliest

// Exchange takes over what another session has refreshed, or refreshes.
func (r *Refresher) Exchange(ctx context.Context, up Upstream) (Token, error) {
	lease, err := r.Lease(ctx)
	if err != nil {
		return Token{}, err
	}
	defer lease.Close()
	login, err := lease.Login()
	if err != nil {
		return Token{}, err
	}
	stored := digestOf(login.Refresh)
	switch {
	case r.unsaved.Len() > 0 && stored == r.spent: // it was traded in already
		if login, err = ParseLogin(r.unsaved); err != nil {
			return Token{}, err
		}
	case digestOf(login.Access) != r.known && (login.Expires.IsZero() || time.Until(login.Expires) > enough):
		r.known = digestOf(login.Access)
		return login.Token()
	}
	next, err := r.refresh(ctx, up, login)
	if err != nil {
		return Token{}, fmt.Errorf("refresh login: %w", err)
	}
	r.known = digestOf(next.Access)
	r.unsaved.Wipe()
	if err := lease.Save(next); err != nil {
		// The old refresh token is spent: this session goes on, and tries again.
		var lost error
		r.unsaved, lost = next.Encode()
		r.spent = stored
		r.Warn("the refreshed login could not be stored; when the session ends it is lost, and a new login is needed", errors.Join(err, lost))
	}
	return next.Token()
}

func (r *Refresher) refresh(ctx context.Context, up Upstream, login Login) (Login, error) {
	g := grant{{"grant_type", "refresh_token"}, {"refresh_token", login.Refresh}, {"client_id", r.Client}}
	if r.Scope != "" {
		g = append(g, [2]string{"scope", r.Scope})
	}
	asked := time.Now()
	a, err := ask(ctx, up, r.URL, r.Form, g)
	if err != nil {
		return Login{}, err
	}
	next := Login{Access: a.Get("access_token"), Refresh: a.Get("refresh_token"), ID: a.Get("id_token")}
	if next.Refresh == "" { // it stays good (RFC 6749, section 6)
		next.Refresh = login.Refresh
	}
	if next.ID == "" {
		next.ID = login.ID
	}
	next.Expires = a.Ends(next.Access, asked)
	return next, next.check()
}
