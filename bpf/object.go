// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// strangers is the ledger of namespaces that are no session; no namespace has cookie 0.
const strangers = uint64(0)

const (
	afInet  = unix.AF_INET
	afInet6 = unix.AF_INET6
)

// Options of [Load]. The zero value suits one session.
type Options struct {
	Legacy   bool   // load the legacy object though the kernel has more; for tests
	Shared   bool   // the cgroup holds more than sessions: unknown namespaces pass instead of being refused
	Sessions uint32 // how many sessions there may be at a time; 0 means 1024
	First    uint64 // cookie of a session about to be added, which is prepared during the load; 0: none
}

// Object owns the loaded programs, their maps and, once attached, their links. It is safe for concurrent use.
type Object struct {
	legacy     bool
	shared     bool // among other sessions and strangers
	objects    redirectObjects
	handshakes *ebpf.MapSpec // of one session's in-flight map
	flows      *ebpf.MapSpec // of one pod's inbound flows

	mu       sync.Mutex
	prefixes map[uint64][]redirectPrefix // what to delete with a session
	first    *uint64                     // key of the session whose handshakes were stored by Load; nil: none

	// A link that is garbage-collected closes, and its hook is gone without a word. These are the only references.
	links []link.Link

	node  *node // what outlives the process; nil: nothing
	fence fenceObjects
}

// Load puts programs and maps into the kernel; nothing is attached yet. Where the kernel lacks what the full object
// needs (6.1) it loads the legacy one (5.10). Below that the error names the missing feature and the version that
// brought it, and is [ErrNotSupported].
func Load(options Options) (*Object, error) {
	o, err := loadObject(options, options.Legacy)
	if err == nil {
		return o, nil
	}
	// What is missing is asked only now: the questions take as long as the load.
	missing := check(fullFeatures)
	if errors.Is(missing, ErrNotSupported) && !options.Legacy {
		o, err = loadObject(options, true)
	}
	if err != nil {
		err = cmp.Or(check(floorFeatures), err)
		return nil, fmt.Errorf("load redirect: %w", err)
	}
	return o, nil
}

func loadObject(options Options, legacy bool) (*Object, error) {
	o := &Object{legacy: legacy, prefixes: map[uint64][]redirectPrefix{}}
	return o, o.load(options)
}

func (o *Object) load(options Options) error {
	spec, err := o.spec(options)
	if err != nil {
		return err
	}
	if err := raiseMemlock(); err != nil {
		return err
	}
	if options.First != 0 {
		err = o.loadWithFirst(spec, options.First)
	} else {
		err = spec.LoadAndAssign(&o.objects, nil)
	}
	if err != nil {
		return err
	}
	if err := o.objects.Ledgers.Put(strangers, &redirectLedger{}); err != nil {
		return errors.Join(fmt.Errorf("store ledger: %w", err), o.objects.Close())
	}
	return nil
}

// spec is the pure part: which object, how large, and what is constant in it.
func (o *Object) spec(options Options) (*ebpf.CollectionSpec, error) {
	load := loadRedirect
	if o.legacy {
		load = loadLegacy
	}
	spec, err := load()
	if err != nil {
		return nil, err
	}
	if err := spec.Variables[redirectVarShared].Set(options.Shared); err != nil {
		return nil, fmt.Errorf("set shared: %w", err)
	}
	o.shared = options.Shared
	sizeMaps(spec, options.Sessions)
	o.handshakes = spec.Maps[redirectMapInflight].InnerMap
	o.flows = spec.Maps[redirectMapInbounds].InnerMap
	return spec, nil
}

// sizeMaps gives the maps of either object room for that many sessions; 0 leaves them as they are.
func sizeMaps(spec *ebpf.CollectionSpec, sessions uint32) {
	if sessions == 0 {
		return
	}
	for name, m := range spec.Maps {
		switch name {
		case redirectMapSessions, redirectMapInflight, redirectMapLeftovers, redirectMapInbounds:
			m.MaxEntries = sessions
		case redirectMapLedgers:
			m.MaxEntries = sessions + 1
		}
	}
}

// Legacy says whether the legacy object is loaded: one session, and EPERM for every refusal.
func (o *Object) Legacy() bool { return o.legacy }

