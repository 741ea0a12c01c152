// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"encoding/base64"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/phantom-ns/phantom-ns/proxy/audit"
	"github.com/phantom-ns/phantom-ns/proxy/policy"
)

const assumed = `<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>ASIAFRESHCANARYFRESH</AccessKeyId>` +
	`<SecretAccessKey>freshfreshfreshfreshfreshfreshfreshfresh</SecretAccessKey><SessionToken>freshtoken/+=0123456789</SessionToken>` +
	`<Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>`

var freshKeys = aws.Credentials{AccessKeyID: "ASIAFRESHCANARYFRESH", SecretAccessKey: strings.Repeat("fresh", 8), SessionToken: "freshtoken/+=0123456789"}

// TestC10SigV4: keys that STS answers with are placeholders before the agent has
// them, and sign what it signs with them.
func TestC10SigV4(t *testing.T) {
	r, up := newSigned(t, heldKeys, realKeys)
	up.respond = func(req *http.Request) string {
		if req.RequestURI != "/" {
			return okAnswer
		}
		return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nContent-Length: %d\r\n\r\n%s", len(assumed), assumed)
	}
	resp, body := r.roundTrip(false, awsRequest(t, heldKeys, "sts", "POST", "/", "Action=AssumeRole", sha("Action=AssumeRole")))
	var doc struct {
		Keys struct{ AccessKeyId, SecretAccessKey, SessionToken, Expiration string } `xml:"AssumeRoleResult>Credentials"`
	}
	if err := xml.Unmarshal([]byte(body), &doc); err != nil || resp.StatusCode != 200 || doc.Keys.Expiration != "2099-01-01T00:00:00Z" {
		t.Fatalf("%d %v %s", resp.StatusCode, err, body)
	}
	k := doc.Keys
	for _, secret := range []string{freshKeys.AccessKeyID, freshKeys.SecretAccessKey, freshKeys.SessionToken} {
		if strings.Contains(body, secret) || len(k.SecretAccessKey) != 40 || !strings.HasPrefix(k.AccessKeyId, "ASIA") {
			t.Fatalf("the agent got %s", body)
		}
	}
	minted := aws.Credentials{AccessKeyID: k.AccessKeyId, SecretAccessKey: k.SecretAccessKey, SessionToken: k.SessionToken}
	if resp, body := r.roundTrip(false, awsRequest(t, minted, "s3", "GET", "/k", "", sha(""))); resp.StatusCode != 200 || !authentic(t, freshKeys, "s3", up.last(t), sha("")) {
		t.Errorf("%d %s %v", resp.StatusCode, body, up.last(t).Header)
	}
	used := func(rec audit.Record) bool { return rec.Credential == "openai.minted" && rec.Position == "sigv4" }
	if all := r.sink.wait(2); !slices.ContainsFunc(all, used) {
		t.Errorf("%+v", all)
	}
	other, _ := newSigned(t, heldKeys, realKeys)
	if resp, body := other.roundTrip(false, awsRequest(t, minted, "s3", "GET", "/k", "", sha(""))); resp.StatusCode != 403 {
		t.Errorf("in another session: %d %s", resp.StatusCode, body)
	}
}

// TestC10SigV4Unread: an answer whose keys cannot be taken out does not arrive.
func TestC10SigV4Unread(t *testing.T) {
	for name, answer := range map[string]string{
		"two pairs":     strings.Replace(assumed, "</Credentials>", "<AccessKeyId>ASIAFRESHCANARYFRESI</AccessKeyId></Credentials>", 1),
		"no id":         strings.Replace(assumed, "<AccessKeyId>ASIAFRESHCANARYFRESH</AccessKeyId>", "", 1),
		"not a secret":  strings.Replace(assumed, "freshfreshfresh", "fresh fresh", 1),
		"not XML":       "<a>" + assumed,
		"another field": strings.Replace(assumed, "<Expiration>", "<Password>x</Password><Expiration>", 1),
	} {
		t.Run(name, func(t *testing.T) {
			r, up := newSigned(t, heldKeys, realKeys)
			up.respond = func(*http.Request) string {
				return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nContent-Length: %d\r\n\r\n%s", len(answer), answer)
			}
			resp, body := r.roundTrip(false, awsRequest(t, heldKeys, "sts", "POST", "/", "x", sha("x")))
			if resp.StatusCode != 502 || strings.Contains(body, "fresh") {
				t.Errorf("%d %s", resp.StatusCode, body)
			}
		})
	}
}

// TestC10Registry: what a registry of AWS is logged in to with is a placeholder
// in the form of the real one, and works as a password.
func TestC10Registry(t *testing.T) {
	password := canary + "-registry-password"
	basic := base64.StdEncoding.EncodeToString([]byte("AWS:" + password))
	for service, c := range map[string]struct{ token, user string }{
		"ecr": {basic, "AWS"}, "ecr-public": {basic, "AWS"}, "codeartifact": {password, ""},
	} {
		t.Run(service, func(t *testing.T) {
			r, up := newSigned(t, heldKeys, realKeys)
			up.respond = func(req *http.Request) string {
				if req.Method == "GET" {
					return okAnswer
				}
				return bodyAnswer("application/x-amz-json-1.1", fmt.Sprintf(`{"authorizationData":[{"authorizationToken":%q,"expiresAt":4.1E9,"proxyEndpoint":"https://x"}],"note":%q}`, c.token, password))
			}
			resp, body := r.roundTrip(false, awsRequest(t, heldKeys, service, "POST", "/", "{}", sha("{}")))
			var doc struct {
				Data []struct{ AuthorizationToken, ProxyEndpoint string } `json:"authorizationData"`
			}
			if err := json.Unmarshal([]byte(body), &doc); err != nil || resp.StatusCode != 200 || len(doc.Data) != 1 {
				t.Fatalf("%d %v %s", resp.StatusCode, err, body)
			}
			holder := doc.Data[0].AuthorizationToken
			if c.user != "" {
				plain, err := base64.StdEncoding.DecodeString(holder)
				if holder = strings.TrimPrefix(string(plain), c.user+":"); err != nil || holder == string(plain) {
					t.Fatalf("%v, %s", err, plain)
				}
			}
			if len(holder) != len(password) || strings.Contains(body, password) || doc.Data[0].ProxyEndpoint != "https://x" {
				t.Fatalf("the agent got %s", body)
			}
			sent := func(user, password string) string {
				return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
			}
			resp, _ = r.raw(apiHost, "GET /v2/ HTTP/1.1\r\nHost: "+apiHost+"\r\nAuthorization: "+sent("AWS", holder)+"\r\n\r\n")
			if got := up.last(t).Header.Get("Authorization"); resp.StatusCode != 200 || got != sent("AWS", password) {
				t.Errorf("%d, upstream got %q", resp.StatusCode, got)
			}
		})
	}
}

