// SPDX-License-Identifier: Apache-2.0

package swap

import (
	"net/http"
	"strings"

	"github.com/phantom-ns/phantom-ns/proxy/policy"
	"github.com/phantom-ns/phantom-ns/proxy/secret"
)

// replaceItem replaces one item of a list in a header, spaces around it and
// every other byte untouched. It reports whether the item was there.
func replaceItem(values []string, separator, old, text string) bool {
	for i, value := range values {
		items := strings.Split(value, separator)
		for k, item := range items {
			if plain := strings.Trim(item, " \t"); plain == old {
				items[k] = strings.Replace(item, plain, text, 1)
				values[i] = strings.Join(items, separator)
				return true
			}
		}
	}
	return false
}

// cookie replaces a pair. It is added when the client had the field stripped,
// by naming it in Connection (H6).
func (a *application) cookie(old, pair string) error {
	if _, value, _ := strings.Cut(pair, "="); strings.ContainsAny(value, ` ",;\`) { // RFC 6265, section 4.1.1
		return ErrUnfit
	}
	if !replaceItem(a.request.Header["Cookie"], ";", old, pair) {
		a.request.Header["Cookie"] = append(a.request.Header["Cookie"], pair)
	}
	return nil
}

func (a *application) dropCookie(old string) {
	var kept []string
	for _, value := range a.request.Header["Cookie"] {
		for pair := range strings.SplitSeq(value, ";") {
			if pair = strings.Trim(pair, " \t"); pair != old && pair != "" {
				kept = append(kept, pair)
			}
		}
	}
	delete(a.request.Header, "Cookie")
	if len(kept) > 0 {
		a.request.Header["Cookie"] = []string{strings.Join(kept, "; ")}
	}
}

const protocolHeader = "Sec-Websocket-Protocol"

// protocol replaces an item of Sec-WebSocket-Protocol, which is a list of
// tokens (RFC 6455, section 4.1).
func (a *application) protocol(old, item string) error {
	if strings.ContainsFunc(item, notToken) {
		return ErrUnfit
	}
	if !replaceItem(a.request.Header[protocolHeader], ",", old, item) {
		a.request.Header[protocolHeader] = append(a.request.Header[protocolHeader], item)
	}
	return nil
}

func notToken(r rune) bool {
	return r <= ' ' || r >= 0x7f || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r)
}

// OwnCookie reports whether pair, "NAME=VALUE", is a placeholder that was found
// in its place.
func (f *Finding) OwnCookie(pair string) bool {
	for _, m := range f.Matched {
		for _, p := range m.places {
			if p.position.Kind == policy.PositionCookie && pair == p.position.Name+"="+m.Credential.Placeholder {
				return true
			}
		}
	}
	return false
}

// Restore puts the placeholder back into an answer that chose the subprotocol
// with the credential: the client knows that one alone.
func (f *Finding) Restore(header http.Header) {
	for _, m := range f.Matched {
		for _, p := range m.places {
			if p.position.Kind == policy.PositionSubprotocol {
				// Without a value there is nothing to put back.
				_ = m.Credential.Value.Use(func(v secret.Value) error {
					for replaceItem(header[protocolHeader], ",", p.item+string(v.Reveal()), p.item+m.Credential.Placeholder) {
					}
					return nil
				})
			}
		}
	}
}
