// SPDX-License-Identifier: Apache-2.0

package mint

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"
)

// maxAnswer bounds what an endpoint answers to a request of our own.
const maxAnswer = 256 << 10

// ErrRefused is an endpoint that does not trade: the login was ended, or the
// client's secret changed. Trying again is of no use before that is seen to.
var ErrRefused = errors.New("the service refused it")

// grant is a request for a token (RFC 6749, sections 4.4 and 6): its fields in
// their order.
type grant [][2]string

// form and json write the request. Whoever sends it clears it after.
func (g grant) form() []byte {
	var out []byte
	for i, field := range g {
		if i > 0 {
			out = append(out, '&')
		}
		out = append(append(append(out, field[0]...), '='), escape(field[1])...)
	}
	return out
}

func (g grant) json() []byte {
	out := []byte{'{'}
	for i, field := range g {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(append(append(out, '"'), field[0]...), `":"`...)
		out = append(append(out, jsonText.Replace(field[1])...), '"')
	}
	return append(out, '}')
}

var jsonText = strings.NewReplacer(`"`, `\"`, `\`, `\\`)

// escape percent-encodes what is not unreserved (RFC 3986, section 2.3).
func escape(text string) []byte {
	var out []byte
	for i := range len(text) {
		if c := text[i]; c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-._~", c) >= 0 {
			out = append(out, c)
		} else {
			out = fmt.Appendf(out, "%%%02X", c)
		}
	}
	return out
}

// ask sends a grant and takes the answer apart.
func ask(ctx context.Context, up Upstream, url string, form bool, g grant) (*Answer, error) {
	media, body := "application/json", []byte(nil)
	if form {
		media, body = "application/x-www-form-urlencoded", g.form()
	} else {
		body = g.json()
	}
	defer clear(body)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return nil, errors.New("ask endpoint: bad address")
	}
	req.Header = http.Header{"Content-Type": {media}, "Accept": {"application/json"}, "User-Agent": {"phantom-ns"}, "Accept-Encoding": {"identity"}}
	req.GetBody = nil // a refresh token that may have arrived is not sent again
	resp, err := up.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask endpoint: %w", err)
	}
	defer resp.Body.Close()
	return readAnswer(resp)
}

func readAnswer(resp *http.Response) (*Answer, error) {
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("ask endpoint: %w", err)
	case len(text) > maxAnswer:
		return nil, errors.New("ask endpoint: the answer is too long")
	}
	defer clear(text)
	refused := fmt.Errorf("ask endpoint: status %d", resp.StatusCode)
	if len(resp.Header["Content-Encoding"]) > 0 {
		return nil, ErrAnswer
	}
	a, err := Read(resp.Header.Get("Content-Type"), text)
	if resp.StatusCode != http.StatusOK {
		if err == nil && refusal(a) {
			refused = fmt.Errorf("%w: %w", refused, ErrRefused)
		}
		return nil, refused
	}
	return a, err
}

// refusal reports one of RFC 6749, section 5.2, that time does not heal.
func refusal(a *Answer) bool {
	final := []string{"invalid_grant", "invalid_client", "unauthorized_client", "refresh_token_expired", "refresh_token_reused", "refresh_token_invalidated"}
	return slices.ContainsFunc(a.Fields, func(f Field) bool {
		return (f.Name == "error" || f.Name == "code" || f.Name == "type") && slices.Contains(final, f.Value)
	})
}

// Get is the first field of that name; "" where there is none.
func (a *Answer) Get(name string) string {
	for _, f := range a.Fields {
		if f.Name == name {
			return f.Value
		}
	}
	return ""
}

// Ends is when an access token of the answer ends, by expires_in or by its own
// claim; the zero time where neither says.
func (a *Answer) Ends(token string, now time.Time) time.Time {
	text, there := a.Other["expires_in"]
	if !there {
		text = a.Get("expires_in")
	}
	if at, ok := Time(text, now); ok {
		return at
	}
	return claimedEnd(token)
}
