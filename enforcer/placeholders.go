// SPDX-License-Identifier: Apache-2.0

package enforcer

import (
	"github.com/phantom-ns/phantom-ns/proxy/policy"
)

// PlaceholderEnviron puts each credential's placeholder into the variables its
// clients read.
func PlaceholderEnviron(spec *policy.Session, placeholders map[string]string) []string {
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
