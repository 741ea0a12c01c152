// SPDX-License-Identifier: Apache-2.0

package main

import (
	"testing"

	"github.com/phantom-ns/phantom-ns/test/rig"
)

// good is what an agent brings back when every claim holds.
func good() (*standIn, *sight) {
	api := &standIn{key: "demo-live-0123456789"}
	api.accepted.Store(1)
	return api, &sight{found: true, bytes: 2 << 20, tries: map[string]try{
		"key":      {0, 0, "demo-fake-0123456789"},
		"call":     {0, 30, `{"authenticated":true}`},
		"web":      {6, 10, "curl: (6) Could not resolve host"},
		"udp":      {1, 30, "Connection refused"},
		"dns":      {1, 30, "NXDOMAIN"},
		"metadata": {7, 10, "curl: (7) Failed to connect"},
		"looked":   {0, 0, "1000"},
	}}
}

func TestEachClaimCanFail(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(*standIn, *sight)
	}{
		{"the real key in the environment", func(a *standIn, s *sight) { s.tries["key"] = try{0, 0, a.key} }},
		{"no placeholder", func(_ *standIn, s *sight) { s.tries["key"] = try{} }},
		{"the call failed", func(_ *standIn, s *sight) { s.tries["call"] = try{22, 30, "401"} }},
		{"the API saw no key", func(a *standIn, _ *sight) { a.accepted.Store(0) }},
		{"the API saw a placeholder", func(a *standIn, _ *sight) { a.refused.Store(1) }},
		{"a page was fetched", func(_ *standIn, s *sight) { s.tries["web"] = try{0, 30, "<html>"} }},
		{"UDP was sent", func(_ *standIn, s *sight) { s.tries["udp"] = try{0, 30, "sent"} }},
		{"the tunnel hung", func(_ *standIn, s *sight) { s.tries["dns"] = try{1, 5000, "timed out"} }},
		{"metadata was not tried", func(_ *standIn, s *sight) { delete(s.tries, "metadata") }},
		{"the key was found", func(_ *standIn, s *sight) { s.hits = []rig.Hit{{Place: "/proc/1/environ", Form: "raw"}} }},
		{"the search finds nothing at all", func(_ *standIn, s *sight) { s.found = false }},
		{"the search read nothing", func(_ *standIn, s *sight) { s.bytes = 0 }},
		{"the agent died", func(_ *standIn, s *sight) { s.exit = 137 }},
	} {
		t.Run(c.name, func(t *testing.T) {
			api, seen := good()
			c.spoil(api, seen)
			if holds(claims(api, seen)) {
				t.Error("every claim still holds")
			}
		})
	}
	if api, seen := good(); !holds(claims(api, seen)) {
		t.Error("a good run does not pass")
	}
}

func holds(all []claim) bool {
	for _, c := range all {
		if !c.holds {
			return false
		}
	}
	return true
}
