// SPDX-License-Identifier: Apache-2.0

package swap

import (
	"strings"
)

// credentialHeaders are the header fields that carry credentials, in lower
// case: the standard ones and those that public APIs document. Fields that a
// credential of the session declares come on top.
var credentialHeaders = setOf(
	"authorization",
	"proxy-authorization",
	"x-authorization",
	"x-forwarded-authorization",
	"authentication",
	"api-key",
	"apikey",
	"x-api-key",
	"x-apikey",
	"x-api-token",
	"x-access-token",
	"x-auth-key",
	"x-auth-token",
	"x-token",
	"x-session-token",
	"x-goog-api-key",
	"x-goog-iam-authorization-token",
	"x-amz-security-token",
	"x-ms-authorization-auxiliary",
	"x-functions-key",
	"ocp-apim-subscription-key",
	"x-subscription-token",
	"x-rapidapi-key",
	"x-vault-token",
	"x-consul-token",
	"x-nomad-token",
	"x-figma-token",
	"x-shopify-access-token",
	"x-github-token",
	"x-npm-token",
	"private-token",
	"job-token",
	"deploy-token",
	"xi-api-key",
	"dd-api-key",
	"dd-application-key",
	"circle-token",
	"x-honeycomb-team",
)

// credentialQueries are the query names that carry credentials, in lower case,
// as documented by public APIs. They are judged at hosts with a credential of
// the session alone: presigned URLs of other hosts must pass.
var credentialQueries = setOf(
	"key",
	"api_key",
	"api-key",
	"apikey",
	"access_token",
	"accesstoken",
	"auth_token",
	"oauth_token",
	"private_token",
	"job_token",
	"token",
	"client_secret",
	"x-amz-security-token",
	"x-amz-signature",
	"x-goog-signature",
	"sig",
)

// credentialProtocols are what WebSocket subprotocols begin with whose rest is a
// credential: OpenAI's, and Kubernetes'.
var credentialProtocols = []string{
	"openai-insecure-api-key.",
	"base64url.bearer.authorization.k8s.io.",
}

func setOf(names ...string) map[string]struct{} {
	set := make(map[string]struct{}, len(names))
	for _, name := range names {
		set[name] = struct{}{}
	}
	return set
}

func has(set map[string]struct{}, name string) bool {
	_, ok := set[name]
	return ok
}

// disguised reports whether name is a credential header in the eyes of servers
// that take "_" and other punctuation for "-" (CGI, WSGI), but not in ours.
func disguised(name string, headers map[string]struct{}) bool {
	if strings.IndexFunc(name, isOdd) < 0 || has(headers, name) {
		return false
	}
	plain := strings.Map(func(r rune) rune {
		if isOdd(r) {
			return '-'
		}
		return r
	}, name)
	return has(headers, strings.Trim(plain, "-"))
}

// isOdd holds for token bytes that are neither letter, digit nor hyphen.
func isOdd(r rune) bool {
	return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-'
}
