// SPDX-License-Identifier: Apache-2.0

//go:build root

package netns_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	mdnetlink "github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/phantom-ns/phantom-ns/netns"
)

// others is a table as other programs have one in a container's namespace.
var others = &nftables.Table{Name: "nat", Family: nftables.TableFamilyIPv4}

// counted returns the packets that the fence has seen, by the name of a counter.
func counted(t *testing.T, ns *netns.Namespace) map[string]uint64 {
	t.Helper()
	all := make(map[string]uint64)
	inside(t, ns, func() error {
		conn, err := nftables.New()
		if err != nil {
			return err
		}
		objects, err := conn.GetObjects(&nftables.Table{Name: "phantom-ns", Family: nftables.TableFamilyINet})
		for _, o := range objects {
			c := o.(*nftables.CounterObj)
			all[c.Name] = c.Packets
		}
		return err
	})
	return all
}

// edit changes the tables of a namespace in one batch.
func edit(t *testing.T, ns *netns.Namespace, change func(*nftables.Conn)) {
	t.Helper()
	inside(t, ns, func() error {
		conn, err := nftables.New()
		if err != nil {
			return err
		}
		change(conn)
		return conn.Flush()
	})
}

func otherChain(name string, kind nftables.ChainType, hook *nftables.ChainHook, priority *nftables.ChainPriority) *nftables.Chain {
	return &nftables.Chain{Name: name, Table: others, Type: kind, Hooknum: hook, Priority: priority}
}

// dnat is a rule that sends what goes to one address and port to another.
func dnat(chain *nftables.Chain, protocol byte, from [4]byte, port uint16, to [4]byte, toPort uint16) *nftables.Rule {
	return &nftables.Rule{Table: others, Chain: chain, Exprs: []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{protocol}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 16, Len: 4},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: from[:]},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.BigEndian.PutUint16(port)},
		&expr.Immediate{Register: 1, Data: to[:]},
		&expr.Immediate{Register: 2, Data: binaryutil.BigEndian.PutUint16(toPort)},
		&expr.NAT{Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: 1, RegProtoMin: 2},
	}}
}

// Rules of others stay in force, before and after ours came, and whatever they
// rewrite is judged by what it becomes.
func TestFenceAmongOthers(t *testing.T) {
	for name, first := range map[string]bool{"they came first": true, "we came first": false} {
		t.Run(name, func(t *testing.T) {
			p := newPod(t)
			if !first {
				must(t, p.Fence())
			}
			edit(t, p.Namespace, addOthers)
			if first {
				must(t, p.Fence())
			}
			must(t, p.CheckFence())
			inside(t, p.Namespace, addDefaultRoutes)
			listenUDP(t, p.Namespace, "stub", "127.0.0.1:982")
			listenTCP(t, p.Namespace, "stub", "127.0.0.1:982")
			listenUDP(t, p.Namespace, "docker's", "127.0.0.11:4053")
			listenTCP(t, p.Namespace, "docker's", "127.0.0.11:4053")
			listenTCP(t, p.Namespace, "sidecar", ":15006")
			listenTCP(t, p.outside, "outside", ":9999")
			listenUDP(t, p.outside, "outside", ":9999")
			w := newTap(t, p.outside)
			w.seen()
			for _, network := range []string{"tcp", "udp"} {
				// A resolver of the engine's asks outside: the stub is before it.
				expect(t, p.Namespace, network, "127.0.0.11:53", "stub")
				expect(t, p.Namespace, network, "127.0.0.11:4053", "docker's")
			}
			// A proxy's redirections, of what leaves and of what arrives.
			expect(t, p.Namespace, "tcp", "198.51.100.7:80", "sidecar")
			expect(t, p.Namespace, "tcp", "203.0.113.10:5000", "ECONNREFUSED")
			expect(t, p.Namespace, "udp", "203.0.113.10:5000", "EPERM")
			if out := w.seen(); len(out) > 0 {
				t.Errorf("left: %q", out)
			}
			expect(t, p.outside, "tcp", "203.0.113.10:80", "sidecar")
		})
	}
}

