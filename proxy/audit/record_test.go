// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"bytes"
	"encoding/json"
	"math"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"
)

// full has every field set.
func full() Record {
	return Record{
		Time: time.Date(2026, 3, 1, 12, 0, 0, 5, time.FixedZone("", 3600)), ID: "id", Session: "s", Seq: 2, Prev: "p",
		PID: 7, Comm: "curl", UID: 1000, Kind: KindRequest, Name: "api.openai.com", Address: "198.18.0.1", Port: 443,
		Proto: "h2", Method: "POST", Path: "/v1/responses", Credential: "openai", Position: "bearer",
		Verdict: Allow, Reason: ReasonAllowed, Rule: "policy.yaml:3", Status: 200, BytesIn: 10, BytesOut: 20, MS: 1.5,
		Suppressed: 3,
	}
}

func TestKeysAreThoseOfTheInterface(t *testing.T) {
	const keys = "v time id session seq prev pid comm uid kind name address port proto method path credential position " +
		"verdict reason rule status bytes_in bytes_out ms suppressed"
	r := full()
	r.V = Version
	line := appendRecord(nil, &r)
	var got []string
	decoder := json.NewDecoder(bytes.NewReader(line))
	for key := true; ; key = !key {
		token, err := decoder.Token()
		if err != nil {
			break
		}
		if text, ok := token.(string); ok && !key {
			got = append(got, text)
		}
	}
	if strings.Join(got, " ") != keys {
		t.Errorf("keys are %q\nwant     %q", strings.Join(got, " "), keys)
	}
	if !bytes.Contains(line, []byte(`"time":"2026-03-01T11:00:00.000000005Z"`)) {
		t.Errorf("time is not UTC with nanoseconds: %s", line)
	}
}

func TestEmptyFieldsAreLeftOut(t *testing.T) {
	r := Record{V: 1, ID: "i", Session: "s", Seq: 1, Kind: KindDNS, Verdict: Deny, Reason: ReasonQueryType}
	const want = `{"v":1,"time":"0001-01-01T00:00:00Z","id":"i","session":"s","seq":1,` +
		`"kind":"dns","verdict":"deny","reason":"query_type"}`
	if got := string(appendRecord(nil, &r)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestUIDZeroIsWrittenWithItsProcess(t *testing.T) {
	r := full()
	r.UID = 0
	if line := appendRecord(nil, &r); !bytes.Contains(line, []byte(`"uid":0,`)) {
		t.Errorf("no uid: %s", line)
	}
}

// hostile are strings that have broken logs and the terminals they are read on.
var hostile = map[string]string{
	"newline":     "a\nb\r\nc",
	"forged line": "x\"}\n{\"v\":1,\"verdict\":\"allow\"}",
	"escape":      "\x1b[2J\x1b]0;owned\a",
	"c1":          "\u009b31m \u0085",
	"separators":  "\u2028\u2029",
	"bidi":        "\u202etxt.exe\u2066",
	"nul, del":    "\x00\x7f",
	"not utf-8":   "\xff\xfe\xc0\x80\xed\xa0\x80",
	"tag":         "\U000e0041",
	"cut rune":    strings.Repeat("é", 5000),
	"1 MiB":       strings.Repeat("A\n", 1<<19),
	"1 MiB bytes": strings.Repeat("\x80", 1<<20),
}

func TestL9OneEventIsOneLine(t *testing.T) {
	for name, text := range hostile {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			if err := NewEncoder(&out).Write(filled(text)); err != nil {
				t.Fatal(err)
			}
			checkLine(t, out.Bytes())
			if got, err := NewDecoder(&out).Read(); err != nil || got.Kind != KindRequest {
				t.Errorf("read back: %v %v", got, err)
			}
		})
	}
}

func filled(text string) Record {
	r := full()
	r.ID, r.Session, r.Prev, r.Comm, r.Name, r.Address, r.Proto, r.Method = text, text, text, text, text, text, text, text
	r.Path, r.Credential, r.Position, r.Rule = text, text, text, text
	r.Status, r.MS = math.MinInt, math.Inf(1)
	r.Time = time.Unix(1<<60, 0)
	return r
}

