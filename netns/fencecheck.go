// SPDX-License-Identifier: Apache-2.0

package netns

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// CheckFence reads the table back and compares it with what Fence would make:
// chains, where they stand, and each rule by what it does. Any difference is
// ErrFenceChanged.
func (n *Namespace) CheckFence() error {
	err := n.filteredRaw(func(conn *nftables.Conn, raw *netlink.Conn) error {
		if err := checkTable(conn); err != nil {
			return err
		}
		found, err := ourChains(conn)
		if err != nil {
			return err
		}
		sizes, err := ruleSizes(raw)
		if err != nil {
			return err
		}
		expected := fenceChains()
		if len(found) != len(expected) {
			return fmt.Errorf("%w: %d chains", ErrFenceChanged, len(found))
		}
		for _, want := range expected {
			if err := checkChain(conn, want, found[want.name]); err != nil {
				return err
			}
			if !slices.EqualFunc(want.rules, sizes[want.name], func(r rule, size int) bool { return len(r) == size }) {
				return fmt.Errorf("%w: an unknown expression in chain %q", ErrFenceChanged, want.name)
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("check fence: %w", err)
	}
	return nil
}

// checkTable looks for flags: a dormant table does nothing.
func checkTable(conn *nftables.Conn) error {
	tables, err := conn.ListTablesOfFamily(fenceTable.Family)
	if err != nil {
		return err
	}
	for _, t := range tables {
		if t.Name != fenceTable.Name {
			continue
		}
		if t.Flags != 0 {
			return fmt.Errorf("%w: flags %#x", ErrFenceChanged, t.Flags)
		}
		return nil
	}
	return fmt.Errorf("%w: it is gone", ErrFenceChanged)
}

func ourChains(conn *nftables.Conn) (map[string]*nftables.Chain, error) {
	chains, err := conn.ListChainsOfTableFamily(fenceTable.Family)
	if err != nil {
		return nil, err
	}
	ours := make(map[string]*nftables.Chain)
	for _, c := range chains {
		if c.Table.Name == fenceTable.Name {
			ours[c.Name] = c
		}
	}
	return ours, nil
}

func checkChain(conn *nftables.Conn, want fenceChain, got *nftables.Chain) error {
	if got == nil || got.Hooknum == nil || got.Priority == nil || got.Policy == nil {
		return fmt.Errorf("%w: chain %q", ErrFenceChanged, want.name)
	}
	if got.Type != want.kind || *got.Hooknum != *want.hook || *got.Priority != want.priority || *got.Policy != want.policy {
		return fmt.Errorf("%w: place of chain %q", ErrFenceChanged, want.name)
	}
	rules, err := conn.GetRules(fenceTable, got)
	if err != nil {
		return err
	}
	if len(rules) != len(want.rules) {
		return fmt.Errorf("%w: %d rules in chain %q", ErrFenceChanged, len(rules), want.name)
	}
	for i, r := range rules {
		same, err := sameRule(want.rules[i], r.Exprs)
		if err != nil {
			return err
		}
		if !same {
			return fmt.Errorf("%w: rule %d of chain %q", ErrFenceChanged, i+1, want.name)
		}
	}
	return nil
}

// ruleSizes counts the expressions of each rule, for the library leaves out those
// that it does not know.
func ruleSizes(raw *netlink.Conn) (map[string][]int, error) {
	table, err := netlink.MarshalAttributes([]netlink.Attribute{{Type: unix.NFTA_RULE_TABLE, Data: []byte(fenceTable.Name + "\x00")}})
	if err != nil {
		return nil, err
	}
	answer, err := raw.Execute(netlink.Message{
		Header: netlink.Header{Type: unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_GETRULE, Flags: netlink.Request | netlink.Dump},
		Data:   append([]byte{unix.NFPROTO_INET, unix.NFNETLINK_V0, 0, 0}, table...),
	})
	if err != nil {
		return nil, fmt.Errorf("list rules: %w", err)
	}
	sizes := make(map[string][]int)
	for _, message := range answer {
		if err := countRule(message.Data, sizes); err != nil {
			return nil, fmt.Errorf("list rules: %w", err)
		}
	}
	return sizes, nil
}

func countRule(message []byte, sizes map[string][]int) error {
	if len(message) < 4 {
		return unix.EBADMSG
	}
	decoder, err := netlink.NewAttributeDecoder(message[4:])
	if err != nil {
		return err
	}
	var chain string
	size := 0
	for decoder.Next() {
		switch decoder.Type() {
		case unix.NFTA_RULE_CHAIN:
			chain = decoder.String()
		case unix.NFTA_RULE_EXPRESSIONS:
			decoder.Nested(func(expressions *netlink.AttributeDecoder) error {
				for expressions.Next() {
					size++
				}
				return expressions.Err()
			})
		}
	}
	sizes[chain] = append(sizes[chain], size)
	return decoder.Err()
}

// sameRule compares in the kernel's own words.
func sameRule(want, got rule) (bool, error) {
	if len(want) != len(got) {
		return false, nil
	}
	for i := range want {
		a, errA := expr.Marshal(unix.NFPROTO_INET, want[i])
		b, errB := expr.Marshal(unix.NFPROTO_INET, got[i])
		if err := errors.Join(errA, errB); err != nil {
			return false, err
		}
		if !bytes.Equal(a, b) {
			return false, nil
		}
	}
	return true, nil
}
