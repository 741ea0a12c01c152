// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
)

func TestPipeCarriesRecords(t *testing.T) {
	want := full()
	want.V, want.Time = Version, want.Time.UTC()
	var pipe bytes.Buffer
	encoder := NewEncoder(&pipe)
	for range 3 {
		if err := encoder.Write(want); err != nil {
			t.Fatal(err)
		}
	}
	decoder := NewDecoder(&pipe)
	for range 3 {
		if got, err := decoder.Read(); err != nil || got != want {
			t.Fatalf("got  %+v %v\nwant %+v", got, err, want)
		}
	}
	if _, err := decoder.Read(); err != io.EOF {
		t.Errorf("end of the pipe: %v", err)
	}
}

func TestEncoderStampsWhatIsMissing(t *testing.T) {
	var pipe bytes.Buffer
	if err := NewEncoder(&pipe).Write(Record{Kind: KindDNS, Verdict: Deny, Reason: ReasonNameNotAllowed}); err != nil {
		t.Fatal(err)
	}
	got, err := NewDecoder(&pipe).Read()
	if err != nil || got.Time.IsZero() || len(got.ID) != 26 {
		t.Errorf("got %+v %v", got, err)
	}
}

func TestDecoderRefusesWhatIsNotARecord(t *testing.T) {
	const good = `{"v":1,"time":"2026-01-01T00:00:00Z","id":"i","session":"","seq":0,"kind":"dns","verdict":"deny","reason":"query_type"}`
	for name, line := range map[string]string{
		"empty":      "\n",
		"not JSON":   "verdict=allow\n",
		"array":      "[1]\n",
		"two":        good + good + "\n",
		"kind":       strings.Replace(good, `"dns"`, `"x"`, 1) + "\n",
		"verdict":    strings.Replace(good, `"deny"`, `"maybe"`, 1) + "\n",
		"reason":     strings.Replace(good, `query_type`, `x`, 1) + "\n",
		"version":    strings.Replace(good, `"v":1`, `"v":2`, 1) + "\n",
		"type":       strings.Replace(good, `"i"`, `{}`, 1) + "\n",
		"port":       strings.Replace(good, `"v":1`, `"v":1,"port":65536`, 1) + "\n",
		"unfinished": good,
		"too long":   `{"v":1,"id":"` + strings.Repeat("x", MaxLine) + `"}` + "\n",
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := NewDecoder(strings.NewReader(line)).Read(); err == nil || err == io.EOF {
				t.Errorf("got %+v %v", got, err)
			}
		})
	}
	if _, err := NewDecoder(strings.NewReader(good + "\n")).Read(); err != nil {
		t.Errorf("the line all others are made from: %v", err)
	}
}

type brokenPipe struct{ writes int }

func (b *brokenPipe) Write(p []byte) (int, error) {
	b.writes++
	return len(p) / 2, errors.New("broken")
}

func TestEncoderStopsAtABrokenPipe(t *testing.T) {
	pipe := new(brokenPipe)
	encoder := NewEncoder(pipe)
	for range 3 {
		if encoder.Write(full()) == nil {
			t.Error("a lost record is not an error")
		}
	}
	if pipe.writes != 1 {
		t.Errorf("%d writes after half a line", pipe.writes)
	}
}

func FuzzRecordIsOneLine(f *testing.F) {
	for _, text := range hostile {
		f.Add(text[:min(len(text), 64)], text[:min(len(text), 32)])
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		r := filled(a)
		r.Comm, r.Path = b, b+a
		var out bytes.Buffer
		if err := NewEncoder(&out).Write(r); err != nil {
			t.Fatal(err)
		}
		checkLine(t, out.Bytes())
		got, err := NewDecoder(&out).Read()
		if err != nil {
			t.Fatal(err)
		}
		// What was read is written again as the same line: nothing is lost
		// twice, and a second reader sees what the first saw.
		first, second := appendRecord(nil, &got), []byte(nil)
		again, err := parse(first)
		if second = appendRecord(nil, &again); err != nil || !bytes.Equal(first, second) {
			t.Fatalf("%v\n%s\n%s", err, first, second)
		}
	})
}

func FuzzDecoder(f *testing.F) {
	r := full()
	f.Add(append(appendRecord(nil, &r), '\n'))
	f.Add([]byte("{}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		decoder := NewDecoder(bytes.NewReader(data))
		for {
			r, err := decoder.Read()
			if err != nil {
				return
			}
			if err := r.Check(); err != nil {
				t.Fatal(err)
			}
			checkLine(t, append(appendRecord(nil, &r), '\n'))
		}
	})
}

func BenchmarkEncoder(b *testing.B) {
	encoder := NewEncoder(io.Discard)
	r := full()
	b.ReportAllocs()
	for b.Loop() {
		if err := encoder.Write(r); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecoder(b *testing.B) {
	r := full()
	r.V = Version
	line := append(appendRecord(nil, &r), '\n')
	b.ReportAllocs()
	for b.Loop() {
		if _, err := parse(line); err != nil {
			b.Fatal(err)
		}
	}
}
