// SPDX-License-Identifier: Apache-2.0

package api

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestAMessageIsReadStrictly(t *testing.T) {
	for name, text := range map[string]string{
		"unknown key":      `{"container":"a","interface":"eth0","more":1}`,
		"key given twice":  `{"container":"a","container":"b","interface":"eth0"}`,
		"other case":       `{"Container":"a","interface":"eth0"}`,
		"kelvin sign":      "{\"container\":\"a\",\"interface\":\"eth0\",\"\u212aey\":1}",
		"two values":       `{"container":"a","interface":"eth0"}{}`,
		"trailing bytes":   `{"container":"a","interface":"eth0"} x`,
		"array":            `[]`,
		"wrong type":       `{"container":1,"interface":"eth0"}`,
		"nothing":          ``,
		"cut":              `{"container":"a"`,
		"too long":         `{"container":"` + strings.Repeat("a", MaxRequest) + `"}`,
		"nested too deep":  strings.Repeat("[", 40) + strings.Repeat("]", 40),
		"nested in a key":  `{"container":{"a":{"a":1,"a":2}}}`,
		"NUL before value": "\x00{}",
	} {
		t.Run(name, func(t *testing.T) {
			var k Key
			if err := Decode(strings.NewReader(text), MaxRequest, &k); err == nil {
				t.Errorf("decoded as %+v", k)
			}
		})
	}
	var k Key
	if err := Decode(strings.NewReader(` {"container":"a","interface":"eth0"} `+"\n"), MaxRequest, &k); err != nil || k != (Key{"a", "eth0"}) {
		t.Errorf("got %+v, %v", k, err)
	}
}

func TestAnAttachmentComesBackAsItWas(t *testing.T) {
	sent := Attachment{
		Container: "c", Interface: "eth0", Namespace: "/run/netns/x", Policy: "web", Unfenced: true,
		Addresses: []netip.Prefix{netip.MustParsePrefix("10.1.2.3/24"), netip.MustParsePrefix("fd00::2/64")},
		Pod:       &Pod{Namespace: "n", Name: "p", UID: "u"}, Session: "s", Started: time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC),
	}
	data, err := json.Marshal(sent)
	if err != nil {
		t.Fatal(err)
	}
	var got Attachment
	if err := Decode(strings.NewReader(string(data)), MaxRequest, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(sent, got, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
		t.Error(diff)
	}
}

func TestNamesAreChecked(t *testing.T) {
	good := Attachment{Container: "c", Interface: "eth0", Namespace: "/run/netns/x", Policy: "web"}
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*Attachment){
		"no container":               func(a *Attachment) { a.Container = "" },
		"container leads elsewhere":  func(a *Attachment) { a.Container = "../x" },
		"container begins with dot":  func(a *Attachment) { a.Container = ".x" },
		"container is too long":      func(a *Attachment) { a.Container = strings.Repeat("a", 201) },
		"container is not ASCII":     func(a *Attachment) { a.Container = "aš" },
		"container has a separator":  func(a *Attachment) { a.Container = "a@eth0" },
		"interface is too long":      func(a *Attachment) { a.Interface = strings.Repeat("a", 16) },
		"interface is a folder":      func(a *Attachment) { a.Interface = ".." },
		"interface leads elsewhere":  func(a *Attachment) { a.Interface = "a/b" },
		"interface with a space":     func(a *Attachment) { a.Interface = "a b" },
		"namespace is relative":      func(a *Attachment) { a.Namespace = "run/netns/x" },
		"namespace has a NUL":        func(a *Attachment) { a.Namespace = "/run\x00/x" },
		"namespace is too long":      func(a *Attachment) { a.Namespace = "/" + strings.Repeat("a", 4096) },
		"policy leads elsewhere":     func(a *Attachment) { a.Policy = "../policy" },
		"policy in upper case":       func(a *Attachment) { a.Policy = "Web" },
		"policy begins with a dash":  func(a *Attachment) { a.Policy = "-web" },
		"policy is too long":         func(a *Attachment) { a.Policy = strings.Repeat("a", 64) },
		"policy is empty":            func(a *Attachment) { a.Policy = "" },
		"too many addresses":         func(a *Attachment) { a.Addresses = make([]netip.Prefix, 65) },
		"sealed and without a fence": func(a *Attachment) { a.Sealed, a.Unfenced = true, true },
		"network leads elsewhere":    func(a *Attachment) { a.Network = "../n" },
		"pod's name is too long":     func(a *Attachment) { a.Pod = &Pod{Name: strings.Repeat("a", 254)} },
	} {
		t.Run(name, func(t *testing.T) {
			a := good
			spoil(&a)
			if err := a.Validate(); err == nil {
				t.Error("accepted")
			}
		})
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"container":"a","interface":"eth0","namespace":"/x","policy":"p","addresses":["10.0.0.1/8"]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var a Attachment
		if Decode(strings.NewReader(string(data)), MaxRequest, &a) != nil {
			return
		}
		again, err := json.Marshal(a)
		if err != nil {
			t.Fatal(err)
		}
		var b Attachment
		if err := Decode(strings.NewReader(string(again)), MaxAnswer, &b); err != nil {
			t.Fatalf("what was decoded does not decode again: %v", err)
		}
	})
}
