// SPDX-License-Identifier: Apache-2.0

//go:build root

package clients

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/phantom-ns/phantom-ns/test/rig"
)

// google plays the token endpoint and the APIs for the holder of one service
// account's key.
type google struct {
	key           *rsa.PrivateKey
	token, answer string
}

// signed reports whether a JWT is by the real key.
func (g *google) signed(token string) bool {
	at := strings.LastIndexByte(token, '.')
	if at < 0 {
		return false
	}
	raw, err := base64.RawURLEncoding.DecodeString(token[at+1:])
	sum := sha256.Sum256([]byte(token[:at]))
	return err == nil && rsa.VerifyPKCS1v15(&g.key.PublicKey, crypto.SHA256, sum[:], raw) == nil
}

func (g *google) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	bearer := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	switch {
	case r.Host == "oauth2.googleapis.com" && r.URL.Path == "/token" && g.signed(r.FormValue("assertion")):
		fmt.Fprintf(w, `{"access_token":%q,"expires_in":3599,"token_type":"Bearer"}`, g.token)
	case r.Host == "storage.googleapis.com" && bearer == g.token, r.Host == "pubsub.googleapis.com" && g.signed(bearer):
		fmt.Fprintf(w, "{%q: 1}", g.answer)
	default:
		http.Error(w, `{"error":"no"}`, http.StatusUnauthorized)
	}
}

// TestGoogleAuth: Google's library makes assertions with a key that is worth
// nothing; the real key's arrive, and the access token stays outside too.
func TestGoogleAuth(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	private := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	stored, err := json.MarshalIndent(map[string]string{
		"type": "service_account", "project_id": "phantom", "private_key_id": strings.Repeat("0a", 20), "private_key": private,
		"client_email": "a@phantom.iam.gserviceaccount.com", "client_id": "1", "token_uri": "https://oauth2.googleapis.com/token",
	}, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	tr := newTrial(t, api{provider: "gcp"})
	services := &google{key: key, token: rig.CanaryOf(t, "ya29.c.", 200), answer: tr.upstream.Answer}
	for _, host := range []string{"oauth2", "storage", "pubsub"} {
		tr.upstream.Serve(host+".googleapis.com", services)
	}
	tr.provide(nil, []string{"client_google.py"})
	r := tr.world.Run(rig.Session{
		Policy: "version: 1\ncredentials:\n  gcp:\n    from: " + tr.world.Secret("gcp", string(stored)) + "\n    hosts: [\"*.googleapis.com\"]\n" + tr.upstream.Hosts(),
		Args:   []string{"venv/bin/python", "client_google.py"},
	})
	want := fmt.Sprintf("project: phantom\nby token: 200 {%[1]q: 1}\nby assertion: 200 {%[1]q: 1}\n", tr.upstream.Answer)
	if r.Exit != 0 || r.Stdout != want || strings.Contains(r.Stderr, "phantom-ns:") {
		t.Fatalf("%v\naudit: %s", r, tr.world.Read(rig.AuditLog))
	}
	tr.key, tr.result = services.token, r
	tr.checkAgent()
}
