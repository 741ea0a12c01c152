// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/phantom-ns/phantom-ns/proxy/audit"
	"github.com/phantom-ns/phantom-ns/proxy/policy"
	"github.com/phantom-ns/phantom-ns/proxy/secret"
	"github.com/phantom-ns/phantom-ns/proxy/swap"
)

// The pair that the agent holds and the real one, with tokens.
var (
	heldKeys = aws.Credentials{AccessKeyID: "ASIAPHANTOMPHANTOMAA", SecretAccessKey: strings.Repeat("p", 40), SessionToken: "phantomtoken0123456789"}
	realKeys = aws.Credentials{AccessKeyID: "ASIACANARYCANARYCANA", SecretAccessKey: strings.Repeat("canaryCA", 5), SessionToken: "canarytoken9876543210/+="}
)

func joined(c aws.Credentials) string {
	return strings.TrimSuffix(c.AccessKeyID+":"+c.SecretAccessKey+":"+c.SessionToken, ":")
}

// newSigned is a world whose first credential is a key pair.
func newSigned(t *testing.T, held, real aws.Credentials) (*rig, *recorder) {
	t.Helper()
	world := newAuthority(t)
	up := newRecorder(t, world, nil)
	session := testSession(up.address(), up.address())
	session.Credentials[0].Positions = []policy.Position{{Kind: policy.PositionSigV4}}
	session.Credentials[0].Captures = []policy.Capture{}
	r := newRig(t, session, world, func(c *Config) {
		list := credentials(t, session)
		value, err := secret.New([]byte(joined(real)))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(value.Wipe)
		list[0].Placeholder, list[0].Value = joined(held), secret.NewCell(value)
		c.Credentials = swap.New(list)
	})
	return r, up
}

func sha(body string) string {
	sum := sha256.Sum256([]byte(body))
	return hex.EncodeToString(sum[:])
}

// signer is the SDK's own, which knows nothing of proxy/sign.
func signer(service string) *v4.Signer {
	return v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = service == "s3" })
}

