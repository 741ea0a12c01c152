// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"

	"github.com/cilium/ebpf"
)

// Session is what the kernel half knows of a session. Addresses and prefixes left zero are absent; a connection that
// would need an absent listener is refused.
type Session struct {
	Port                   uint16         // of both listeners
	Listener4, Listener6   netip.Addr     // 127.0.0.1 and ::1
	Own4, Own6             netip.Addr     // of lo, beside loopback; servers of the agent's own may use them
	Own                    []netip.Addr   // further ones: those of a pod's interfaces
	Synthetic4, Synthetic6 netip.Prefix   // what the DNS stub hands out
	Declared               []netip.Prefix // further destinations to redirect; an IPv6 prefix never means IPv4

	Pod      bool   // the namespace has interfaces: what answers an inbound flow may leave by them
	Unfenced bool   // no guard at the host's end of them notes inbound flows: what leaves is for nftables to judge
	StubPort uint16 // where a pod's queries to port 53 are sent; connections straight to it are refused; 0: none
}

// ErrSessionExists is returned when a network namespace has a session already, or, by the legacy object, when there is
// one at all.
var ErrSessionExists = errors.New("session exists")

// prefixLimit bounds one session's list, so that no session can fill the trie that all share (65536 entries).
const prefixLimit = 4096

// AddSession makes the kernel half know the session of the network namespace with this cookie (SO_NETNS_COOKIE, since
// 5.14). The legacy object ignores the cookie. Until it returns, and after an error, the namespace has no session. Calls
// for several cookies may overlap, as they wait for the kernel; those for one must not.
func (o *Object) AddSession(cookie uint64, session Session) error {
	key, err := o.key(cookie)
	if err != nil {
		return fmt.Errorf("add session: %w", err)
	}
	if o.legacy && session.Pod {
		return fmt.Errorf("add session: pods: %w", ErrNotSupported)
	}
	value, prefixes, err := o.encode(key, session)
	if err != nil {
		return fmt.Errorf("add session: %w", err)
	}
	if err := o.reserve(key, prefixes); err != nil {
		return fmt.Errorf("add session %d: %w", cookie, err)
	}
	if err := o.store(key, value, prefixes); err != nil {
		return errors.Join(fmt.Errorf("add session %d: %w", cookie, err), o.remove(key))
	}
	return nil
}

// SetSession gives a session that the kernel half knows other rules, in one step for each prefix and one for the rest:
// what both rules allow stays allowed, and there is no moment without a session. One that it does not know is added.
func (o *Object) SetSession(cookie uint64, session Session) error {
	err := o.AddSession(cookie, session)
	if !errors.Is(err, ErrSessionExists) {
		return err
	}
	key, err := o.key(cookie)
	if err != nil {
		return fmt.Errorf("set session: %w", err)
	}
	value, prefixes, err := o.encode(key, session)
	if err != nil {
		return fmt.Errorf("set session: %w", err)
	}
	if err := o.replace(key, value, prefixes); err != nil {
		return fmt.Errorf("set session %d: %w", cookie, err)
	}
	return nil
}

// replace stores what is new, then the session, then takes away what it has no longer.
func (o *Object) replace(key uint64, value *redirectSession, prefixes []redirectPrefix) error {
	o.mu.Lock()
	before := o.prefixes[key]
	o.prefixes[key] = slices.Concat(before, prefixes)
	o.mu.Unlock()
	if err := o.storeFlows(key, value); err != nil {
		return err
	}
	if err := o.activate(key, value, prefixes); err != nil {
		return err
	}
	var errs []error
	for _, prefix := range before {
		if !slices.Contains(prefixes, prefix) {
			errs = append(errs, forget(o.objects.Prefixes, &prefix))
		}
	}
	o.mu.Lock()
	o.prefixes[key] = prefixes
	o.mu.Unlock()
	return errors.Join(errs...)
}

// storeFlows gives a session that was no pod before its map of inbound flows.
func (o *Object) storeFlows(key uint64, value *redirectSession) error {
	var id uint32
	if err := o.objects.Inbounds.Lookup(key, &id); value.Pod == 0 || err == nil {
		return nil
	}
	return storeInner(o.objects.Inbounds, key, o.flows)
}

// reserve holds a key for a session that is about to be stored, which takes long and is done without the lock: the
// kernel answers a change to a map of maps after an RCU grace period.
func (o *Object) reserve(key uint64, prefixes []redirectPrefix) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if _, exists := o.prefixes[key]; exists {
		return ErrSessionExists
	}
	o.prefixes[key] = prefixes
	return nil
}

