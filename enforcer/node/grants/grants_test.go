// SPDX-License-Identifier: Apache-2.0

package grants

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestOnlyWhatIsWrittenIsGranted(t *testing.T) {
	path := filepath.Join(t.TempDir(), "grants.json")
	write(t, path, `{"coder":["team"],"reader":["*"],"nobody":[]}`)
	for _, c := range []struct {
		policy, namespace string
		want              error
	}{
		{"coder", "team", nil}, {"reader", "team", nil}, {"reader", "other", nil},
		{"coder", "other", ErrNotGranted}, {"coder", "*", ErrNotGranted}, {"nobody", "team", ErrNotGranted}, {"other", "team", ErrNotGranted},
		{"coder", "", ErrNotGranted}, {"reader", "", ErrNotGranted},
	} {
		if err := Check(path, c.policy, c.namespace); !errors.Is(err, c.want) {
			t.Errorf("%s in %q: %v", c.policy, c.namespace, err)
		}
	}
}

func TestAFileThatIsWrongGrantsNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "grants.json")
	if err := Check(path, "coder", "team"); err == nil {
		t.Error("no file grants")
	}
	for _, broken := range []string{"", "[]", `{"coder":["team"]} {}`, `{"coder":"team"}`, `{"coder":["team"],"x":["` + strings.Repeat("x", maxFile) + `"]}`} {
		write(t, path, broken)
		if err := Check(path, "coder", "team"); err == nil {
			t.Errorf("%.30q grants", broken)
		}
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
