// SPDX-License-Identifier: Apache-2.0

package enforcer

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/phantom-ns/phantom-ns/proxy/policy"
)

// placeholderEnviron puts each credential's placeholder into the variables its
// clients read.
func placeholderEnviron(spec *policy.Session, placeholders map[string]string) []string {
	var env []string
	for _, c := range spec.Credentials {
		for i, name := range c.Env {
			if text, set := placeholderOf(&c, placeholders[c.Name], i); set {
				env = append(env, name+"="+text)
			}
		}
	}
	return env
}

// gitEnviron configures git without touching a file: for every host that takes
// a credential as a Basic password, a helper that prints the placeholder from
// the environment, so that the first challenge is answered without a prompt.
func gitEnviron(spec *policy.Session) []string {
	var settings [][2]string
	for _, c := range spec.Credentials {
		if len(c.Env) == 0 || !takesBasicPassword(c) {
			continue
		}
		// The placeholder itself stays out of git's configuration: a trace of
		// it (GIT_TRACE) would print it, and the variable is there anyway.
		helper := fmt.Sprintf(`!f() { test "$1" = get && printf 'username=x-access-token\npassword=%%s\n' "$%s"; }; f`, c.Env[0])
		for _, host := range c.Hosts {
			if !strings.HasPrefix(host, "*.") {
				// The empty helper first: it clears those of the user's own
				// configuration, which would ask a keyring out of reach.
				settings = append(settings,
					[2]string{"credential.https://" + host + ".helper", ""},
					[2]string{"credential.https://" + host + ".helper", helper})
			}
		}
	}
	if len(settings) == 0 {
		return nil
	}
	env := []string{"GIT_CONFIG_COUNT=" + strconv.Itoa(len(settings)), "GIT_TERMINAL_PROMPT=0"}
	for i, s := range settings {
		env = append(env, fmt.Sprintf("GIT_CONFIG_KEY_%d=%s", i, s[0]), fmt.Sprintf("GIT_CONFIG_VALUE_%d=%s", i, s[1]))
	}
	return env
}

func takesBasicPassword(c policy.Credential) bool {
	return slices.Contains(c.Positions, policy.Position{Kind: policy.PositionBasic, Name: policy.BasicPassword})
}
