// SPDX-License-Identifier: Apache-2.0

//go:build root

package escape

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/phantom-ns/phantom-ns/test/rig"
)

// TestT2AuthorityOfAnotherSession: a client that trusts the authority of one
// session does not trust what another session shows it, and sends it nothing;
// the host trusts neither.
func TestT2AuthorityOfAnotherSession(t *testing.T) {
	const host, bundle = "trust.test", "/etc/ssl/certs/ca-certificates.crt"
	w := rig.New(t)
	u := rig.NewUpstream(t, w.Listen)
	u.Serve(host, http.HandlerFunc(func(to http.ResponseWriter, r *http.Request) { io.WriteString(to, r.URL.Path) }))
	policy := "version: 1\negress:\n  - host: " + host + "\n" + u.Hosts()
	before := w.Read(bundle)

	other := w.Run(rig.Session{Policy: policy, Args: []string{"cat", "/run/phantom-ns/ca.pem"}})
	if other.Exit != 0 || !strings.HasPrefix(other.Stdout, "-----BEGIN CERTIFICATE-----") {
		t.Fatal(other)
	}
	r := w.Run(rig.Session{Policy: policy, Stdin: strings.NewReader(other.Stdout), Args: []string{"sh", "-c", `
		cat > other.pem
		curl -s --cacert other.pem --capath /none https://trust.test/other; echo " exit $?"
		curl -s https://trust.test/own; echo " exit $?"
		grep -cF "$(sed -n 2p /run/phantom-ns/ca.pem)" ` + bundle}})
	// 60: "peer certificate cannot be authenticated with known CA certificates", curl(1).
	if want := " exit 60\n/own exit 0\n1\n"; r.Stdout != want {
		t.Errorf("%q, want %q: %v", r.Stdout, want, r)
	}
	if seen := u.Exchanges(host); len(seen) != 1 {
		t.Errorf("%d requests upstream", len(seen))
	}
	if !bytes.Equal(w.Read(bundle), before) {
		t.Error("the host's bundle changed")
	}
}
