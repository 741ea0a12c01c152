// SPDX-License-Identifier: Apache-2.0

package main

import (
	"io"
	"os"
	"strings"
	"testing"
)

// said returns what a command line is answered on standard error.
func said(t *testing.T, line string) (string, int) {
	t.Helper()
	out, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	e := newEnv()
	e.stderr = in
	status := e.main(strings.Fields(line))
	in.Close()
	text, err := io.ReadAll(out)
	if err != nil {
		t.Fatal(err)
	}
	return string(text), status
}

// A command line that does not parse is answered with what is wrong, and with the
// command whose help to read.
func TestUsageErrorsNameTheCommand(t *testing.T) {
	for line, want := range map[string]string{
		"rum":                 "unknown command \"rum\" for \"phantom-ns\"|see phantom-ns --help",
		"run":                 "requires at least 1 arg(s), only received 0|see phantom-ns run --help",
		"run --no-such true":  "unknown flag: --no-such|see phantom-ns run --help",
		"secret set":          "accepts 1 arg(s), received 0|see phantom-ns secret set --help",
		"exec 7f3a --":        "no command|see phantom-ns exec --help",
		"stop --timeout=2h x": "--timeout is from 0s to 1h|see phantom-ns stop --help",
		"cni install":         "cni install: --entry is needed, and one of --wait and --watch at most|see phantom-ns cni install --help",
		"webhook --grants=x":  "webhook: either --certificates, or --service and --configuration|see phantom-ns webhook --help",
	} {
		want = "phantom-ns: " + strings.Replace(want, "|", "\nphantom-ns: ", 1) + "\n"
		if got, status := said(t, line); got != want || status != exitOurs {
			t.Errorf("%s: status %d:\n%s", line, status, got)
		}
	}
}
