// SPDX-License-Identifier: Apache-2.0

package policy

import (
	_ "embed" // the list
	"strings"
)

//go:embed atrest.txt
var atRestList string

// AtRestPatterns are the places where credentials are left lying: "~/x" or
// "./x", in which * stands for any name.
func AtRestPatterns() []string {
	var out []string
	for line := range strings.Lines(atRestList) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			out = append(out, line)
		}
	}
	return out
}
