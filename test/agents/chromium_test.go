// SPDX-License-Identifier: Apache-2.0

//go:build agents

package agents

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/phantom-ns/phantom-ns/test/rig"
)

// Chromium trusts what is in its user's NSS database, besides roots of its own.
// The home is an overlay: what is put there is gone with the session.
const (
	trusting = `mkdir -p ~/.pki/nssdb
certutil -d sql:$HOME/.pki/nssdb -N --empty-password
certutil -d sql:$HOME/.pki/nssdb -A -t C,, -n phantom-ns -i "$NODE_EXTRA_CA_CERTS"
`
	browsing = "exec timeout 50 chromium --headless=new --disable-gpu --dump-dom https://page.corp.test/"
)

// TestChromiumFetchesAPage runs a browser with its own sandbox, which makes
// namespaces, at a host that the policy allows. It passes once the session's
// authority is in its database, and not before.
func TestChromiumFetchesAPage(t *testing.T) {
	if need := rig.Needs(t, "Chromium"); need != rig.NeedsDatabase {
		t.Errorf("the page says that it needs %s", need)
	}
	w := rig.New(t)
	u := rig.NewUpstream(t, w.Listen)
	u.Serve("page.corp.test", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, "<script>document.write('%s-' + 6*7)</script>", u.Answer)
	}))
	for name, c := range map[string]struct {
		script string
		shown  bool
	}{"as it is": {browsing, false}, "with its database": {trusting + browsing, true}} {
		t.Run(name, func(t *testing.T) {
			tap := w.Tap(nil)
			r := w.Run(rig.Session{
				Policy: "version: 1\npermit: [nested_sandbox]\negress:\n  - host: page.corp.test\n" + u.Hosts(),
				Args:   []string{"/bin/sh", "-ec", c.script},
			})
			if shown := strings.Contains(r.Stdout, u.Answer+"-42"); shown != c.shown {
				t.Errorf("%v", r)
			}
			if seen := tap.Stop(); len(seen) > 0 {
				t.Errorf("packets left the session: %v", seen)
			}
		})
	}
	for _, r := range w.Audit() {
		if r.Status == http.StatusOK && r.Name != "page.corp.test" {
			t.Errorf("let out to %s", r.Name)
		}
	}
}