// storeNew is the store of a session nobody else can know of yet.
func (o *Object) storeNew(key uint64, value *redirectSession, prefixes []redirectPrefix) error {
	if err := o.reserve(key, prefixes); err != nil {
		return err
	}
	return o.store(key, value, prefixes)
}

// store writes everything a session needs and then, as the one step that activates it, the session.
func (o *Object) store(key uint64, value *redirectSession, prefixes []redirectPrefix) error {
	if err := o.objects.Ledgers.Put(key, &redirectLedger{}); err != nil {
		return fmt.Errorf("store ledger: %w", err)
	}
	if err := o.objects.Leftovers.Put(key, &redirectLeftovers{}); err != nil {
		return fmt.Errorf("store leftovers: %w", err)
	}
	if err := o.storeMaps(key, value); err != nil {
		return err
	}
	return o.activate(key, value, prefixes)
}

// storeMaps stores the session's own maps side by side: each has to wait for a grace period.
func (o *Object) storeMaps(key uint64, value *redirectSession) error {
	var errs [2]error
	var wg sync.WaitGroup
	if !o.takeFirst(key) {
		wg.Go(func() { errs[0] = o.storeHandshakes(o.objects.Inflight, key) })
	}
	if value.Pod != 0 {
		wg.Go(func() { errs[1] = storeInner(o.objects.Inbounds, key, o.flows) })
	}
	wg.Wait()
	if err := errors.Join(errs[:]...); err != nil {
		return fmt.Errorf("store maps: %w", err)
	}
	return nil
}

func (o *Object) activate(key uint64, value *redirectSession, prefixes []redirectPrefix) error {
	for _, prefix := range prefixes {
		if err := o.objects.Prefixes.Put(&prefix, uint32(1)); err != nil {
			return fmt.Errorf("store prefix: %w", err)
		}
	}
	if err := o.objects.Sessions.Put(key, value); err != nil {
		return fmt.Errorf("store session: %w", err)
	}
	return nil
}

// storeHandshakes gives the session an in-flight map of its own. The outer map holds a reference to it.
func (o *Object) storeHandshakes(inflight *ebpf.Map, key uint64) error {
	return storeInner(inflight, key, o.handshakes)
}

func storeInner(outer *ebpf.Map, key uint64, spec *ebpf.MapSpec) error {
	inner, err := ebpf.NewMap(spec.Copy())
	if err != nil {
		return err
	}
	defer inner.Close()
	return outer.Put(key, inner)
}

// RemoveSession forgets the session: its namespace is refused from now on, or, with [Options.Shared], a stranger's. It is
// not an error if there is none.
func (o *Object) RemoveSession(cookie uint64) error {
	key, err := o.key(cookie)
	if err != nil {
		return fmt.Errorf("remove session: %w", err)
	}
	if err := o.remove(key); err != nil {
		return fmt.Errorf("remove session %d: %w", cookie, err)
	}
	return nil
}

// remove undoes store in reverse, as far as it got. Ledger 0 stays: it counts for namespaces without a session.
func (o *Object) remove(key uint64) error {
	o.mu.Lock()
	prefixes := o.prefixes[key]
	delete(o.prefixes, key)
	o.mu.Unlock()
	errs := []error{forget(o.objects.Sessions, key)}
	for _, prefix := range prefixes {
		errs = append(errs, forget(o.objects.Prefixes, &prefix))
	}
	for _, m := range o.perSession() {
		if m != o.objects.Ledgers || key != strangers {
			errs = append(errs, forget(m, key))
		}
	}
	return errors.Join(errs...)
}

// perSession are the maps beside sessions that have an entry for each.
func (o *Object) perSession() []*ebpf.Map {
	return []*ebpf.Map{o.objects.Inflight, o.objects.Inbounds, o.objects.Leftovers, o.objects.Ledgers}
}

func forget(m *ebpf.Map, key any) error {
	if err := m.Delete(key); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return fmt.Errorf("delete from %s: %w", m, err)
	}
	return nil
}

// key is the cookie, or 0 in the legacy object, which cannot tell namespaces apart.
func (o *Object) key(cookie uint64) (uint64, error) {
	if o.legacy {
		return 0, nil
	}
	if cookie == strangers {
		return 0, errors.New("network namespace cookie is 0")
	}
	return cookie, nil
}

// encode holds that an object whose programs skip the rules of pods has none.
func (o *Object) encode(key uint64, session Session) (*redirectSession, []redirectPrefix, error) {
	if !o.shared && (session.Pod || len(session.Own) > 0) {
		return nil, nil, errors.New("a pod, or addresses beside those of lo, where programs are not shared")
	}
	return session.encode(key)
}

