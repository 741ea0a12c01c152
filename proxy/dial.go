// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"time"
)

// Deadlines of one dial.
const (
	resolveTimeout = 10 * time.Second
	dialTimeout    = 15 * time.Second // all candidates together
	// raceDelay is how long one candidate has before the next is tried beside
	// it (RFC 8305 section 5 recommends 250 ms).
	raceDelay = 250 * time.Millisecond
)

// maxCandidates bounds the addresses tried of one answer.
const maxCandidates = 8

var (
	// errResolve is wrapped when a name has no address.
	errResolve = errors.New("name has no address")
	// errUndeclared is a name that the rules declare nothing of.
	errUndeclared = errors.New("not declared by the policy")
)

// dialer dials policy's names, guarded.
type dialer struct {
	rules    Rules
	resolver Resolver
	own      func() ([]netip.Addr, error)
	via      *Via   // nil: names are dialled from here
	share    *Share // of descriptors, for candidates beside another
	logger   *slog.Logger
	told     *once
}

// once has something told the first time alone.
type once struct{ told sync.Map }

func (o *once) tell(what string, tell func()) {
	if _, before := o.told.LoadOrStore(what, true); !before {
		tell()
	}
}

// dialName is the DialContext of every upstream transport: address is
// NAME:PORT, the name canonical.
func (d *dialer) dialName(ctx context.Context, _, address string) (net.Conn, error) {
	host, port, err := splitAddress(address)
	if err != nil {
		return nil, err
	}
	target := d.rules.Target(host, port)
	if target.Connect == "" {
		return nil, fmt.Errorf("dial %s: %w", host, errUndeclared)
	}
	if d.via != nil && !target.Near {
		return d.dialVia(ctx, host, port)
	}
	g, err := d.guard(target.Networks)
	if err != nil {
		return nil, err
	}
	dialled, port, err := splitAddress(target.Connect)
	if err != nil {
		return nil, err
	}
	if addr, err := netip.ParseAddr(dialled); err == nil {
		return d.race(ctx, g, []netip.Addr{addr}, port)
	}
	addrs, err := d.resolve(ctx, dialled)
	if err != nil {
		return nil, err
	}
	if err := g.checkAll(addrs); err != nil {
		d.tellFake(dialled, err)
		return nil, fmt.Errorf("dial %s: %w", host, err)
	}
	return d.race(ctx, g, addrs, port)
}

// tellFake has the person read once that the resolver's answers are not real.
func (d *dialer) tellFake(name string, err error) {
	if errors.Is(err, errFakeAddress) {
		d.told.tell("fake addresses", func() {
			d.logger.Warn("the resolver answers with fake addresses, as some VPNs do; upstream: {networks: [198.18.0.0/15]} allows them", "name", name)
		})
	}
}

// dialAddress dials an address that a rule declares, which is its allowance.
func (d *dialer) dialAddress(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	addr := to.Addr().Unmap()
	g, err := d.guard([]netip.Prefix{netip.PrefixFrom(addr, addr.BitLen())})
	if err != nil {
		return nil, err
	}
	return d.race(ctx, g, []netip.Addr{addr}, to.Port())
}

func splitAddress(address string) (host string, port uint16, err error) {
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, fmt.Errorf("split address %q: %w", address, err)
	}
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return "", 0, fmt.Errorf("split address %q: %w", address, err)
	}
	return host, uint16(n), nil
}

func (d *dialer) guard(allowed []netip.Prefix) (*guard, error) {
	own, err := d.own()
	if err != nil {
		return nil, err
	}
	return &guard{allowed: allowed, own: own}, nil
}

func (d *dialer) resolve(ctx context.Context, host string) ([]netip.Addr, error) {
	ctx, cancel := context.WithTimeout(ctx, resolveTimeout)
	defer cancel()
	// The dot keeps the search list of the host's resolv.conf out.
	addrs, err := d.resolver.LookupNetIP(ctx, "ip", host+".")
	if err != nil {
		return nil, fmt.Errorf("resolve %s: %w: %w", host, errResolve, err)
	}
	if len(addrs) == 0 {
		return nil, fmt.Errorf("resolve %s: %w", host, errResolve)
	}
	return interleave(addrs), nil
}

// interleave alternates families, IPv6 first (RFC 8305 section 4), and bounds
// the list.
func interleave(addrs []netip.Addr) []netip.Addr {
	var six, four, mixed []netip.Addr
	for _, addr := range addrs {
		if addr = addr.Unmap(); addr.Is6() {
			six = append(six, addr)
		} else {
			four = append(four, addr)
		}
	}
	for i := range max(len(six), len(four)) {
		if i < len(six) {
			mixed = append(mixed, six[i])
		}
		if i < len(four) {
			mixed = append(mixed, four[i])
		}
	}
	return mixed
}

// attempt is the outcome of one candidate.
type attempt struct {
	conn net.Conn
	err  error
}

// race dials the candidates in turn, each beside the ones before that have not
// answered within raceDelay, and returns the first connection. Its room is for
// one: where there is no descriptor for another, that one waits for its turn.
func (d *dialer) race(ctx context.Context, g *guard, addrs []netip.Addr, port uint16) (net.Conn, error) {
	addrs = addrs[:min(len(addrs), maxCandidates)]
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	results := make(chan attempt, len(addrs))
	var errs []error
	open := 0
	for next := 0; ; {
		if next < len(addrs) && (open == 0 || d.share.take(1)) {
			go dialOne(ctx, g, netip.AddrPortFrom(addrs[next], port), results)
			next, open = next+1, open+1
		}
		a, ok := awaitAttempt(results, next < len(addrs))
		if !ok {
			continue // the next candidate's turn
		}
		open--
		if a.err == nil {
			go d.discard(results, open)
			return a.conn, nil
		}
		if open > 0 {
			d.share.give(1)
		}
		errs = append(errs, a.err)
		if open == 0 && next == len(addrs) {
			return nil, errors.Join(errs...)
		}
	}
}

// awaitAttempt waits for an outcome: for raceDelay when there is another
// candidate, else until there is one. dialOne ends with ctx.
func awaitAttempt(results <-chan attempt, more bool) (attempt, bool) {
	if !more {
		return <-results, true
	}
	timer := time.NewTimer(raceDelay)
	defer timer.Stop()
	select {
	case a := <-results:
		return a, true
	case <-timer.C:
		return attempt{}, false
	}
}

func dialOne(ctx context.Context, g *guard, to netip.AddrPort, results chan<- attempt) {
	nd := net.Dialer{Control: g.control, KeepAlive: upstreamProbe}
	nd.SetMultipathTCP(false)
	conn, err := nd.DialContext(ctx, "tcp", to.String())
	results <- attempt{conn, err}
}

// discard closes the connections of candidates that lost.
func (d *dialer) discard(results <-chan attempt, n int) {
	for range n {
		if a := <-results; a.conn != nil {
			a.conn.Close()
		}
		d.share.give(1)
	}
}