// addOthers makes what Docker puts into its containers for its resolver, what a
// mesh does for its proxy, and a rule that sends loopback's traffic out.
func addOthers(conn *nftables.Conn) {
	conn.AddTable(others)
	out := conn.AddChain(otherChain("OUTPUT", nftables.ChainTypeNAT, nftables.ChainHookOutput, nftables.ChainPriorityNATDest))
	in := conn.AddChain(otherChain("PREROUTING", nftables.ChainTypeNAT, nftables.ChainHookPrerouting, nftables.ChainPriorityNATDest))
	home, docker, away := [4]byte{127, 0, 0, 1}, [4]byte{127, 0, 0, 11}, outsideAddr4.Addr().As4()
	for _, protocol := range []byte{unix.IPPROTO_TCP, unix.IPPROTO_UDP} {
		conn.AddRule(dnat(out, protocol, docker, 53, docker, 4053))
		conn.AddRule(dnat(out, protocol, podAddr4.Addr().As4(), 5000, away, 9999))
	}
	conn.AddRule(dnat(out, unix.IPPROTO_TCP, [4]byte{198, 51, 100, 7}, 80, home, 15006))
	conn.AddRule(dnat(in, unix.IPPROTO_TCP, podAddr4.Addr().As4(), 80, podAddr4.Addr().As4(), 15006))
}

// A packet that is rewritten after our output chain judged it is dropped where it
// leaves.
func TestFenceDropsDiverted(t *testing.T) {
	p := newPod(t)
	must(t, p.Fence())
	last := nftables.ChainPriorityRef(20_000)
	edit(t, p.Namespace, func(conn *nftables.Conn) {
		conn.AddTable(others)
		// A chain of type route finds another link for what it has rewritten.
		chain := conn.AddChain(otherChain("divert", nftables.ChainTypeRoute, nftables.ChainHookOutput, last))
		to := outsideAddr4.Addr().As4()
		conn.AddRule(&nftables.Rule{Table: others, Chain: chain, Exprs: []expr.Any{
			&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_UDP}},
			&expr.Immediate{Register: 1, Data: to[:]},
			&expr.Payload{OperationType: expr.PayloadWrite, SourceRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 16, Len: 4,
				CsumType: expr.CsumTypeInet, CsumOffset: 10, CsumFlags: unix.NFT_PAYLOAD_L4CSUM_PSEUDOHDR},
		}})
	})
	w := newTap(t, p.outside)
	expect(t, p.Namespace, "udp", "203.0.113.10:9999", "EPERM")
	if out := w.seen(); len(out) > 0 {
		t.Errorf("left: %q", out)
	}
	if c := counted(t, p.Namespace); c["diverted"] != 1 {
		t.Errorf("counters are %v", c)
	}
}

// CheckFence sees what a program with CAP_NET_ADMIN can do to the table.
func TestFenceChanges(t *testing.T) {
	ours := &nftables.Table{Name: "phantom-ns", Family: nftables.TableFamilyINet}
	chain := func(name string) *nftables.Chain { return &nftables.Chain{Name: name, Table: ours} }
	accept := []expr.Any{&expr.Verdict{Kind: expr.VerdictAccept}}
	for name, change := range map[string]func(*nftables.Conn){
		"gone":      func(conn *nftables.Conn) { conn.DelTable(ours) },
		"all gone":  func(conn *nftables.Conn) { conn.FlushRuleset() },
		"empty":     func(conn *nftables.Conn) { conn.FlushTable(ours) },
		"one empty": func(conn *nftables.Conn) { conn.FlushChain(chain("forward")) },
		"inserted": func(conn *nftables.Conn) {
			conn.InsertRule(&nftables.Rule{Table: ours, Chain: chain("output"), Exprs: accept})
		},
		"appended": func(conn *nftables.Conn) {
			conn.AddRule(&nftables.Rule{Table: ours, Chain: chain("names"), Exprs: accept})
		},
		"replaced": func(conn *nftables.Conn) {
			conn.FlushChain(chain("forward"))
			conn.AddRule(&nftables.Rule{Table: ours, Chain: chain("forward"), Exprs: append([]expr.Any{
				&expr.Objref{Type: unix.NFT_OBJECT_COUNTER, Name: "forwarded"}}, accept...)})
		},
		"policy": func(conn *nftables.Conn) {
			policy := nftables.ChainPolicyAccept
			c := chain("output")
			c.Policy = &policy
			conn.AddChain(c)
		},
		"another chain": func(conn *nftables.Conn) { conn.AddChain(chain("more")) },
	} {
		t.Run(name, func(t *testing.T) {
			ns := opened(t, bare(t))
			must(t, ns.Fence())
			edit(t, ns, change)
			if err := ns.CheckFence(); !errors.Is(err, netns.ErrFenceChanged) {
				t.Errorf("check: %v, want %v", err, netns.ErrFenceChanged)
			}
			must(t, ns.Fence())
			must(t, ns.CheckFence())
		})
	}
}

