// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/phantom-ns/phantom-ns/proxy/audit"
	"github.com/phantom-ns/phantom-ns/proxy/policy"
	"github.com/phantom-ns/phantom-ns/proxy/secret"
	"github.com/phantom-ns/phantom-ns/proxy/sign"
	"github.com/phantom-ns/phantom-ns/proxy/swap"
)

// accounts are a real key and the one that the agent holds; made once, for it
// takes a while.
var accounts = sync.OnceValues(func() (real, held []byte) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		panic(err)
	}
	real, err = json.Marshal(map[string]string{
		"type": "service_account", "private_key_id": "realkeyid0123456789", "client_email": "a@p.iam.gserviceaccount.com",
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
	})
	if err != nil {
		panic(err)
	}
	account, err := sign.ReadAccount(real)
	if err != nil {
		panic(err)
	}
	if held, err = account.Placeholder(); err != nil {
		panic(err)
	}
	return real, held
})

func newAsserted(t *testing.T) (r *rig, up *recorder, real, held *sign.Account) {
	t.Helper()
	realText, heldText := accounts()
	real, err := sign.ReadAccount(realText)
	if err != nil {
		t.Fatal(err)
	}
	if held, err = sign.ReadAccount(heldText); err != nil {
		t.Fatal(err)
	}
	world := newAuthority(t)
	up = newRecorder(t, world, nil)
	session := testSession(up.address(), up.address())
	session.Credentials[0].Positions = []policy.Position{{Kind: policy.PositionServiceAccount}}
	session.Credentials[0].Captures = []policy.Capture{}
	r = newRig(t, session, world, func(c *Config) {
		list := credentials(t, session)
		value, err := secret.New([]byte(string(realText)))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(value.Wipe)
		list[0].Placeholder, list[0].Value = string(heldText), secret.NewCell(value)
		c.Credentials = swap.New(list)
	})
	return r, up, real, held
}

// made is an assertion by a, whose claims name an audience.
func made(t *testing.T, a *sign.Account) string {
	t.Helper()
	claims := base64.RawURLEncoding.EncodeToString([]byte(`{"iss":"a@p.iam.gserviceaccount.com","aud":"x","exp":1}`))
	token, err := a.Again("x." + claims + ".x")
	if err != nil {
		t.Fatal(err)
	}
	return token
}

const grant = "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion="

// TestC1ServiceAccount: the agent's assertions arrive as the real key's.
func TestC1ServiceAccount(t *testing.T) {
	eachProtocol(t, func(t *testing.T, h2 bool) {
		r, up, real, held := newAsserted(t)
		resp, body := r.do(r.client(h2), post(formType, grant+made(t, held)+"&x=%7e"))
		got := up.last(t)
		sent, _ := io.ReadAll(got.Body)
		fields, err := url.ParseQuery(string(sent))
		if resp.StatusCode != 200 || err != nil || !real.Made(fields.Get("assertion")) || !strings.HasSuffix(string(sent), "&x=%7e") || !strings.HasPrefix(string(sent), grant) {
			t.Errorf("%d %s %s", resp.StatusCode, body, sent)
		}
		resp, body = r.do(r.client(h2), call{url: "https://" + apiHost + "/v1/x", header: one("Authorization", "Bearer "+made(t, held))})
		token, _ := strings.CutPrefix(up.last(t).Header.Get("Authorization"), "Bearer ")
		if resp.StatusCode != 200 || !real.Made(token) {
			t.Errorf("%d %s %s", resp.StatusCode, body, token)
		}
		for _, rec := range r.sink.wait(2) {
			if rec.Position != "service_account" || rec.Verdict != audit.Allow {
				t.Errorf("%+v", rec)
			}
		}
	})
}

func TestC4ServiceAccount(t *testing.T) {
	r, up, real, held := newAsserted(t)
	changed := made(t, held)
	changed = changed[:len(changed)-8] + "AAAAAAAA"
	for name, c := range map[string]call{
		"another key":        {url: "https://" + apiHost + "/", header: one("Authorization", "Bearer "+made(t, real))},
		"a changed one":      post(formType, grant+changed),
		"another's in form":  post(formType, grant+made(t, real)),
		"its id in a header": {url: "https://" + apiHost + "/", header: one("X-Note", held.ID())},
		"another host":       {url: "https://" + gitHost + "/", header: one("Authorization", "Bearer "+made(t, held))},
	} {
		t.Run(name, func(t *testing.T) {
			if resp, body := r.do(r.client(false), c); resp.StatusCode != 403 {
				t.Errorf("%d %s", resp.StatusCode, body)
			}
		})
	}
	if seen := up.seen(); seen != "" {
		t.Errorf("upstream saw %s", seen)
	}
}

// TestL1ServiceAccount: the private key does not come back, in whatever form.
func TestL1ServiceAccount(t *testing.T) {
	r, up, real, held := newAsserted(t)
	quoted, err := json.Marshal(real.PEM())
	if err != nil {
		t.Fatal(err)
	}
	up.respond = func(*http.Request) string {
		body := real.PEM() + string(quoted)
		return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	}
	_, body := r.do(r.client(false), call{url: "https://" + apiHost + "/", header: one("Authorization", "Bearer "+made(t, held))})
	if line := strings.Split(real.PEM(), "\n")[3]; strings.Contains(body, line) || len(line) < 60 {
		t.Errorf("the agent got the key: %s", body)
	}
}
