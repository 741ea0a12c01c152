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
	case r.Host == "aiplatform.googleapis.com" && bearer == g.token && strings.HasSuffix(r.URL.Path, "/models/claude-sonnet-4-5:rawPredict"):
		fmt.Fprintf(w, `{"id":"m","type":"message","role":"assistant","model":"m","content":[{"type":"text","text":%q}],"usage":{"input_tokens":1,"output_tokens":1}}`, g.answer)
	default:
		http.Error(w, `{"error":"no"}`, http.StatusUnauthorized)
	}
}

// newGoogle is the stand-in for hosts of googleapis.com, and the key file of the
// account as a user has it.
func newGoogle(tr *trial, hosts ...string) (services *google, stored string) {
	tr.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		tr.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		tr.Fatal(err)
	}
	text, err := json.MarshalIndent(map[string]string{
		"type": "service_account", "project_id": "phantom", "private_key_id": strings.Repeat("0a", 20),
		"private_key":  string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
		"client_email": "a@phantom.iam.gserviceaccount.com", "client_id": "1", "token_uri": "https://oauth2.googleapis.com/token",
	}, "", "  ")
	if err != nil {
		tr.Fatal(err)
	}
	services = &google{key: key, token: rig.CanaryOf(tr.T, "ya29.c.", 200), answer: tr.upstream.Answer}
	for _, host := range hosts {
		tr.upstream.Serve(host+".googleapis.com", services)
	}
	return services, string(text)
}

// TestGoogleAuth: Google's library makes assertions with a key that is worth
// nothing; the real key's arrive, and the access token stays outside too.
func TestGoogleAuth(t *testing.T) {
	tr := newTrial(t, api{provider: "gcp"})
	services, stored := newGoogle(tr, "oauth2", "storage", "pubsub")
	tr.provide(nil, []string{"client_google.py"})
	r := tr.world.Run(rig.Session{
		Policy: "version: 1\ncredentials:\n  gcp:\n    from: " + tr.world.Secret("gcp", stored) + "\n    hosts: [\"*.googleapis.com\"]\n" + tr.upstream.Hosts(),
		Args:   []string{"venv/bin/python", "client_google.py"},
	})
	want := fmt.Sprintf("project: phantom\nby token: 200 {%[1]q: 1}\nby assertion: 200 {%[1]q: 1}\n", tr.upstream.Answer)
	if r.Exit != 0 || r.Stdout != want || strings.Contains(r.Stderr, "phantom-ns:") {
		t.Fatalf("%v\naudit: %s", r, tr.world.Read(rig.AuditLog))
	}
	tr.key, tr.result = services.token, r
	tr.checkAgent()
}

// TestVertex: Claude at Vertex AI by Anthropic's library, with a stored key file
// and the provider's name alone; the endpoint of a region is no host of it.
func TestVertex(t *testing.T) {
	tr := newTrial(t, api{provider: "vertex"})
	services, stored := newGoogle(tr, "oauth2", "aiplatform", "us-central1-aiplatform")
	tr.provide(nil, []string{"client_vertex.py"})
	if r := tr.world.Command(strings.NewReader(stored), "secret", "set", "vertex"); r.Exit != 0 {
		t.Fatal(r)
	}
	session := rig.Session{Policy: "version: 1\n" + tr.upstream.Hosts(), With: []string{"vertex"}, Args: []string{"venv/bin/python", "client_vertex.py"}}
	r := tr.world.Run(session)
	if r.Exit != 0 || r.Stdout != tr.upstream.Answer+"\n" || strings.Contains(r.Stderr, "phantom-ns:") {
		t.Fatalf("%v\naudit: %s", r, tr.world.Read(rig.AuditLog))
	}
	session.Args = []string{"curl", "-sS", "https://us-central1-aiplatform.googleapis.com/"}
	if region := tr.world.Run(session); region.Exit != 6 {
		t.Errorf("another region: %v", region)
	}
	tr.key, tr.result = services.token, r
	tr.checkAgent()
}
