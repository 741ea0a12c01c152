// SPDX-License-Identifier: Apache-2.0

package enforcer

import (
	"os"
	"testing"

	"github.com/phantom-ns/phantom-ns/proxy/policy"
)

// A helper that ends without its whole answer ends the start: what it has not
// looked at is not shown.
func TestP9NoSessionWithoutTheCopies(t *testing.T) {
	for name, answer := range map[string]string{"none": "", "a part": `{"covers": [{"path": "/home/u/.netrc"`, "something else": "x"} {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		if _, err := w.WriteString(answer); err != nil {
			t.Fatal(err)
		}
		w.Close()
		s := Session{masking: &masking{reply: r}}
		if covers, err := s.covers(); err == nil {
			t.Errorf("%s: %v", name, covers)
		}
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	defer w.Close()
	s := Session{masking: &masking{request: w, reply: r}}
	if s.tellMasking(&policy.Session{}) == nil {
		t.Error("a helper that is gone was told")
	}
}
