// SPDX-License-Identifier: Apache-2.0

package node

import (
	"testing"

	"github.com/phantom-ns/phantom-ns/netns"
)

func TestLinksThatTheSessionDoesNotHold(t *testing.T) {
	link := func(name string, index, hostIndex int) netns.Uplink {
		return netns.Uplink{Name: name, Index: index, HostIndex: hostIndex}
	}
	for name, c := range map[string]struct {
		held  netns.Uplink
		found netns.Uplink
		want  bool
	}{
		"the same":                         {link("eth0", 2, 7), link("eth0", 2, 7), false},
		"renamed and renumbered":           {link("eth0", 2, 7), link("eth9", 9, 7), false},
		"of a daemon before":               {link("", 0, 7), link("eth0", 2, 7), false},
		"another":                          {link("eth0", 2, 7), link("eth1", 3, 8), true},
		"another, of a number that is had": {link("eth0", 2, 7), link("eth1", 2, 8), true},
		"another, without an end":          {link("eth0", 2, 7), link("eth1", 2, 0), true},
		"without an end, the same":         {link("eth1", 2, 0), link("eth1", 2, 0), false},
		"made inside":                      {link("eth0", 2, 7), link("dummy0", 3, 0), false},
	} {
		t.Run(name, func(t *testing.T) {
			s := &session{uplinks: []netns.Uplink{c.held}}
			if got := len(s.unknown([]netns.Uplink{c.found}, "eth1")) > 0; got != c.want {
				t.Errorf("unknown: %t", got)
			}
		})
	}
}