// checkLine proves what doc.go says of a line.
func checkLine(t *testing.T, line []byte) {
	t.Helper()
	if len(line) > MaxLine {
		t.Errorf("line of %d bytes", len(line))
	}
	if bytes.IndexByte(line, '\n') != len(line)-1 {
		t.Error("newline within the line, or none at its end")
	}
	if !utf8.Valid(line) || !json.Valid(line) {
		t.Errorf("not UTF-8 or not JSON: %.200q", line)
	}
	for _, r := range string(line[:len(line)-1]) {
		if !unicode.IsPrint(r) {
			t.Errorf("%U in the line", r)
		}
	}
}

func TestLongestRecordFitsTheLine(t *testing.T) {
	// Twice the longest cap, every byte escaped to six.
	r := filled(strings.Repeat("\x01", 2*capPath))
	r.PID, r.UID, r.Seq, r.Port = math.MaxUint32, math.MaxUint32, math.MaxUint64, math.MaxUint16
	r.BytesIn, r.BytesOut, r.Suppressed, r.Status = math.MaxUint64, math.MaxUint64, math.MaxUint64, math.MaxInt
	if n := len(appendRecord(nil, &r)); n >= MaxLine || n < 6*capPath {
		t.Errorf("longest line is %d bytes", n)
	}
}

func TestCutKeepsTheStartAndMarksTheEnd(t *testing.T) {
	got := cut("ab"+strings.Repeat("é", 20), 8)
	if got != "abé…" {
		t.Errorf("got %q", got)
	}
	if got := cut("short", 8); got != "short" {
		t.Errorf("got %q", got)
	}
}

func TestPathHasNoQuery(t *testing.T) {
	for path, want := range map[string]string{
		"/a?key=sk-1": "/a", "/a#frag": "/a", "/a%3Fb": "/a%3Fb", "?x": "", "/": "/",
	} {
		if got := withoutQuery(path); got != want {
			t.Errorf("%q: got %q", path, got)
		}
	}
}

func TestMilliseconds(t *testing.T) {
	for ms, want := range map[float64]string{
		0.0004: "", 0.25: `,"ms":0.25`, 1.23456: `,"ms":1.235`, -1: "", math.Inf(1): `,"ms":1000000000000`,
	} {
		if got := string(appendMS(nil, ms)); got != want {
			t.Errorf("%v: got %q", ms, got)
		}
	}
	if got := appendMS(nil, math.NaN()); len(got) != 0 {
		t.Errorf("NaN: got %q", got)
	}
}

func TestReasonsAreOneList(t *testing.T) {
	word := regexp.MustCompile(`^[a-z]+(_[a-z0-9]+)*$`)
	seen := make(map[Reason]bool)
	for _, entry := range Reasons() {
		if !word.MatchString(string(entry.Reason)) {
			t.Errorf("%q is not snake_case", entry.Reason)
		}
		if seen[entry.Reason] {
			t.Errorf("%q twice", entry.Reason)
		}
		seen[entry.Reason] = true
		meaning := entry.Meaning
		if meaning == "" || len(meaning) > 90 || strings.ContainsAny(meaning, "\n\t") || strings.HasSuffix(meaning, ".") {
			t.Errorf("%q: meaning %q is not one plain line", entry.Reason, meaning)
		}
		if !entry.Reason.Known() {
			t.Errorf("%q is not known", entry.Reason)
		}
	}
	if Reason("").Known() || Reason("allow").Known() {
		t.Error("a word outside the list is known")
	}
}

func TestReasonsReturnsACopy(t *testing.T) {
	Reasons()[0].Reason = "changed"
	if Reasons()[0].Reason != ReasonAllowed {
		t.Error("the list was changed through its copy")
	}
}

func TestRecordsOutsideTheListsAreRefused(t *testing.T) {
	for name, change := range map[string]func(*Record){
		"kind":    func(r *Record) { r.Kind = "other" },
		"verdict": func(r *Record) { r.Verdict = "" },
		"reason":  func(r *Record) { r.Reason = "because\n" },
	} {
		t.Run(name, func(t *testing.T) {
			r := full()
			change(&r)
			var out bytes.Buffer
			if err := NewEncoder(&out).Write(r); err == nil || out.Len() > 0 {
				t.Errorf("written: %v %q", err, out.String())
			}
		})
	}
	for _, kind := range Kinds() {
		r := full()
		r.Kind = kind
		if err := r.Check(); err != nil {
			t.Error(err)
		}
	}
}

func TestNewIDIs128Bits(t *testing.T) {
	word := regexp.MustCompile(`^[a-z2-7]{26}$`)
	a, b := NewID(), NewID()
	if !word.MatchString(a) || a == b {
		t.Errorf("ids %q and %q", a, b)
	}
}
