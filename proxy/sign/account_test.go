// SPDX-License-Identifier: Apache-2.0

package sign

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"strings"
	"testing"
)

// account is the JSON of a service account with a key of its own.
func account(t *testing.T, change func(doc map[string]any)) []byte {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	doc := map[string]any{
		"type": "service_account", "project_id": "p", "private_key_id": "0123456789abcdef", "client_email": "a@p.iam.gserviceaccount.com",
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), "token_uri": "https://oauth2.googleapis.com/token",
	}
	if change != nil {
		change(doc)
	}
	text, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// assertion is what a client makes with a.
func assertion(t *testing.T, a *Account, claims string) string {
	t.Helper()
	token, err := a.Again("x." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".x")
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func TestAssertionIsSignedAgain(t *testing.T) {
	real, err := ReadAccount(account(t, nil))
	if err != nil {
		t.Fatal(err)
	}
	text, err := real.Placeholder()
	if err != nil {
		t.Fatal(err)
	}
	held, err := ReadAccount(text)
	if err != nil || held.ID() == real.ID() || bytes.Contains(text, []byte(strings.Split(real.PEM(), "\n")[2])) || !bytes.Contains(text, []byte(`"project_id":"p"`)) {
		t.Fatal(err, string(text))
	}
	const claims = `{"iss":"a@p.iam.gserviceaccount.com","aud":"https://oauth2.googleapis.com/token","exp":1}`
	token := assertion(t, held, claims)
	if !held.Made(token) || real.Made(token) {
		t.Error("the placeholder's assertion is not taken for its own")
	}
	again, err := real.Again(token)
	if err != nil || !real.Made(again) || held.Made(again) || strings.Split(again, ".")[1] != strings.Split(token, ".")[1] {
		t.Errorf("%v %s", err, again)
	}
	for name, bad := range map[string]string{
		"another account":  assertion(t, held, `{"iss":"b@p.iam.gserviceaccount.com"}`),
		"issuer twice":     assertion(t, held, `{"iss":"b@x","ISS":"a@p.iam.gserviceaccount.com"}`),
		"other claims":     strings.Join([]string{strings.Split(token, ".")[0], base64.RawURLEncoding.EncodeToString([]byte(strings.Replace(claims, "1}", "2}", 1))), strings.Split(token, ".")[2]}, "."),
		"no signature":     token[:strings.LastIndexByte(token, '.')+1],
		"algorithm none":   base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","kid":"`+held.ID()+`"}`)) + token[strings.IndexByte(token, '.'):],
		"another's key id": base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"RS256","kid":"x"}`)) + token[strings.IndexByte(token, '.'):],
		"four parts":       token + ".x",
		"one part":         "x",
	} {
		if held.Made(bad) {
			t.Errorf("%s is taken", name)
		}
	}
}

func TestAccountsAreRead(t *testing.T) {
	for name, text := range map[string][]byte{
		"not json": []byte("x"),
		"a user's": account(t, func(doc map[string]any) { doc["type"] = "authorized_user" }),
		"no key":   account(t, func(doc map[string]any) { delete(doc, "private_key") }),
		"no email": account(t, func(doc map[string]any) { doc["client_email"] = "" }),
		"not a key": account(t, func(doc map[string]any) {
			doc["private_key"] = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"
		}),
		"a number":     account(t, func(doc map[string]any) { doc["private_key_id"] = 7 }),
		"no PEM":       account(t, func(doc map[string]any) { doc["private_key"] = "x" }),
		"another type": account(t, func(doc map[string]any) { doc["type"] = "external_account" }),
	} {
		if _, err := ReadAccount(text); !errors.Is(err, ErrAccount) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
