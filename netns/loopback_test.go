// SPDX-License-Identifier: Apache-2.0

package netns

import (
	"net/netip"
	"testing"
)

func TestOwnAddresses(t *testing.T) {
	if p := netip.MustParsePrefix("198.18.255.0/24"); !p.Contains(OwnAddr4) {
		t.Errorf("%s is outside %s, which no name is given", OwnAddr4, p)
	}
	if !OwnAddr6.IsPrivate() || !OwnAddr6.Is6() {
		t.Errorf("%s is not a unique local address", OwnAddr6)
	}
	if netip.MustParsePrefix("fd70:6861:6e74::/64").Contains(OwnAddr6) {
		t.Errorf("%s is among the synthetic addresses", OwnAddr6)
	}
}

func TestCloseNothing(t *testing.T) {
	var none *Namespace
	if err := none.Close(); err != nil {
		t.Error(err)
	}
}
