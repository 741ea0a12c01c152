// SPDX-License-Identifier: Apache-2.0

package netns

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// CheckFence reads the table back and compares it with what Fence would make:
// chains, where they stand, and each rule by what it does. Any difference is
// ErrFenceChanged.
func (n *Namespace) CheckFence() error {
	err := n.filtered(func(conn *nftables.Conn) error {
		if err := checkTable(conn); err != nil {
			return err
		}
		found, err := ourChains(conn)
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
