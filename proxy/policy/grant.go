// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"net/url"
	"strings"
)

// Grant says that a credential is not sent itself: the proxy trades it in, as
// the secret of an OAuth 2.0 client, for access tokens (RFC 6749, section 4.4).
type Grant struct {
	Host     string `json:"host"` // of the token endpoint, on port 443
	Path     string `json:"path"`
	Client   string `json:"client"`
	Scope    string `json:"scope,omitempty"`
	Audience string `json:"audience,omitempty"`
}

// URL of the token endpoint.
func (g Grant) URL() string { return "https://" + g.Host + g.Path }

// GrantedLength is how long the placeholder of a granted token is: the token's
// own length is not known before there is one.
const GrantedLength = 64

var grantKeys = keys[Grant]{
	"token": func(r *reader, n *node, g *Grant) (err error) {
		g.Host, g.Path, err = r.endpointURL(n, "credentials.grant.token")
		return err
	},
	"client": func(r *reader, n *node, g *Grant) (err error) {
		g.Client, err = r.str(n, "credentials.grant.client")
		return err
	},
	"scope": func(r *reader, n *node, g *Grant) (err error) {
		g.Scope, err = r.str(n, "credentials.grant.scope")
		return err
	},
	"audience": func(r *reader, n *node, g *Grant) (err error) {
		g.Audience, err = r.str(n, "credentials.grant.audience")
		return err
	},
}

func readGrant(r *reader, n *node, d *Declared) error {
	d.Grant = &Grant{}
	given, err := readMap(r, n, "credentials.grant", grantKeys, d.Grant)
	if err == nil && (given["token"] == nil || given["client"] == nil) {
		err = r.fail(n, "credentials.grant: want token and client")
	}
	return err
}

// endpointURL reads where a request of the proxy's own goes.
func (r *reader) endpointURL(n *node, where string) (host, path string, err error) {
	text, err := r.str(n, where)
	if err != nil {
		return "", "", err
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "https" || u.RawQuery != "" || u.Fragment != "" || u.User != nil || !strings.HasPrefix(u.Path, "/") {
		return "", "", r.fail(n, "%s: want https://HOST/PATH", where)
	}
	if host, err = Canonical(u.Host); err != nil {
		return "", "", r.fail(n, "%s: want https://HOST/PATH, the host by its name and without a port", where)
	}
	return host, u.EscapedPath(), nil
}