// awsRequest is one request of an SDK for service.
func awsRequest(t *testing.T, keys aws.Credentials, service, method, target, body, payload string) *http.Request {
	t.Helper()
	req, err := http.NewRequest(method, "https://"+apiHost+target, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if service == "s3" || payload != sha(body) {
		req.Header.Set("X-Amz-Content-Sha256", payload)
	}
	req.Header.Set("X-Amz-Meta-Note", "a   b")
	if err := signer(service).SignHTTP(context.Background(), keys, req, payload, service, "eu-west-1", time.Now()); err != nil {
		t.Fatal(err)
	}
	return req
}

// authentic reports whether what arrived is signed by keys, by the SDK's
// reckoning.
func authentic(t *testing.T, keys aws.Credentials, service string, got *http.Request, payload string) bool {
	t.Helper()
	auth := got.Header.Get("Authorization")
	_, names, _ := strings.Cut(auth, "SignedHeaders=")
	names, _, _ = strings.Cut(names, ",")
	at, err := time.Parse("20060102T150405Z", got.Header.Get("X-Amz-Date"))
	if err != nil {
		t.Fatal(err)
	}
	again, err := http.NewRequest(got.Method, "https://"+got.Host+got.RequestURI, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name := range strings.SplitSeq(names, ";") {
		if values, ok := got.Header[http.CanonicalHeaderKey(name)]; ok && name != "x-amz-security-token" && name != "x-amz-date" {
			again.Header[http.CanonicalHeaderKey(name)] = values
		}
		if name == "content-length" {
			again.ContentLength = got.ContentLength
		}
	}
	if err := signer(service).SignHTTP(context.Background(), keys, again, payload, service, "eu-west-1", at); err != nil {
		t.Fatal(err)
	}
	return again.Header.Get("Authorization") == auth && got.Header.Get("X-Amz-Security-Token") == keys.SessionToken
}

func (r *rig) roundTrip(h2 bool, req *http.Request) (*http.Response, string) {
	r.t.Helper()
	resp, err := r.client(h2).Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return resp, string(body)
}

// TestC1SigV4: what the SDK signed with the placeholder arrives signed with the
// real pair, as the SDK would have.
func TestC1SigV4(t *testing.T) {
	for name, c := range map[string]struct{ service, method, target, body, payload string }{
		"object":           {"s3", "PUT", "/a%20b/k%2Fx?partNumber=1&uploadId=x%3D", "hello", sha("hello")},
		"unsigned payload": {"s3", "PUT", "/key", "hello", "UNSIGNED-PAYLOAD"},
		"list":             {"s3", "GET", "/?list-type=2&prefix=a%2Fb", "", sha("")},
		"action":           {"dynamodb", "POST", "/", `{"TableName":"t"}`, sha(`{"TableName":"t"}`)},
		"encoded path":     {"bedrock", "POST", "/model/anthropic.x%3A0/invoke", `{}`, sha(`{}`)},
	} {
		t.Run(name, func(t *testing.T) {
			eachProtocol(t, func(t *testing.T, h2 bool) {
				r, up := newSigned(t, heldKeys, realKeys)
				resp, body := r.roundTrip(h2, awsRequest(t, heldKeys, c.service, c.method, c.target, c.body, c.payload))
				rec := r.sink.last(1)
				if resp.StatusCode != 200 || rec.Position != "sigv4" || rec.Verdict != audit.Allow {
					t.Fatalf("%d %s, record %+v", resp.StatusCode, body, rec)
				}
				got := up.last(t)
				if !authentic(t, realKeys, c.service, got, c.payload) {
					t.Errorf("not the real pair's: %v", got.Header)
				}
				if sent, _ := io.ReadAll(got.Body); string(sent) != c.body || got.RequestURI != c.target {
					t.Errorf("%q %q", got.RequestURI, sent)
				}
				if seen := up.seen(); strings.Contains(seen, "PHANTOM") || strings.Contains(seen, heldKeys.SessionToken) {
					t.Errorf("upstream saw\n%s", seen)
				}
				if n := r.server.holding.Load(); n != 0 {
					t.Errorf("%d bytes held", n)
				}
			})
		})
	}
}

func TestC1SigV4TokenOfOneSide(t *testing.T) {
	plainHeld, plainReal := heldKeys, realKeys
	plainHeld.SessionToken, plainReal.SessionToken = "", ""
	for name, c := range map[string]struct{ held, real aws.Credentials }{"real alone": {plainHeld, realKeys}, "held alone": {heldKeys, plainReal}, "none": {plainHeld, plainReal}} {
		t.Run(name, func(t *testing.T) {
			r, up := newSigned(t, c.held, c.real)
			resp, body := r.roundTrip(false, awsRequest(t, c.held, "s3", "GET", "/k", "", sha("")))
			if resp.StatusCode != 200 || !authentic(t, c.real, "s3", up.last(t), sha("")) {
				t.Errorf("%d %s %v", resp.StatusCode, body, up.last(t).Header)
			}
		})
	}
}

func TestC1SigV4Presigned(t *testing.T) {
	r, up := newSigned(t, heldKeys, realKeys)
	now := time.Now()
	presign := func(keys aws.Credentials) string {
		req, err := http.NewRequest("GET", "https://"+apiHost+"/a%20key?X-Amz-Expires=60&response-content-type=text%2Fplain", nil)
		if err != nil {
			t.Fatal(err)
		}
		signed, _, err := signer("s3").PresignHTTP(context.Background(), keys, req, "UNSIGNED-PAYLOAD", "s3", "eu-west-1", now)
		if err != nil {
			t.Fatal(err)
		}
		return signed
	}
	resp, body := r.do(r.client(false), call{url: presign(heldKeys)})
	if resp.StatusCode != 200 {
		t.Fatal(resp.StatusCode, body)
	}
	r.sink.wait(1) // written behind the answer
	_, want, _ := strings.Cut(presign(realKeys), apiHost)
	_, wantSignature, _ := strings.Cut(want, "X-Amz-Signature=")
	if got := up.last(t).RequestURI; !strings.HasSuffix(got, wantSignature) || strings.Contains(got, "PHANTOM") || !strings.Contains(got, realKeys.AccessKeyID) {
		t.Errorf("upstream got\n%s, wanted\n%s", got, want)
	}
	resp, body = r.do(r.client(false), call{url: strings.Replace(presign(heldKeys), "a%20key", "another", 1)})
	if resp.StatusCode != 403 || r.refusedPage(body, 2) != "bad_signature" {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
}

// TestC1SigV4PresignedBody: of services other than S3 the signature of a URL
// covers the body, too; S3's uploads are not held.
func TestC1SigV4PresignedBody(t *testing.T) {
	const body = `{"what":"signed"}`
	for service, c := range map[string]struct {
		payload, sent string
		status        int
	}{
		"execute-api": {sha(body), body, 200},
		"lambda":      {sha(body), body + " ", 403},
		"s3":          {"UNSIGNED-PAYLOAD", body, 200},
	} {
		t.Run(service, func(t *testing.T) {
			r, up := newSigned(t, heldKeys, realKeys)
			now := time.Now()
			presign := func(keys aws.Credentials) string {
				req, err := http.NewRequest("POST", "https://"+apiHost+"/prod?X-Amz-Expires=60", nil)
				if err != nil {
					t.Fatal(err)
				}
				signed, _, err := signer(service).PresignHTTP(t.Context(), keys, req, c.payload, service, "eu-west-1", now)
				if err != nil {
					t.Fatal(err)
				}
				return signed
			}
			resp, page := r.do(r.client(false), call{method: "POST", url: presign(heldKeys), body: c.sent})
			if resp.StatusCode != c.status {
				t.Fatal(resp.StatusCode, page)
			}
			rec := r.sink.last(1)
			if c.status != 200 {
				if rec.Reason != audit.ReasonBadSignature || up.connections() != 0 {
					t.Errorf("%+v", rec)
				}
				return
			}
			got := up.last(t)
			_, signature, _ := strings.Cut(presign(realKeys), "X-Amz-Signature=")
			text, _ := io.ReadAll(got.Body)
			if !strings.HasSuffix(got.RequestURI, signature) || string(text) != body {
				t.Errorf("upstream got %s\n%s", got.RequestURI, text)
			}
		})
	}
}

// chunked is a body in the form of a signed stream whose signatures are given.
func chunked(data []string, signatures []string) string {
	var b strings.Builder
	for i, text := range append(data, "") {
		fmt.Fprintf(&b, "%x;chunk-signature=%s\r\n%s\r\n", len(text), signatures[i], text)
	}
	return b.String()
}

// chunkSignatures computes what AWS's reference says of a signed stream, for a
// head that is authentic.
func chunkSignatures(head *http.Request, data []string) (out []string) {
	at := head.Header.Get("X-Amz-Date")
	scope := at[:8] + "/eu-west-1/s3/aws4_request"
	key := []byte("AWS4" + realKeys.SecretAccessKey)
	sum := func(text string) []byte {
		h := hmac.New(sha256.New, key)
		h.Write([]byte(text))
		return h.Sum(nil)
	}
	for part := range strings.SplitSeq(scope, "/") {
		key = sum(part)
	}
	_, last, _ := strings.Cut(head.Header.Get("Authorization"), "Signature=")
	for _, text := range append(data, "") {
		last = hex.EncodeToString(sum("AWS4-HMAC-SHA256-PAYLOAD\n" + at + "\n" + scope + "\n" + last + "\n" + sha("") + "\n" + sha(text)))
		out = append(out, last)
	}
	return out
}

func TestC1SigV4Stream(t *testing.T) {
	const payload = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
	data := []string{strings.Repeat("a", 64<<10), "tail"}
	zeros := strings.Repeat("0", 64)
	eachProtocol(t, func(t *testing.T, h2 bool) {
		r, up := newSigned(t, heldKeys, realKeys)
		body := chunked(data, []string{zeros, zeros, zeros})
		resp, text := r.roundTrip(h2, awsRequest(t, heldKeys, "s3", "PUT", "/k", body, payload))
		if resp.StatusCode != 200 {
			t.Fatal(resp.StatusCode, text)
		}
		got := up.last(t)
		if !authentic(t, realKeys, "s3", got, payload) {
			t.Fatalf("the head is not the real pair's: %v", got.Header)
		}
		sent, _ := io.ReadAll(got.Body)
		if want := chunked(data, chunkSignatures(got, data)); string(sent) != want {
			t.Errorf("%d bytes of %d, the signatures are not the real pair's", len(sent), len(want))
		}
		r.sink.wait(1) // what was held is given back before
		if n := r.server.holding.Load(); n != 0 {
			t.Errorf("%d bytes held", n)
		}
	})
}

// TestC4SigV4: nothing is signed for who does not have the placeholder's secret,
// and no part of the pair goes anywhere else.
func TestC4SigV4(t *testing.T) {
	other := heldKeys
	other.AccessKeyID = "AKIAATTACKERATTACKER"
	wrong := heldKeys
	wrong.SecretAccessKey = strings.Repeat("w", 40)
	stolen := heldKeys
	stolen.SessionToken = "attackers"
	get := func(keys aws.Credentials) *http.Request { return awsRequest(t, keys, "s3", "GET", "/k", "", sha("")) }
	changed := get(heldKeys)
	changed.URL.Path = "/other"
	stray := get(heldKeys)
	stray.Header.Set("X-Note", heldKeys.SecretAccessKey)
	twice := get(heldKeys)
	twice.URL.RawQuery = "X-Amz-Signature=" + sha("") + "&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Date=20260102T000000Z&X-Amz-SignedHeaders=host&X-Amz-Credential=" +
		heldKeys.AccessKeyID + "/20260102/r/s/aws4_request"
	v2 := get(heldKeys)
	v2.Header.Set("Authorization", "AWS "+heldKeys.AccessKeyID+":c2lnbmF0dXJl")
	bearer := get(heldKeys)
	bearer.Header.Set("Authorization", "Bearer "+heldKeys.SecretAccessKey)
	bare, err := http.NewRequest("GET", "https://"+apiHost+"/k", nil)
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := get(heldKeys)
	elsewhere.URL.Host, elsewhere.Host = gitHost, gitHost
	for name, c := range map[string]struct {
		req    *http.Request
		status int
		reason string
	}{
		"another pair":     {get(other), 403, "foreign_credential"},
		"the id alone":     {get(wrong), 403, "bad_signature"},
		"another token":    {get(stolen), 403, "duplicate_credential"},
		"another path":     {changed, 403, "bad_signature"},
		"secret in a note": {stray, 403, "misplaced_placeholder"},
		"signed twice":     {twice, 400, "duplicate_credential"},
		"version 2":        {v2, 403, "misplaced_placeholder"},
		"secret as bearer": {bearer, 403, "misplaced_placeholder"},
		"bare":             {bare, 401, "no_credential"},
		"another host":     {elsewhere, 403, "unbound_placeholder"},
	} {
		t.Run(name, func(t *testing.T) {
			r, up := newSigned(t, heldKeys, realKeys)
			resp, body := r.roundTrip(false, c.req)
			if resp.StatusCode != c.status || r.refusedPage(body, 1) != c.reason {
				t.Errorf("%d %s", resp.StatusCode, body)
			}
			if seen := up.seen(); seen != "" {
				t.Errorf("upstream saw %s", seen)
			}
		})
	}
}

// TestL5SigV4: ranges stay, because no answer can hold a key that was in no
// request.
func TestL5SigV4(t *testing.T) {
	r, up := newSigned(t, heldKeys, realKeys)
	req := awsRequest(t, heldKeys, "s3", "GET", "/k", "", sha(""))
	req.Header.Set("Range", "bytes=0-3")
	if resp, body := r.roundTrip(false, req); resp.StatusCode != 200 || up.last(t).Header.Get("Range") != "bytes=0-3" {
		t.Errorf("%d %s %v", resp.StatusCode, body, up.last(t).Header)
	}
}

// TestL1SigV4: each part of the pair that comes back is the placeholder's.
func TestL1SigV4(t *testing.T) {
	r, up := newSigned(t, heldKeys, realKeys)
	up.respond = func(*http.Request) string {
		body := realKeys.AccessKeyID + " " + realKeys.SecretAccessKey + " " + realKeys.SessionToken
		return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	}
	_, body := r.roundTrip(false, awsRequest(t, heldKeys, "s3", "GET", "/k", "", sha("")))
	for _, part := range []string{realKeys.AccessKeyID, realKeys.SecretAccessKey, realKeys.SessionToken} {
		if strings.Contains(body, part) {
			t.Errorf("the agent got %q", body)
		}
	}
	if !strings.HasPrefix(body, heldKeys.AccessKeyID+" "+heldKeys.SecretAccessKey+" phantomtoken") {
		t.Errorf("the agent got %q", body)
	}
}
