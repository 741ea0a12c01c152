// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"encoding/binary"
	"net/netip"
	"sync"
)

// Prefix4 and Prefix6 hold the synthetic addresses. 198.18.0.0/15 is reserved
// for benchmarks between networks (RFC 2544, appendix C.2.2) and so is nobody's
// address; the other is a unique local prefix (RFC 4193). A name has the same
// index in both. 198.18.255.0/24 is never handed out: the session's own address
// is there.
var (
	Prefix4 = netip.PrefixFrom(netip.AddrFrom4([4]byte{198, 18}), 16)
	Prefix6 = netip.PrefixFrom(netip.AddrFrom16([16]byte{0xfd, 0x70, 0x68, 0x61, 0x6e, 0x74}), 64)
)

// MaxNames is how many names a session may look up; index 65,000 is
// 198.18.253.232.
const MaxNames = 65000

// Table gives each allowed name a synthetic address of each family, for as long
// as the table lives. It is safe for concurrent use.
type Table struct {
	canonical func(string) (string, error)
	allowed   func(string) bool

	mu    sync.RWMutex
	index map[string]uint16
	names []string // names[i] has index i+1
}

// New returns an empty table. canonical turns a name into its one form or
// refuses it; allowed says of that form whether policy could allow it, and is
// asked on each lookup, so that its answer may change while the table lives.
// Both must be safe for concurrent use.
func New(canonical func(string) (string, error), allowed func(host string) bool) *Table {
	return &Table{canonical: canonical, allowed: allowed, index: make(map[string]uint16)}
}

// Assign returns the addresses of host, and gives it some when it has none. Not
// ok means that the name is malformed, not allowed, or the 65,001st.
func (t *Table) Assign(host string) (v4, v6 netip.Addr, ok bool) {
	name, err := t.canonical(host)
	if err != nil || !t.allowed(name) {
		return netip.Addr{}, netip.Addr{}, false
	}
	index, ok := t.assign(name)
	if !ok {
		return netip.Addr{}, netip.Addr{}, false
	}
	v4, v6 = addresses(index)
	return v4, v6, true
}

// assign takes a name that is canonical and allowed.
func (t *Table) assign(name string) (index uint16, ok bool) {
	t.mu.RLock()
	index, ok = t.index[name]
	t.mu.RUnlock()
	if ok {
		return index, true
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if index, ok = t.index[name]; ok {
		return index, true
	}
	if len(t.names) >= MaxNames {
		return 0, false
	}
	t.names = append(t.names, name)
	index = uint16(len(t.names))
	t.index[name] = index
	return index, true
}

// Name returns the name that address was given to, in canonical form. A
// v4-mapped address is the IPv4 address it maps. Whether policy still allows
// the name is not asked.
func (t *Table) Name(address netip.Addr) (string, bool) {
	index, ok := indexOf(address)
	if !ok {
		return "", false
	}
	t.mu.RLock()
	defer t.mu.RUnlock()
	if int(index) > len(t.names) {
		return "", false
	}
	return t.names[index-1], true
}

func addresses(index uint16) (v4, v6 netip.Addr) {
	raw4, raw6 := Prefix4.Addr().As4(), Prefix6.Addr().As16()
	binary.BigEndian.PutUint16(raw4[2:], index)
	binary.BigEndian.PutUint16(raw6[14:], index)
	return netip.AddrFrom4(raw4), netip.AddrFrom16(raw6)
}

// indexOf is the inverse of addresses; an address of either prefix that
// addresses would not make is not one of ours.
func indexOf(address netip.Addr) (index uint16, ok bool) {
	address = address.Unmap()
	if !Prefix4.Contains(address) && !Prefix6.Contains(address) {
		return 0, false
	}
	raw := address.As16()
	index = binary.BigEndian.Uint16(raw[14:])
	v4, v6 := addresses(index)
	return index, index != 0 && (address == v4 || address == v6)
}
