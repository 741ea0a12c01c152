// SPDX-License-Identifier: Apache-2.0

package enforcer

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestLinesAreWholeBoundedAndPrintable(t *testing.T) {
	var got []string
	l := &lines{from: "proxy", tell: func(s string) { got = append(got, s) }}
	for _, part := range []string{"one\ntw", "o\n", "\x1b[2Jthree\xff\n", strings.Repeat("x", 3*maxLine)} {
		if n, err := l.Write([]byte(part)); n != len(part) || err != nil {
			t.Fatalf("write: %d, %v", n, err)
		}
	}
	want := []string{"proxy: one", "proxy: two", "proxy:  [2Jthree?", "proxy: " + strings.Repeat("x", maxLine)}
	if !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
	for i := range 2 * maxLines {
		fmt.Fprintf(l, "%d\n", i)
	}
	if len(got) > maxLines {
		t.Errorf("%d lines were told", len(got))
	}
}
