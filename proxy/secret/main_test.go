// SPDX-License-Identifier: Apache-2.0

package secret

import (
	"bytes"
	"crypto/rand"
	"encoding/base32"
	"os"
	"strings"
	"testing"
)

// stages are what this test binary can be re-executed as, by argv[0].
var stages = map[string]func(){
	Stage:      func() { Main(func(Needs) error { return nil }) },
	crashStage: crashMain,
	awaitStage: awaitMain,
	scanStage:  scanMain,
	tradeStage: tradeMain,
	keyStage:   keyMain,
}

func TestMain(m *testing.M) {
	if stage, found := stages[os.Args[0]]; found {
		stage()
	}
	os.Exit(m.Run())
}

// canary is a random credential that no text may hold.
type canary []byte

func newCanary(t testing.TB) canary {
	t.Helper()
	raw := make([]byte, 20)
	if _, err := rand.Read(raw); err != nil {
		t.Fatal(err)
	}
	return canary("sk-" + strings.ToLower(base32.StdEncoding.EncodeToString(raw)))
}

func (c canary) value(t testing.TB) Value {
	t.Helper()
	v, err := New(bytes.Clone(c))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.Wipe)
	return v
}

// absent fails when text holds a recognisable part of the canary.
func (c canary) absent(t testing.TB, text string) {
	t.Helper()
	for at := 0; at+8 <= len(c); at++ {
		if strings.Contains(text, string(c[at:at+8])) {
			t.Fatalf("text shows the credential: %s", strings.ReplaceAll(text, string(c), "<CREDENTIAL>"))
		}
	}
}

func (c canary) same(t testing.TB, v Value) {
	t.Helper()
	if !bytes.Equal(v.Reveal(), c) {
		t.Fatalf("value of %d bytes is not the credential of %d bytes", v.Len(), len(c))
	}
}
