// SPDX-License-Identifier: Apache-2.0

//go:build root

package clients

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/phantom-ns/phantom-ns/proxy/audit"
	"github.com/phantom-ns/phantom-ns/test/rig"
)

const awsRegion = "eu-west-1"

// awsServices plays S3, DynamoDB and STS for the holder of keys: whatever is
// not signed with them gets 403. AWS's own signer says what is.
type awsServices struct {
	keys    aws.Credentials
	answer  string
	assumed aws.Credentials // of AssumeRole
	holder  string          // of a registry's password
}

func (a *awsServices) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if strings.Contains(r.Host, ".dkr.ecr.") {
		a.registry(w, r)
		return
	}
	if err == nil {
		err = a.verify(r, body)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusForbidden)
		return
	}
	switch {
	case strings.HasPrefix(r.Host, "api.ecr."):
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		fmt.Fprintf(w, `{"authorizationData":[{"authorizationToken":%q,"expiresAt":4.1E9,"proxyEndpoint":"https://1.dkr.ecr.eu-west-1.amazonaws.com"}]}`,
			base64.StdEncoding.EncodeToString([]byte("AWS:"+a.holder)))
	case strings.HasPrefix(r.Host, "sts.") && bytes.Contains(body, []byte("Action=AssumeRole")):
		w.Header().Set("Content-Type", "text/xml")
		fmt.Fprintf(w, `<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><Credentials><AccessKeyId>%s</AccessKeyId><SecretAccessKey>%s</SecretAccessKey><SessionToken>%s</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>`,
			a.assumed.AccessKeyID, a.assumed.SecretAccessKey, a.assumed.SessionToken)
	case strings.HasPrefix(r.Host, "sts."):
		w.Header().Set("Content-Type", "text/xml")
		fmt.Fprintf(w, `<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult><Arn>arn:aws:iam::1:user/a</Arn><UserId>u</UserId><Account>%s</Account></GetCallerIdentityResult><ResponseMetadata><RequestId>1</RequestId></ResponseMetadata></GetCallerIdentityResponse>`, a.answer)
	case strings.HasPrefix(r.Host, "dynamodb."):
		fmt.Fprint(w, "{}")
	case r.Method == http.MethodPut:
		w.Header().Set("ETag", `"e"`)
	case r.URL.Query().Get("list-type") != "":
		fmt.Fprintf(w, `<ListBucketResult><Name>%s</Name></ListBucketResult>`, a.answer)
	default:
		http.ServeContent(w, r, "object", time.Unix(1, 0), strings.NewReader("hello"))
	}
}

// registry is a container registry, which wants the password of the answer.
func (a *awsServices) registry(w http.ResponseWriter, r *http.Request) {
	if user, password, _ := r.BasicAuth(); user != "AWS" || password != a.holder || a.holder == "" {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	io.WriteString(w, a.answer)
}

// signer are the keys that a request has to be signed with: those of the role
// for what the role is to fetch.
func (a *awsServices) signer(r *http.Request) aws.Credentials {
	if r.URL.Path == "/role" {
		return a.assumed
	}
	return a.keys
}

// verify signs the request once more, as it came but for its signature.
func (a *awsServices) verify(r *http.Request, body []byte) error {
	s3 := strings.Contains(r.Host, "s3.")
	signer := v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = s3 })
	target, err := url.Parse("https://" + r.Host + r.RequestURI)
	if err != nil {
		return err
	}
	again := (&http.Request{Method: r.Method, URL: target, Host: r.Host, Header: make(http.Header)}).WithContext(r.Context())
	service, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(r.Host, "bucket."), "api."), ".")
	if signature := target.Query().Get("X-Amz-Signature"); signature != "" {
		return a.verifyURL(signer, again, service, signature)
	}
	_, names, _ := strings.Cut(r.Header.Get("Authorization"), "SignedHeaders=")
	names, _, _ = strings.Cut(names, ",")
	for name := range strings.SplitSeq(names, ";") {
		if values := r.Header[http.CanonicalHeaderKey(name)]; values != nil && !strings.HasPrefix(name, "x-amz-date") && name != "x-amz-security-token" {
			again.Header[http.CanonicalHeaderKey(name)] = values
		}
		if name == "content-length" {
			again.ContentLength = r.ContentLength
		}
	}
	payload := r.Header.Get("X-Amz-Content-Sha256")
	if payload == "" {
		sum := sha256.Sum256(body)
		payload = hex.EncodeToString(sum[:])
	}
	at, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
	if err != nil {
		return err
	}
	if err := signer.SignHTTP(r.Context(), a.signer(r), again, payload, service, awsRegion, at); err != nil {
		return err
	}
	if got, want := r.Header.Get("Authorization"), again.Header.Get("Authorization"); strings.ReplaceAll(got, ", ", ",") != strings.ReplaceAll(want, ", ", ",") {
		return fmt.Errorf("%s is signed\n%s, want\n%s", r.RequestURI, got, want)
	}
	return nil
}

