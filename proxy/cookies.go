// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"crypto/sha256"
	"net/http"
	"strings"
	"sync"
)

// maxCookies bounds the cookies that a session remembers, of all hosts together:
// a wildcard has any number of them. Beyond it new ones are not remembered, so
// that the agent's copy of them is dropped.
const maxCookies = 32 << 10

// cookies remembers, as hashes, what each host set in this session. A cookie
// that the host did not set is a credential from elsewhere.
type cookies struct {
	mu    sync.Mutex
	known map[[sha256.Size]byte]struct{}
}

func newCookies() *cookies {
	return &cookies{known: make(map[[sha256.Size]byte]struct{})}
}

func cookieKey(host, pair string) [sha256.Size]byte {
	return sha256.Sum256([]byte(host + "\n" + strings.Trim(pair, " \t")))
}

// learn remembers the Set-Cookie fields of an answer of host.
func (c *cookies) learn(host string, header http.Header) {
	set := header["Set-Cookie"]
	if len(set) == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, value := range set {
		if len(c.known) >= maxCookies {
			return
		}
		pair, _, _ := strings.Cut(value, ";")
		c.known[cookieKey(host, pair)] = struct{}{}
	}
}

// filter removes the cookies that host did not set in this session and that are
// not own, and reports whether there were any.
func (c *cookies) filter(host string, header http.Header, own func(pair string) bool) (foreign bool) {
	values := header["Cookie"]
	if len(values) == 0 {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	var kept []string
	for _, value := range values {
		for pair := range strings.SplitSeq(value, ";") {
			pair = strings.Trim(pair, " \t")
			if pair == "" {
				continue
			}
			if _, ok := c.known[cookieKey(host, pair)]; ok || own(pair) {
				kept = append(kept, pair)
			} else {
				foreign = true
			}
		}
	}
	delete(header, "Cookie")
	if len(kept) > 0 {
		header["Cookie"] = []string{strings.Join(kept, "; ")}
	}
	return foreign
}
