// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
)

// canonical stands in for the policy's: lower case, no dot at the end, letters,
// digits, hyphens.
func canonical(host string) (string, error) {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if host == "" || strings.Trim(host, "abcdefghijklmnopqrstuvwxyz0123456789-.") != "" {
		return "", errors.New("not a host name")
	}
	return host, nil
}

// example allows example.test and everything below it.
func example(host string) bool {
	return host == "example.test" || strings.HasSuffix(host, ".example.test")
}

func TestNamesKeepTheirAddresses(t *testing.T) {
	table := New(canonical, example)
	v4, v6, ok := table.Assign("api.example.test")
	if !ok || v4 != netip.MustParseAddr("198.18.0.1") || v6 != netip.MustParseAddr("fd70:6861:6e74::1") {
		t.Fatalf("got %v %v %v", v4, v6, ok)
	}
	if v4, _, _ := table.Assign("example.test"); v4 != netip.MustParseAddr("198.18.0.2") {
		t.Errorf("second name got %v", v4)
	}
	for _, same := range []string{"api.example.test", "API.Example.Test.", "api.example.test."} {
		if again, again6, ok := table.Assign(same); !ok || again != v4 || again6 != v6 {
			t.Errorf("%q got %v %v %v", same, again, again6, ok)
		}
	}
}

func TestAddressesLeadToTheirNames(t *testing.T) {
	table := New(canonical, example)
	table.Assign("A.example.test.")
	for address, want := range map[string]string{
		"198.18.0.1":              "a.example.test",
		"::ffff:198.18.0.1":       "a.example.test",
		"fd70:6861:6e74::1":       "a.example.test",
		"198.18.0.0":              "",
		"198.18.0.2":              "",
		"198.18.255.1":            "",
		"198.19.0.1":              "",
		"fd70:6861:6e74::":        "",
		"fd70:6861:6e74::1:1":     "",
		"fd70:6861:6e74:0:1::1":   "",
		"fd70:6861:6e74:ffff::1":  "",
		"fd70:6861:6e74::1%lo":    "",
		"64:ff9b::198.18.0.1":     "",
		"2002:c612:1::":           "",
		"::198.18.0.1":            "",
		"127.0.0.1":               "",
		"fd70:6861:6e74::1:0:0:1": "",
	} {
		if got, ok := table.Name(netip.MustParseAddr(address)); got != want || ok != (want != "") {
			t.Errorf("%s: got %q %v", address, got, ok)
		}
	}
	if _, ok := table.Name(netip.Addr{}); ok {
		t.Error("the zero address has a name")
	}
}

func TestRefusedNamesTakeNoAddress(t *testing.T) {
	table := New(canonical, example)
	for _, host := range []string{"", ".", "evil.test", "example.test.evil", "notexample.test", "a\x00.example.test", "*.example.test"} {
		if v4, _, ok := table.Assign(host); ok || v4.IsValid() {
			t.Errorf("%q got %v", host, v4)
		}
	}
	if len(table.names) != 0 {
		t.Errorf("names kept: %q", table.names)
	}
}

func TestAllowedIsAskedEachTime(t *testing.T) {
	open := true
	table := New(canonical, func(string) bool { return open })
	v4, _, _ := table.Assign("a.test")
	open = false
	if _, _, ok := table.Assign("a.test"); ok {
		t.Error("a name that is no longer allowed was answered")
	}
	open = true
	if again, _, _ := table.Assign("a.test"); again != v4 {
		t.Errorf("allowed again, it moved from %v to %v", v4, again)
	}
}

func TestTableIsBounded(t *testing.T) {
	table := New(canonical, example)
	kept := netip.MustParsePrefix("198.18.255.0/24")
	for i := range MaxNames {
		v4, v6, ok := table.Assign(fmt.Sprintf("n%d.example.test", i))
		if !ok || !Prefix4.Contains(v4) || !Prefix6.Contains(v6) || kept.Contains(v4) {
			t.Fatalf("name %d got %v %v %v", i, v4, v6, ok)
		}
	}
	if _, _, ok := table.Assign("one-more.example.test"); ok {
		t.Error("one name too many was given an address")
	}
	if v4, _, ok := table.Assign("n64999.example.test"); !ok || v4 != netip.MustParseAddr("198.18.253.232") {
		t.Errorf("the last name got %v %v", v4, ok)
	}
}

func TestTableUnderConcurrency(t *testing.T) {
	table := New(canonical, example)
	const names = 500
	var wait sync.WaitGroup
	for worker := range 8 {
		wait.Go(func() {
			for i := range names {
				host := fmt.Sprintf("n%d.example.test", (i+worker*61)%names)
				v4, v6, ok := table.Assign(host)
				if name, found := table.Name(v4); !ok || !found || name != host {
					t.Errorf("%s got %v, which is %q", host, v4, name)
				}
				if name, _ := table.Name(v6); name != host {
					t.Errorf("%s got %v, which is %q", host, v6, name)
				}
			}
		})
	}
	wait.Wait()
	if len(table.names) != names {
		t.Errorf("%d names", len(table.names))
	}
}

func BenchmarkAssign(b *testing.B) {
	table := New(canonical, example)
	b.ReportAllocs()
	for b.Loop() {
		table.Assign("api.example.test")
	}
}
