// SPDX-License-Identifier: Apache-2.0

package docs

import (
	"strings"
	"testing"

	"github.com/phantom-ns/phantom-ns/proxy/policy"
)

// TestEveryRecipeIsAPolicy; that its program is called so and its output taken,
// proxy/secret.TestRecipes shows.
func TestEveryRecipeIsAPolicy(t *testing.T) {
	blocks := strings.Split(read(t, "docs/RECIPES.md"), "```yaml\n")[1:]
	if len(blocks) != 6 {
		t.Fatalf("%d recipes", len(blocks))
	}
	for _, block := range blocks {
		text, _, _ := strings.Cut(block, "```")
		file, err := policy.Parse("RECIPES.md", []byte(text))
		if err != nil {
			t.Errorf("%v:\n%s", err, text)
			continue
		}
		if len(file.Credentials) != 1 || !strings.HasPrefix(file.Credentials[0].From, "exec:/") {
			t.Errorf("%+v", file.Credentials)
		}
	}
}
