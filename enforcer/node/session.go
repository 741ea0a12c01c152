// SPDX-License-Identifier: Apache-2.0

package node

import (
	"errors"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/phantom-ns/phantom-ns/bpf"
	"github.com/phantom-ns/phantom-ns/enforcer"
	"github.com/phantom-ns/phantom-ns/enforcer/node/api"
	"github.com/phantom-ns/phantom-ns/netns"
	"github.com/phantom-ns/phantom-ns/netns/sandbox"
	"github.com/phantom-ns/phantom-ns/proxy/audit"
	"github.com/phantom-ns/phantom-ns/proxy/dns"
)

// session is a network namespace under a policy. Whoever changes it holds mu
// over every step, however slow: other sessions are not concerned.
type session struct {
	cookie uint64 // of the namespace, never used again

	mu         sync.Mutex
	dead       bool // ended, or never came to be: who waited for mu looks again
	live       bool // everything is in force
	stopped    bool // its container stays, and reaches nothing
	id         string
	generation int // which daemon's, for the audit log
	policy     string
	sealed     bool
	unfenced   bool
	link       string // that a sealed one is given
	hostname   string
	whose      string // the pod, or the container, that was attached first
	started    time.Time
	keys       []api.Key // of its attachments

	namespace *netns.Namespace // nil: not found by the daemon after a restart
	// What was there when its container had not begun, and what a runtime added,
	// but nothing that root inside made of it later.
	uplinks   []netns.Uplink // of a daemon before, their ends on the host alone
	own       []netip.Addr   // that its packets may come from
	clsact    bool           // its guards are filters: the kernel has no tcx
	enforced  bool           // it is held, whoever serves it
	listeners *sandbox.Listeners
	steer     *bpf.Steer // nil: it has links
	trail     *enforcer.Trail
	served    *enforcer.Pool // which has it
}

// closeNamespace lets go of the namespace; of none, where it was never found.
func (s *session) closeNamespace() error {
	if s.namespace == nil {
		return nil
	}
	return s.namespace.Close()
}

// hostLinks lists the host's ends of its links.
func (s *session) hostLinks() (all []hostLink) {
	for _, u := range s.uplinks {
		if u.HostIndex != 0 {
			all = append(all, hostLink{u.HostIndex, u.Hardware})
		}
	}
	return all
}

// storeName is what the service manager keeps its listeners under.
func (s *session) storeName() string { return storeName(s.cookie) }

// storeName is short: a thousand sessions' go into one variable of the
// environment, which may have 128 KiB.
func storeName(cookie uint64) string { return strconv.FormatUint(cookie, 36) }

// entry is what the kernel half knows of the session.
func (s *session) entry(declared []netip.Prefix) bpf.Session {
	e := bpf.Session{
		Port:      sandbox.ListenerPort,
		Listener4: netip.AddrFrom4([4]byte{127, 0, 0, 1}), Listener6: netip.IPv6Loopback(),
		Synthetic4: dns.Prefix4, Synthetic6: dns.Prefix6,
		Declared: declared,
	}
	if s.sealed {
		e.Own4, e.Own6 = netns.OwnAddr4, netns.OwnAddr6
		return e
	}
	e.Pod, e.Unfenced, e.Own, e.StubPort = true, s.unfenced, s.own, netns.DNSPort
	return e
}

// config is what the pool is asked to serve.
func (s *session) config() enforcer.SessionConfig {
	c := enforcer.SessionConfig{
		ID: s.id, Policy: s.policy, Hostname: s.hostname, Listeners: s.listeners,
	}
	if s.sealed {
		c.Own4 = netns.OwnAddr4
		if s.namespace.HasIPv6() {
			c.Own6 = netns.OwnAddr6
		}
		return c
	}
	for _, a := range s.own {
		switch {
		case a.Is4() && !c.Own4.IsValid():
			c.Own4 = a
		case a.Is6() && !a.IsLinkLocalUnicast() && !c.Own6.IsValid():
			c.Own6 = a
		}
	}
	return c
}

// addresses is what a runtime that wants an address of a sealed container is
// told.
func (s *session) addresses() []netip.Prefix {
	all := []netip.Prefix{netip.PrefixFrom(netns.OwnAddr4, 32)}
	if s.namespace.HasIPv6() {
		all = append(all, netip.PrefixFrom(netns.OwnAddr6, 128))
	}
	return all
}

// lifeRecord is of a session's beginning or end.
func (s *session) lifeRecord(reason audit.Reason) audit.Record {
	return audit.Record{Kind: audit.KindSession, Name: s.whose, Verdict: audit.Allow, Reason: reason, Rule: s.policy}
}

// endTrail writes the last record, so that whoever reads the log can tell that
// nothing after it is missing. A session may have no log yet.
func (s *session) endTrail(b *book) error {
	if s.trail == nil {
		return nil
	}
	err := errors.Join(s.trail.Rest(), s.trail.Log.Write(s.lifeRecord(audit.ReasonSessionEnd)))
	b.close(s.id)
	return err
}