func (s *Session) encode(key uint64) (*redirectSession, []redirectPrefix, error) {
	if s.Unfenced && !s.Pod {
		return nil, nil, errors.New("unfenced without a pod")
	}
	if s.Port == 0 {
		return nil, nil, errors.New("listener port is 0")
	}
	if !s.Listener4.IsLoopback() && !s.Listener6.IsLoopback() {
		return nil, nil, errors.New("no listener on loopback")
	}
	value := &redirectSession{Port: s.Port, StubPort: s.StubPort, Pod: flag(s.Pod), Unfenced: flag(s.Unfenced)}
	for _, field := range []struct {
		name    string
		to      *redirectAddress
		address netip.Addr
		is4     bool
	}{
		{"listener4", &value.Listener4, s.Listener4, true}, {"listener6", &value.Listener6, s.Listener6, false},
		{"own4", nil, s.Own4, true}, {"own6", nil, s.Own6, false},
	} {
		if !field.address.IsValid() {
			continue
		}
		if field.address.Unmap().Is4() != field.is4 {
			return nil, nil, fmt.Errorf("%s: %s is of the other family", field.name, field.address)
		}
		if field.to != nil { // own addresses have a list
			*field.to = encodeAddress(field.address)
		}
	}
	if err := encodeOwn(value, append([]netip.Addr{s.Own4, s.Own6}, s.Own...)); err != nil {
		return nil, nil, err
	}
	prefixes, err := encodePrefixes(key, append([]netip.Prefix{s.Synthetic4, s.Synthetic6}, s.Declared...))
	return value, prefixes, err
}

func flag(set bool) uint8 {
	if set {
		return 1
	}
	return 0
}

// encodeOwn skips absent addresses and joins equal ones. The list in the kernel ends at the first that is zero.
func encodeOwn(value *redirectSession, addresses []netip.Addr) error {
	var own []netip.Addr
	for _, address := range addresses {
		address = address.Unmap().WithZone("")
		if !address.IsValid() || slices.Contains(own, address) {
			continue
		}
		if address.IsUnspecified() {
			return fmt.Errorf("own address %s is none", address)
		}
		own = append(own, address)
	}
	if len(own) > len(value.Own) {
		return fmt.Errorf("%d own addresses: more than %d", len(own), len(value.Own))
	}
	for i, address := range own {
		value.Own[i] = encodeAddress(address)
	}
	return nil
}

// encodePrefixes skips absent prefixes and joins equal ones.
func encodePrefixes(key uint64, prefixes []netip.Prefix) ([]redirectPrefix, error) {
	encoded := map[netip.Prefix]redirectPrefix{}
	for _, prefix := range prefixes {
		if prefix == (netip.Prefix{}) {
			continue
		}
		masked := prefix.Masked()
		if !masked.IsValid() || masked.Addr().Is4In6() {
			return nil, fmt.Errorf("prefix %s: not a plain IPv4 or IPv6 prefix", prefix)
		}
		encoded[masked] = encodePrefix(key, masked)
	}
	if len(encoded) > prefixLimit {
		return nil, fmt.Errorf("%d prefixes: more than %d", len(encoded), prefixLimit)
	}
	return slices.Collect(maps.Values(encoded)), nil
}

// fixedBits is the part of a trie key before the address: family and cookie (PREFIX_FIXED_BITS of session.h).
const fixedBits = 32 + 64

func encodePrefix(key uint64, prefix netip.Prefix) redirectPrefix {
	family, bits := uint32(afInet6), prefix.Bits()
	if prefix.Addr().Is4() {
		family, bits = afInet, bits+96
	}
	return redirectPrefix{
		Length:  uint32(fixedBits + bits),
		Family:  family,
		Netns:   key,
		Address: encodeAddress(prefix.Addr()),
	}
}

// encodeAddress holds IPv4 as v4-mapped, in network order.
func encodeAddress(address netip.Addr) (encoded redirectAddress) {
	bytes := address.As16()
	for i := range encoded.Word {
		encoded.Word[i] = binary.NativeEndian.Uint32(bytes[4*i:])
	}
	return encoded
}

func decodeAddress(encoded redirectAddress) netip.Addr {
	var bytes [16]byte
	for i, word := range encoded.Word {
		binary.NativeEndian.PutUint32(bytes[4*i:], word)
	}
	return netip.AddrFrom16(bytes).Unmap()
}