// hooks lists programs in the order of attachment. What carries an origin comes before what makes one.
func (o *Object) hooks() []hook {
	p := &o.objects.redirectPrograms
	return []hook{
		{redirectProgEgress, p.Egress, ebpf.AttachCGroupInetEgress},
		{redirectProgSockCreate, p.SockCreate, ebpf.AttachCGroupInetSockCreate},
		{redirectProgSendmsg4, p.Sendmsg4, ebpf.AttachCGroupUDP4Sendmsg},
		{redirectProgSendmsg6, p.Sendmsg6, ebpf.AttachCGroupUDP6Sendmsg},
		{redirectProgGetsockopt, p.Getsockopt, ebpf.AttachCGroupGetsockopt},
		{redirectProgGetpeername4, p.Getpeername4, ebpf.AttachCgroupInet4GetPeername},
		{redirectProgGetpeername6, p.Getpeername6, ebpf.AttachCgroupInet6GetPeername},
		{redirectProgHandshake, p.Handshake, ebpf.AttachCGroupSockOps},
		{redirectProgConnect4, p.Connect4, ebpf.AttachCGroupInet4Connect},
		{redirectProgConnect6, p.Connect6, ebpf.AttachCGroupInet6Connect},
	}
}

type hook struct {
	name    string
	program *ebpf.Program
	attach  ebpf.AttachType
}

// Attach hangs all programs at a cgroup (v2) and so at its subtree, before the first process is in it: a socket made
// earlier is not seen. On error nothing stays attached there. It may be called for several cgroups.
func (o *Object) Attach(cgroupDir *os.File) error {
	var links []link.Link
	for _, hook := range o.hooks() {
		l, err := attachHook(hook, cgroupDir)
		if err != nil {
			return errors.Join(err, closeLinks(links))
		}
		links = append(links, l)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.links = append(o.links, links...)
	return nil
}

func attachHook(hook hook, cgroupDir *os.File) (link.Link, error) {
	l, err := link.AttachRawLink(link.RawLinkOptions{
		Target:  int(cgroupDir.Fd()),
		Program: hook.program,
		Attach:  hook.attach,
	})
	if err != nil {
		return nil, fmt.Errorf("attach %s: cgroup %s: %w", hook.attach, cgroupDir.Name(), err)
	}
	return l, nil
}

// Detach takes all programs off all cgroups. Connections that are under way then, up to the moment their origin has been
// asked for, lose it.
func (o *Object) Detach() error {
	o.mu.Lock()
	var errs []error
	for _, l := range o.links {
		if raw, ok := l.(interface{ IsPinned() bool }); ok && raw.IsPinned() {
			errs = append(errs, l.Unpin())
		}
	}
	o.mu.Unlock()
	return errors.Join(append(errs, o.closeLinks())...)
}

func (o *Object) closeLinks() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	err := closeLinks(o.links)
	o.links = nil
	return err
}

// closeLinks goes backwards, so that connections stop being rewritten before their origins stop being carried.
func closeLinks(links []link.Link) error {
	var errs []error
	for i := len(links) - 1; i >= 0; i-- {
		errs = append(errs, links[i].Close())
	}
	return errors.Join(errs...)
}

// Counts says how often each reason occurred.
type Counts map[Reason]uint64

// Counts returns the counts of a session. Cookie 0 asks for what happened in namespaces that are no session.
func (o *Object) Counts(cookie uint64) (Counts, error) {
	key := cookie
	if o.legacy {
		key = 0
	}
	var ledger redirectLedger
	if err := o.objects.Ledgers.LookupWithFlags(key, &ledger, ebpf.LookupLock); err != nil {
		return nil, fmt.Errorf("read counts of session %d: %w", cookie, err)
	}
	counts := Counts{}
	for reason, count := range ledger.Counts {
		counts[Reason(reason)] = count
	}
	return counts, nil
}

// Close detaches and unloads everything, but for what a node has pinned. The Object is of no further use.
func (o *Object) Close() error {
	err := errors.Join(o.closeLinks(), o.objects.Close())
	if o.node != nil {
		err = errors.Join(err, o.fence.Close(), o.node.unlock())
	}
	return err
}
