// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"net"
	"net/url"
	"strconv"
	"strings"
)

// Proxy is the network's own HTTP proxy, which connections to names go through.
type Proxy struct {
	Address  string `json:"address"`        // HOST:PORT
	User     string `json:"user,omitempty"` // "" for nobody
	Password bool   `json:"password,omitempty"`
	Rule     string `json:"rule"`
}

// proxy is what a session needs to know, or nil.
func (u *Upstream) proxy() *Proxy {
	if u.Proxy == "" {
		return nil
	}
	return &Proxy{Address: u.Proxy, User: u.User, Password: u.From != "" || u.Password != "", Rule: u.Rule}
}

// readUpstream reads the section and refuses what contradicts itself.
func readUpstream(r *reader, n *node, f *File) error {
	given, err := readMap(r, n, "upstream", upstreamKeys, &f.Upstream)
	if err != nil {
		return err
	}
	switch {
	case given["user"] != nil && given["proxy"] == nil:
		return r.fail(given["user"], "upstream.user: has no effect without a proxy")
	case given["password"] != nil && given["user"] == nil:
		return r.fail(given["password"], "upstream.password: want user, too")
	case given["user"] != nil && f.Upstream.Password != "":
		return r.fail(given["user"], "upstream.user: the proxy's URL has one")
	}
	return nil
}

// readProxy reads http://[USER:PASSWORD@]HOST:PORT. Messages do not quote it.
func readProxy(r *reader, n *node, u *Upstream) error {
	text, err := r.str(n, "upstream.proxy")
	if err != nil {
		return err
	}
	target, err := url.Parse(text)
	if err != nil || target.Scheme != "http" || target.Opaque != "" || target.Path != "" || target.RawQuery != "" || target.ForceQuery || strings.Contains(text, "#") {
		return r.fail(n, "upstream.proxy: want http://HOST:PORT or http://USER:PASSWORD@HOST:PORT")
	}
	host, hostOK := hostOrAddress(target.Hostname())
	port, portOK := parsePort(target.Port())
	if !hostOK || !portOK {
		return r.fail(n, "upstream.proxy: want a host or an address, and a port, as in http://proxy.corp.example:3128")
	}
	if target.User != nil {
		u.User = target.User.Username()
		u.Password, _ = target.User.Password()
		if u.User == "" || u.Password == "" || !plainField(u.User) || !plainField(u.Password) || strings.Contains(u.User, ":") {
			return r.fail(n, "upstream.proxy: want a user and a password of printable characters, percent-encoded where the URL needs it")
		}
	}
	u.Proxy, u.Rule = net.JoinHostPort(host, strconv.Itoa(int(port))), r.rule(n)
	return nil
}

// proxyUser reads a user as Basic authentication has it (RFC 7617: no colon).
func (r *reader) proxyUser(n *node) (string, error) {
	text, err := r.str(n, "upstream.user")
	if err == nil && (!plainField(text) || strings.Contains(text, ":")) {
		err = r.fail(n, "upstream.user: want printable characters without a colon")
	}
	return text, err
}

// plainField reports whether text can stand in a header field.
func plainField(text string) bool {
	return !strings.ContainsFunc(text, func(c rune) bool { return c < 0x20 || c >= 0x7f && c < 0xa0 || c == 0xfffd })
}
