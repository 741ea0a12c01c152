// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/phantom-ns/phantom-ns/proxy/audit"
)

// A log that is whole is verified without a word, in its parts too; a line that is
// missing is told.
func TestAuditVerify(t *testing.T) {
	dir := t.TempDir()
	whole := filepath.Join(dir, "audit.jsonl")
	log, err := audit.Open(whole, "s")
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := log.Write(audit.Record{Kind: audit.KindRequest, Verdict: audit.Allow, Reason: audit.ReasonAllowed}); err != nil {
			t.Fatal(err)
		}
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(whole)
	if err != nil {
		t.Fatal(err)
	}
	lines := bytes.SplitAfter(text, []byte("\n"))
	old, young, torn := filepath.Join(dir, "old"), filepath.Join(dir, "young"), filepath.Join(dir, "torn")
	for name, part := range map[string][][]byte{old: lines[:1], young: lines[1:], torn: {lines[0], lines[2]}} {
		if err := os.WriteFile(name, bytes.Join(part, nil), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for files, want := range map[string]string{
		whole:             "",
		old + " " + young: "",
		young + " " + old: "seq 2 after 0",
		torn:              `line 2: session "s": seq 3 after 1`,
		dir + "/none":     "no such file",
	} {
		got, status := said(t, "audit verify "+files)
		if failed := want != ""; !strings.Contains(got, want) || (got != "") != failed || (status == exitOurs) != failed {
			t.Errorf("%s: status %d, %q", files, status, got)
		}
	}
}