func (a *awsServices) verifyURL(signer *v4.Signer, again *http.Request, service, signature string) error {
	query := again.URL.Query()
	at, err := time.Parse("20060102T150405Z", query.Get("X-Amz-Date"))
	if err != nil {
		return err
	}
	for _, name := range []string{"X-Amz-Signature", "X-Amz-Credential", "X-Amz-Date", "X-Amz-SignedHeaders", "X-Amz-Algorithm", "X-Amz-Security-Token"} {
		query.Del(name)
	}
	again.URL.RawQuery = query.Encode()
	signed, _, err := signer.PresignHTTP(again.Context(), a.keys, again, "UNSIGNED-PAYLOAD", service, awsRegion, at)
	if err == nil && !strings.Contains(signed, "X-Amz-Signature="+signature) {
		err = fmt.Errorf("%s, want %s", signature, signed)
	}
	return err
}

// TestBoto3: the SDK signs with a placeholder pair; AWS would take what arrives.
func TestBoto3(t *testing.T) {
	for name, token := range map[string]string{"user's keys": "", "temporary keys": rig.CanaryOf(t, "token/", 200)} {
		t.Run(name, func(t *testing.T) { testBoto3(t, token) })
	}
}

func testBoto3(t *testing.T, token string) {
	keys := aws.Credentials{AccessKeyID: "AKIA" + strings.Repeat("CANARY22", 2), SecretAccessKey: rig.CanaryOf(t, "s3cr/t+", 40), SessionToken: token}
	tr := newTrial(t, api{provider: "aws"})
	services := &awsServices{keys: keys, answer: tr.upstream.Answer}
	for _, host := range []string{"bucket.s3.", "s3.", "dynamodb.", "sts."} {
		tr.upstream.Serve(host+awsRegion+".amazonaws.com", services)
	}
	tr.key = keys.SecretAccessKey
	stored := strings.TrimSuffix(keys.AccessKeyID+":"+keys.SecretAccessKey+":"+token, ":")
	tr.provide(nil, []string{"client_boto3.py"})
	r := tr.world.Run(rig.Session{
		Policy: "version: 1\ncredentials:\n  aws:\n    from: " + tr.world.Secret("aws", stored) + "\n    hosts: [\"*.amazonaws.com\"]\n" + tr.upstream.Hosts(),
		Env:    []string{"AWS_DEFAULT_REGION=" + awsRegion},
		Args:   []string{"venv/bin/python", "client_boto3.py"},
	})
	want := fmt.Sprintf("range: b'hell'\nlist: %[1]s\npresigned: b'hello'\naccount: %[1]s\n", tr.upstream.Answer)
	if r.Exit != 0 || r.Stdout != want || strings.Contains(r.Stderr, "phantom-ns:") {
		t.Fatalf("%v\naudit: %s", r, tr.world.Read(rig.AuditLog))
	}
	if strings.Contains(r.Stdout+r.Stderr, keys.AccessKeyID) {
		t.Errorf("the agent saw the real key's id: %v", r)
	}
	tr.result = r
	tr.checkAgent()
	for _, rec := range tr.world.Audit() {
		if rec.Kind == audit.KindRequest && (rec.Credential != "aws" || rec.Verdict != audit.Allow) {
			t.Errorf("%+v", rec)
		}
	}
}

// TestAWSCLI: Debian's, as scripts use it; the keys of a role and a registry's
// password, which it is answered, are placeholders, too.
func TestAWSCLI(t *testing.T) {
	keys := aws.Credentials{AccessKeyID: "AKIA" + strings.Repeat("CANARY22", 2), SecretAccessKey: rig.CanaryOf(t, "s3cr/t+", 40)}
	tr := newTrial(t, api{provider: "aws"})
	services := &awsServices{keys: keys, answer: tr.upstream.Answer, holder: rig.CanaryOf(t, "eyJ", 900), assumed: aws.Credentials{
		AccessKeyID: "ASIA" + strings.Repeat("CANARY33", 2), SecretAccessKey: rig.CanaryOf(t, "r0le/", 40), SessionToken: rig.CanaryOf(t, "t0ken/", 300)}}
	for _, host := range []string{"bucket.s3.", "s3.", "sts.", "api.ecr.", "1.dkr.ecr."} {
		tr.upstream.Serve(host+awsRegion+".amazonaws.com", services)
	}
	tr.copy("awscli.sh", "testdata/awscli.sh", 0o755)
	r := tr.world.Run(rig.Session{
		Policy: "version: 1\ncredentials:\n  aws:\n    from: " + tr.world.Secret("aws", keys.AccessKeyID+":"+keys.SecretAccessKey) + "\n    hosts: [\"*.amazonaws.com\"]\n" + tr.upstream.Hosts(),
		Env:    []string{"AWS_DEFAULT_REGION=" + awsRegion},
		Args:   []string{"./awscli.sh"},
	})
	want := fmt.Sprintf("copied: hello\nlist: %[1]s\npresigned: hello\naccount: %[1]s\nassumed: hello\nregistry: %[1]s\n", tr.upstream.Answer)
	if r.Exit != 0 || r.Stdout != want || strings.Contains(r.Stderr, "phantom-ns:") {
		t.Fatalf("%v\naudit: %s", r, tr.world.Read(rig.AuditLog))
	}
	tr.result = r
	for _, key := range []string{keys.SecretAccessKey, services.assumed.SecretAccessKey, services.assumed.SessionToken, services.holder} {
		tr.key = key
		tr.checkAgent()
	}
	for _, rec := range tr.world.Audit() {
		if rec.Kind == audit.KindRequest && (!strings.HasPrefix(rec.Credential, "aws") || rec.Verdict != audit.Allow) {
			t.Errorf("%+v", rec)
		}
	}
}
