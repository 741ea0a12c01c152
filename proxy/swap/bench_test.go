// SPDX-License-Identifier: Apache-2.0

package swap

import (
	"net/http"
	"testing"

	"github.com/phantom-ns/phantom-ns/proxy/policy"
)

// BenchmarkJudge: a head of an SDK's, with one credential that is in a header
// alone, and with all positions that could be in target and body.
func BenchmarkJudge(b *testing.B) {
	for name, positions := range map[string][]policy.Position{
		"header":    {bearer},
		"positions": {bearer, query, bot, cookie, field, pointer, protocol},
	} {
		b.Run(name, func(b *testing.B) {
			set, bound := newSet(b, positions...)
			r := Request{Target: "/v1/chat/completions?stream=true", Header: http.Header{
				"Authorization": {"Bearer " + holder}, "Accept": {"application/json"}, "Accept-Encoding": {"gzip, deflate, br"},
				"User-Agent": {"OpenAI/Python 1.99.9"}, "Content-Type": {"application/json"}, "X-Stainless-Lang": {"python"},
				"X-Stainless-Os": {"Linux"}, "X-Stainless-Arch": {"x64"}, "X-Stainless-Runtime": {"CPython"},
			}}
			b.ReportAllocs()
			for b.Loop() {
				if f, err := set.Judge(bound, &r); err != nil || len(f.Matched) != 1 {
					b.Fatal(f, err)
				}
			}
		})
	}
}

// BenchmarkJSON: 4 MiB of JSON with the field at its end.
func BenchmarkJSON(b *testing.B) {
	set, bound := newSet(b, policy.Position{Kind: policy.PositionJSON, Name: "/k"})
	text := []byte(`{"images":[`)
	for len(text) < 4<<20 {
		text = append(text, `{"type":"text","text":"0123456789 0123456789 0123456789"},`...)
	}
	text = append(text, `1],"k":"`+holder+`"}`...)
	r := Request{Target: "/", Body: JSON, Content: text}
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if f, err := set.Judge(bound, &r); err != nil || len(f.Matched) != 1 {
			b.Fatal(f, err)
		}
	}
}
