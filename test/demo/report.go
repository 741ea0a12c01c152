// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"

	"github.com/phantom-ns/phantom-ns/proxy/audit"
	"github.com/phantom-ns/phantom-ns/test/rig"
)

// atOnce is what "fails at once" means, in milliseconds. It includes the start
// of curl or Python.
const atOnce = 1000

// claim is one line of the report.
type claim struct {
	title string
	holds bool
	words string
	ms    int // shown where it is above 0
}

// report prints what happened and returns whether every claim holds.
func report(w *os.File, api *standIn, s *sight) (bool, error) {
	colour := term.IsTerminal(int(w.Fd())) && os.Getenv("NO_COLOR") == ""
	fmt.Fprintf(w, "An agent under phantom-ns, and an API at %s that takes one real key:\n\n", host)
	good := true
	for _, c := range claims(api, s) {
		good = good && c.holds
		fmt.Fprintln(w, c.line(colour))
	}
	if !good {
		for _, line := range s.other {
			fmt.Fprintf(w, "   phantom-ns said: %s\n", line)
		}
	}
	records, err := readAudit()
	if err != nil {
		return false, err
	}
	fmt.Fprintf(w, "\nThe audit of it (%s, which is gone with the demo):\n\n", rig.AuditLog)
	audited := printAudit(w, records, colour)
	if !audited {
		fmt.Fprintln(w, paint(colour, red, "  ✘ the audit misses the request or a refusal"))
	}
	return good && audited, nil
}

func claims(api *standIn, s *sight) []claim {
	key, call, looked := s.tries["key"], s.tries["call"], s.tries["looked"]
	all := []claim{
		{"holds a placeholder", key.words != "" && key.words != api.key && len(key.words) == len(api.key), "DEMO_KEY=" + key.words, 0},
		{"the call succeeds", call.status == 0 && strings.Contains(call.words, `"authenticated":true`) && api.accepted.Load() == 1 && api.refused.Load() == 0, call.words, call.ms},
	}
	for _, c := range []struct{ name, title string }{
		{"web", "https://example.org"}, {"udp", "UDP to 192.0.2.7:9999"}, {"dns", "a DNS tunnel"}, {"metadata", "cloud metadata"},
	} {
		t, tried := s.tries[c.name]
		all = append(all, claim{c.title + " fails", tried && t.status != 0 && t.ms < atOnce, t.words, t.ms})
	}
	words := fmt.Sprintf("read %s files, %d MB: /proc /home /run /tmp /var /etc", looked.words, s.bytes>>20)
	if len(s.hits) > 0 {
		words = fmt.Sprintf("FOUND: %v", s.hits)
	}
	return append(all, claim{"the real key is nowhere", len(s.hits) == 0 && s.found && s.bytes > 1<<20 && s.exit == 0, words, 0})
}

const (
	red   = "31"
	green = "32"
)

func paint(colour bool, code, text string) string {
	if !colour {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (c claim) line(colour bool) string {
	mark, code := "✔", green
	if !c.holds {
		mark, code = "✘", red
	}
	line := fmt.Sprintf("  %s %-28s %s", paint(colour, code, mark), c.title, cut(c.words, 66))
	if c.ms > 0 {
		line += fmt.Sprintf("  (%d ms)", c.ms)
	}
	return line
}

func cut(text string, most int) string {
	if r := []rune(text); len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return text
}

func readAudit() ([]audit.Record, error) {
	data, err := os.ReadFile(rig.AuditLog)
	if err != nil {
		return nil, err
	}
	if err := audit.Verify(bytes.NewReader(data)); err != nil {
		return nil, err
	}
	var records []audit.Record
	decoder := audit.NewDecoder(bytes.NewReader(data))
	for {
		record, err := decoder.Read()
		if errors.Is(err, io.EOF) {
			return records, nil
		}
		if err != nil {
			return nil, err
		}
		records = append(records, record)
	}
}

// printAudit shows each decision once and returns whether the request and the
// four refusals are among them.
func printAudit(w io.Writer, records []audit.Record, colour bool) bool {
	var lines []string
	times := make(map[string]int)
	kinds := make(map[string]int)
	for _, r := range records {
		if r.Kind == audit.KindSession {
			continue
		}
		kinds[string(r.Kind)+" "+string(r.Verdict)]++
		line := auditLine(r, colour)
		if times[line]++; times[line] == 1 {
			lines = append(lines, line)
		}
	}
	for _, line := range lines {
		if n := times[line]; n > 1 {
			line += fmt.Sprintf(" ×%d", n)
		}
		fmt.Fprintln(w, line)
	}
	return kinds["request allow"] == 1 && kinds["dns deny"] >= 2 && kinds["denied deny"] >= 2
}

func auditLine(r audit.Record, colour bool) string {
	what := r.Name
	if r.Address != "" && what == "" {
		what = r.Address
	}
	if r.Port != 0 && r.Kind == audit.KindDenied {
		what = fmt.Sprintf("%s %s:%d", r.Proto, what, r.Port)
	}
	if r.Method != "" {
		what = r.Method + " " + what + r.Path
	}
	reason := string(r.Reason)
	if r.Credential != "" {
		reason += ", credential " + r.Credential
	}
	code := red
	if r.Verdict == audit.Allow {
		code = green
	}
	verdict := paint(colour, code, fmt.Sprintf("%-5s", r.Verdict))
	return fmt.Sprintf("  %s  %-7s  %-43s %-8s %s", verdict, r.Kind, cut(what, 43), cut(r.Comm, 8), reason)
}