// TestC10SigV4InJSON: as Cognito answers, which calls the secret otherwise and
// has a number for the end.
func TestC10SigV4InJSON(t *testing.T) {
	for name, c := range map[string]struct {
		expiration string
		status     int
	}{"lasts": {"4.0707072E9", 200}, "has ended": {"1.7E9", 401}} {
		t.Run(name, func(t *testing.T) {
			r, up := newSigned(t, heldKeys, realKeys)
			up.respond = func(req *http.Request) string {
				if req.Method == "GET" {
					return okAnswer
				}
				return bodyAnswer("application/x-amz-json-1.1", fmt.Sprintf(`{"Credentials":{"AccessKeyId":%q,"SecretKey":%q,"SessionToken":%q,"Expiration":%s},"IdentityId":"x"}`,
					freshKeys.AccessKeyID, freshKeys.SecretAccessKey, freshKeys.SessionToken, c.expiration))
			}
			_, body := r.roundTrip(false, awsRequest(t, heldKeys, "cognito-identity", "POST", "/", "{}", sha("{}")))
			var doc struct {
				Credentials struct{ AccessKeyId, SecretKey, SessionToken string }
			}
			if err := json.Unmarshal([]byte(body), &doc); err != nil || strings.Contains(body, freshKeys.SecretAccessKey) || strings.Contains(body, freshKeys.SessionToken) {
				t.Fatalf("%v %s", err, body)
			}
			k := doc.Credentials
			minted := aws.Credentials{AccessKeyID: k.AccessKeyId, SecretAccessKey: k.SecretKey, SessionToken: k.SessionToken}
			resp, body := r.roundTrip(false, awsRequest(t, minted, "s3", "GET", "/k", "", sha("")))
			if resp.StatusCode != c.status {
				t.Errorf("%d %s", resp.StatusCode, body)
			}
		})
	}
}

// TestC10LongAnswers: a service's answer may have 4 MiB, and not one byte more;
// and what is held is given back.
func TestC10LongAnswers(t *testing.T) {
	for name, c := range map[string]struct{ more, status int }{"longest": {0, 200}, "too long": {1, 502}} {
		t.Run(name, func(t *testing.T) {
			r, up := newSigned(t, heldKeys, realKeys)
			answer := "<a>" + strings.Repeat("x", maxServiceAnswer-len("<a></a>")+c.more) + "</a>"
			up.respond = func(*http.Request) string { return bodyAnswer("text/xml", answer) }
			resp, body := r.roundTrip(false, awsRequest(t, heldKeys, "iam", "POST", "/", "x", sha("x")))
			if resp.StatusCode != c.status || c.status == 200 && body != answer {
				t.Errorf("%d, %d bytes", resp.StatusCode, len(body))
			}
			r.sink.wait(1)
		})
	}
}

// TestL5Captured: what a service answers with credentials is asked for whole, and
// so is from then on whatever may hold one of them, also when the session has
// given it up.
func TestL5Captured(t *testing.T) {
	password := canary + "-registry-password"
	r, up := newSigned(t, heldKeys, realKeys)
	up.respond = func(req *http.Request) string {
		if req.Method == "GET" {
			return okAnswer
		}
		return bodyAnswer("application/json", fmt.Sprintf(`{"authorizationToken":%q}`, password))
	}
	ranged := func(req *http.Request) bool {
		t.Helper()
		req.Header.Set("Range", "bytes=0-3")
		if resp, body := r.roundTrip(false, req); resp.StatusCode != 200 {
			t.Fatalf("%d %s", resp.StatusCode, body)
		}
		return up.last(t).Header.Get("Range") != ""
	}
	object := func() *http.Request { return awsRequest(t, heldKeys, "s3", "GET", "/k", "", sha("")) }
	if !ranged(object()) {
		t.Error("before anything was captured, a range was asked for whole")
	}
	if ranged(awsRequest(t, heldKeys, "codeartifact", "POST", "/", "{}", sha("{}"))) {
		t.Error("a range of what was captured")
	}
	if ranged(object()) {
		t.Error("a range of what may hold it")
	}
	signing := testSession(up.address(), up.address())
	signing.Credentials[0].Positions = []policy.Position{{Kind: policy.PositionSigV4}}
	signing.Credentials[0].Captures = []policy.Capture{}
	r.reload(t, testSession(up.address(), up.address())) // it captures nothing of AWS's
	r.reload(t, signing)
	if ranged(object()) {
		t.Error("a range of what may hold what was given up")
	}
}
