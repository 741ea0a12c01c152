// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"fmt"

	"github.com/cilium/ebpf"
)

// prepareFirst makes the in-flight map and stores the first session's own map in it while the programs are verified.
// The kernel answers a change to a map of maps only after an RCU grace period (10 to 20 ms, measured), which is as long
// as verification takes. The map replaces the one that the collection would make; done says when it is ready.
func (o *Object) prepareFirst(spec *ebpf.CollectionSpec, cookie uint64) (inflight *ebpf.Map, done <-chan error, err error) {
	key, err := o.key(cookie)
	if err != nil {
		return nil, nil, err
	}
	inflight, err = ebpf.NewMap(spec.Maps[redirectMapInflight])
	if err != nil {
		return nil, nil, fmt.Errorf("make in-flight map: %w", err)
	}
	stored := make(chan error, 1)
	go func() { stored <- o.storeHandshakes(inflight, key) }()
	o.first = &key
	return inflight, stored, nil
}

// loadWithFirst is the load of an object whose first session is known.
func (o *Object) loadWithFirst(spec *ebpf.CollectionSpec, cookie uint64) error {
	inflight, done, err := o.prepareFirst(spec, cookie)
	if err != nil {
		return err
	}
	defer inflight.Close() // the collection holds its own reference
	err = spec.LoadAndAssign(&o.objects, &ebpf.CollectionOptions{
		MapReplacements: map[string]*ebpf.Map{redirectMapInflight: inflight},
	})
	if stored := <-done; stored != nil && err == nil {
		o.objects.Close()
		return fmt.Errorf("store handshakes: %w", stored)
	}
	return err
}

// takeFirst tells whether key's handshakes are stored already. They are a session's once: after RemoveSession a new one
// stores its own.
func (o *Object) takeFirst(key uint64) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	taken := o.first != nil && *o.first == key
	if taken {
		o.first = nil
	}
	return taken
}
