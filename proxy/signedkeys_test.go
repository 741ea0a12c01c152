// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"encoding/xml"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/phantom-ns/phantom-ns/proxy/audit"
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
