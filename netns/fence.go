// SPDX-License-Identifier: Apache-2.0

package netns

import (
	"errors"
	"fmt"
	"time"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	rtnetlink "github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// The ports that are reserved in every namespace of a session, on 127.0.0.1 and
// ::1. They are below 1024, so that a user of the container cannot bind them.
const (
	ListenerPort = 981 // TCP that the hooks rewrite to
	DNSPort      = 982 // the stub in a namespace that has links
)

var (
	// ErrNoFilter is what Fence answers on a kernel without nf_tables, or without
	// one of its parts.
	ErrNoFilter = errors.New("nf_tables is not in this kernel, or lacks conntrack, nat, fib or reject" +
		" (modules nf_tables, nft_ct, nft_redir, nft_fib_inet, nft_reject_inet)")
	// ErrFenceChanged is what CheckFence answers when anything differs.
	ErrFenceChanged = errors.New("the fence is not as it was made")
)

// patience is how long the kernel may take to answer about its tables. The first
// fence of a machine waits for modules to be loaded: seconds, where it is emulated.
const patience = time.Minute

// Fence sets lo up and puts this package's table into the namespace, in the place
// of an older one, in one step. With it, whatever program runs inside, packets
// leave the namespace by its links only as
//
//   - replies of flows that were begun outside, and errors about these;
//   - the kernel's own neighbour discovery.
//
// What stays inside passes. Questions on port 53 for addresses other than
// 127.0.0.1, ::1 and the links' own go to DNSPort. Everything else is refused at
// once, and nothing is forwarded.
//
// It holds for every socket but those of AF_PACKET, whose frames no output chain
// sees, and until somebody with CAP_NET_ADMIN inside takes it away: CheckFence
// tells. Tables of others stay, and stay in force where they refuse more.
func (n *Namespace) Fence() error {
	if err := n.routed(func(h *rtnetlink.Handle) error { _, err := raise(h); return err }); err != nil {
		return fmt.Errorf("fence network namespace: %w", err)
	}
	err := n.filtered(func(conn *nftables.Conn) error {
		// Deleting what is not there is an error, so it is made first.
		conn.AddTable(fenceTable)
		conn.DelTable(fenceTable)
		conn.AddTable(fenceTable)
		for _, name := range counterNames {
			conn.AddObj(&nftables.CounterObj{Table: fenceTable, Name: name})
		}
		for _, c := range fenceChains() {
			conn.AddChain(c.chain())
			for _, rule := range c.rules {
				conn.AddRule(&nftables.Rule{Table: fenceTable, Chain: c.chain(), Exprs: rule})
			}
		}
		return explain(conn.Flush())
	})
	if err != nil {
		return fmt.Errorf("fence network namespace: %w", err)
	}
	return nil
}

// Unfence takes the table away. There may be none.
func (n *Namespace) Unfence() error {
	err := n.filtered(func(conn *nftables.Conn) error {
		conn.AddTable(fenceTable)
		conn.DelTable(fenceTable)
		return explain(conn.Flush())
	})
	if err != nil {
		return fmt.Errorf("unfence network namespace: %w", err)
	}
	return nil
}

// filtered calls f with a connection to the namespace's tables.
func (n *Namespace) filtered(f func(*nftables.Conn) error) error {
	return n.filteredRaw(func(conn *nftables.Conn, _ *netlink.Conn) error { return f(conn) })
}

// filteredRaw calls f with the socket below the connection, too.
func (n *Namespace) filteredRaw(f func(*nftables.Conn, *netlink.Conn) error) error {
	var conn *nftables.Conn
	var raw *netlink.Conn
	err := n.Do(func() error {
		var err error
		conn, err = nftables.New(nftables.AsLasting(), nftables.WithSockOptions(func(c *netlink.Conn) error {
			raw = c
			return c.SetDeadline(time.Now().Add(patience))
		}))
		return explain(err)
	})
	if err != nil {
		return err
	}
	return errors.Join(f(conn, raw), conn.CloseLasting())
}

// explain takes the first of the answers to a batch, one for each message, and
// adds ErrNoFilter to that of a kernel that lacks something.
func explain(err error) error {
	if first := (*netlink.OpError)(nil); errors.As(err, &first) {
		err = first
	}
	for _, missing := range []error{unix.EPROTONOSUPPORT, unix.EAFNOSUPPORT, unix.EOPNOTSUPP, unix.ENOENT} {
		if errors.Is(err, missing) {
			return fmt.Errorf("%w: %w", ErrNoFilter, err)
		}
	}
	return err
}
