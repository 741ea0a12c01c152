// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"strconv"
	"strings"
	"time"
)

// timeClaims are shown in every placeholder of a JWT: clients look when a token
// ends, and a time says nothing of it.
var timeClaims = []string{"exp", "iat", "nbf"}

// jwtSignature is the least length of a placeholder's signature: 256 random
// bits, as HS256 and ES256 have at the least.
const jwtSignature = 43

// JWT makes a placeholder that parses as one for a real value that does (RFC
// 7519): its algorithm and type, its times, and those of its claims that the
// credential shows; the signature is random. It says that it ends at ends, or
// when the real one does where that is the zero time. Of a real value that is
// none, false.
func JWT(cred Credential, real []byte, ends time.Time, rand io.Reader) (text string, ok bool, err error) {
	parts := strings.Split(string(real), ".")
	if len(parts) != 3 || parts[2] == "" {
		return "", false, nil
	}
	var head, claims map[string]json.RawMessage
	if !decodePart(parts[0], &head) || !decodePart(parts[1], &claims) || head["alg"] == nil {
		return "", false, nil
	}
	shown := make(map[string]json.RawMessage)
	for _, name := range append(cred.Claims, timeClaims...) {
		if value, there := claims[name]; there {
			shown[name] = value
		}
	}
	if !ends.IsZero() {
		shown["exp"] = json.RawMessage(strconv.FormatInt(ends.Unix(), 10))
	}
	signature, err := draw(rand, alphabets["base64url"], max(jwtSignature, len(parts[2])/4*4))
	if err != nil {
		return "", false, err
	}
	return encodePart(pick(head, "alg", "typ")) + "." + encodePart(shown) + "." + signature, true, nil
}

func pick(from map[string]json.RawMessage, names ...string) map[string]json.RawMessage {
	out := make(map[string]json.RawMessage)
	for _, name := range names {
		if value, there := from[name]; there {
			out[name] = value
		}
	}
	return out
}

func decodePart(text string, into any) bool {
	plain, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return false
	}
	defer clear(plain)
	return json.Unmarshal(plain, into) == nil
}

func encodePart(from map[string]json.RawMessage) string {
	plain, err := json.Marshal(from)
	if err != nil { // what was decoded encodes
		return ""
	}
	return base64.RawURLEncoding.EncodeToString(plain)
}
