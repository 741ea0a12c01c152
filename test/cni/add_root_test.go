// SPDX-License-Identifier: Apache-2.0

//go:build root

package cni

import "testing"

// BenchmarkADD is what a runtime waits for: the plugin's start, the daemon's
// work and the answer, of a sealed container and of one after bridge, whose
// own share the third tells.
func BenchmarkADD(b *testing.B) {
	n := newNode(b)
	bridge := n.first("bridge", families["IPv4"])
	for _, chain := range []struct {
		name    string
		plugins []string
	}{
		{"sealed", []string{n.ours(underWeb)}},
		{"after bridge", []string{bridge, n.ours(underWeb)}},
		{"bridge alone", []string{bridge}},
	} {
		b.Run(chain.name, func(b *testing.B) {
			l := n.list(b, "1.0.0", "bench", chain.plugins...)
			for b.Loop() {
				b.StopTimer()
				c := n.newContainer(b)
				b.StartTimer()
				if _, err := c.add(l); err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				if err := c.del(l); err != nil {
					b.Fatal(err)
				}
				c.remove(b)
				b.StartTimer()
			}
		})
	}
}
