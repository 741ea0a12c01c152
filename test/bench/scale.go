// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	sessions = 1000
	ends     = 20 // sessions at each end that a median is made of
)

// scale fills a node with sealed namespaces.
//
// What others do on the machine in these seconds is in the figures of the
// kernel's memory: they are the whole machine's.
func (b *bench) scale() (err error) {
	stranger, err := newNamespace()
	if err != nil {
		return err
	}
	defer stranger.close()
	if err := stranger.lo(); err != nil {
		return err
	}
	s := &scale{bench: b, stranger: stranger}
	if s.bare, err = best(stranger.ownServer); err != nil {
		return err
	}
	if s.daemon, err = b.startDaemon(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.daemon.close()) }()
	defer s.leave()
	for _, step := range []func(context.Context) error{s.makeNamespaces, s.fill, s.weigh, s.connect, s.empty, s.compare} {
		if err := step(context.Background()); err != nil {
			return err
		}
	}
	return nil
}

type scale struct {
	*bench
	*daemon
	stranger   *namespace
	namespaces []*namespace
	before     footprint
	bare       time.Duration // connect() on a machine without hooks
	outward    time.Duration // connect() to the proxy from the last session of all
	own        time.Duration // connect() to a server of that session's own
	others     time.Duration // connect() of a stranger then
}

func (s *scale) leave() {
	for _, ns := range s.namespaces {
		ns.close()
	}
}

// makeNamespaces makes all of them before the first is attached: what the kernel
// takes for an empty namespace is not ours.
func (s *scale) makeNamespaces(context.Context) error {
	before, err := kernelMemory()
	if err != nil {
		return err
	}
	for range sessions {
		ns, err := newNamespace()
		if err != nil {
			return err
		}
		s.namespaces = append(s.namespaces, ns)
	}
	after, err := kernelMemory()
	fmt.Printf("empty namespace         %5d KiB    the kernel's, before it is anybody's\n", (after-before)/sessions)
	return err
}

// fill attaches every namespace, one after the other.
func (s *scale) fill(ctx context.Context) (err error) {
	var times []time.Duration
	for i, ns := range s.namespaces {
		took, err := s.attach(ctx, i, ns)
		if err != nil {
			return fmt.Errorf("session %d: %w", i+1, err)
		}
		times = append(times, took)
		if i == 0 {
			if s.before, err = s.footprint(ctx); err != nil {
				return err
			}
		}
	}
	first, last := middle(times[:ends]), middle(times[sessions-ends:])
	fmt.Printf("attach, sealed          %8s   session %d: %s, %.2f x\n", ms(first), sessions, ms(last), ratio(last, first))
	return nil
}

// weigh prints what each of the sessions takes that are not the first.
func (s *scale) weigh(ctx context.Context) error {
	now, err := s.footprint(ctx)
	if err != nil {
		return err
	}
	f := now.less(s.before)
	const n = sessions - 1
	fmt.Printf("idle session, a node    %5d KiB    daemon %d, proxy %d (PSS); descriptors %d and %d\n",
		(f.daemon+f.pool)/n, f.daemon/n, f.pool/n, f.daemonFiles/n, f.poolFiles/n)
	fmt.Printf("  in the kernel         %5d KiB    programs and maps %d KiB of it\n", f.kernel/n, f.bpf/n)
	return nil
}

// connect measures while the node is full.
func (s *scale) connect(context.Context) (err error) {
	last := s.namespaces[sessions-1]
	if s.outward, err = best(last.outward); err != nil {
		return err
	}
	if s.own, err = best(last.ownServer); err != nil {
		return err
	}
	s.others, err = best(s.stranger.ownServer)
	return err
}

// empty detaches all but the first, and prints what did not come back.
func (s *scale) empty(ctx context.Context) error {
	began := time.Now()
	var times []time.Duration
	for i := sessions - 1; i > 0; i-- {
		took, err := s.detach(ctx, i)
		if err != nil {
			return fmt.Errorf("session %d: %w", i+1, err)
		}
		times = append(times, took)
	}
	all := time.Since(began)
	now, err := s.footprint(ctx)
	if err != nil {
		return err
	}
	f := now.less(s.before)
	fmt.Printf("detach                  %8s   all: %.1f s; left behind: descriptors %d and %d, PSS %.1f MiB (Go's heap)\n",
		ms(middle(times)), all.Seconds(), f.daemonFiles, f.poolFiles, float64(f.daemon+f.pool)/1024)
	return nil
}

// compare sets the full node beside the same with one session, and beside a
// machine without hooks.
func (s *scale) compare(ctx context.Context) error {
	outward, err := best(s.namespaces[0].outward)
	if err != nil {
		return err
	}
	own, err := best(s.namespaces[0].ownServer)
	if err != nil {
		return err
	}
	fmt.Printf("connect(), to the proxy %8s   session %d: %s, %.2f x\n", us(outward), sessions, us(s.outward), ratio(s.outward, outward))
	fmt.Printf("connect(), own server   %8s   session %d: %s, %.2f x   without hooks: %s, %.2f x\n",
		us(own), sessions, us(s.own), ratio(s.own, own), us(s.bare), ratio(s.own, s.bare))
	fmt.Printf("connect(), a stranger   %8s   %.2f of a machine without hooks\n", us(s.others), ratio(s.others, s.bare))
	_, err = s.detach(ctx, 0)
	return err
}

// best is the least of some medians: what else the machine does only adds.
func best(measure func() (time.Duration, error)) (least time.Duration, err error) {
	for i := range 5 {
		t, err := measure()
		if err != nil {
			return 0, err
		}
		if i == 0 || t < least {
			least = t
		}
	}
	return least, nil
}

func us(d time.Duration) string { return fmt.Sprintf("%.1f us", float64(d)/float64(time.Microsecond)) }