// A rule that looks like ours to the library, as it does not know an expression
// in it.
func TestFenceChangedByUnknownExpression(t *testing.T) {
	ns := opened(t, bare(t))
	must(t, ns.Fence())
	edit(t, ns, func(conn *nftables.Conn) {
		conn.FlushChain(&nftables.Chain{Name: "forward", Table: &nftables.Table{Name: "phantom-ns", Family: nftables.TableFamilyINet}})
	})
	inside(t, ns, func() error {
		conn, err := mdnetlink.Dial(unix.NETLINK_NETFILTER, nil)
		if err != nil {
			return err
		}
		defer conn.Close()
		_, err = conn.SendMessages([]mdnetlink.Message{
			batchMark(unix.NFNL_MSG_BATCH_BEGIN), ruleWithMore(t), batchMark(unix.NFNL_MSG_BATCH_END),
		})
		if err == nil {
			_, err = conn.Receive()
		}
		return err
	})
	if err := ns.CheckFence(); !errors.Is(err, netns.ErrFenceChanged) || !strings.Contains(err.Error(), "unknown expression") {
		t.Errorf("check: %v, want %v", err, netns.ErrFenceChanged)
	}
}

func batchMark(kind mdnetlink.HeaderType) mdnetlink.Message {
	return mdnetlink.Message{
		Header: mdnetlink.Header{Type: kind, Flags: mdnetlink.Request}, Data: []byte{0, 0, 0, unix.NFNL_SUBSYS_NFTABLES},
	}
}

// ruleWithMore is the rule of chain forward for one kind of operating system.
func ruleWithMore(t *testing.T) mdnetlink.Message {
	t.Helper()
	var elements []mdnetlink.Attribute
	attributes := func(of ...mdnetlink.Attribute) []byte {
		data, err := mdnetlink.MarshalAttributes(of)
		must(t, err)
		return data
	}
	const register = 1 // NFTA_OSF_DREG
	more := attributes(mdnetlink.Attribute{Type: unix.NFTA_EXPR_NAME, Data: []byte("osf\x00")},
		mdnetlink.Attribute{Type: unix.NLA_F_NESTED | unix.NFTA_EXPR_DATA, Data: attributes(
			mdnetlink.Attribute{Type: register, Data: binaryutil.BigEndian.PutUint32(unix.NFT_REG_1)})})
	elements = append(elements, mdnetlink.Attribute{Type: unix.NLA_F_NESTED | unix.NFTA_LIST_ELEM, Data: more})
	for _, e := range []expr.Any{&expr.Objref{Type: unix.NFT_OBJECT_COUNTER, Name: "forwarded"}, &expr.Verdict{Kind: expr.VerdictDrop}} {
		data, err := expr.Marshal(unix.NFPROTO_INET, e)
		must(t, err)
		elements = append(elements, mdnetlink.Attribute{Type: unix.NLA_F_NESTED | unix.NFTA_LIST_ELEM, Data: data})
	}
	return mdnetlink.Message{
		Header: mdnetlink.Header{
			Type:  unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_NEWRULE,
			Flags: mdnetlink.Request | mdnetlink.Acknowledge | mdnetlink.Create | mdnetlink.Append,
		},
		Data: append([]byte{unix.NFPROTO_INET, 0, 0, 0}, attributes(
			mdnetlink.Attribute{Type: unix.NFTA_RULE_TABLE, Data: []byte("phantom-ns\x00")},
			mdnetlink.Attribute{Type: unix.NFTA_RULE_CHAIN, Data: []byte("forward\x00")},
			mdnetlink.Attribute{Type: unix.NLA_F_NESTED | unix.NFTA_RULE_EXPRESSIONS, Data: attributes(elements...)})...),
	}
}
