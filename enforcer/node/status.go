// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/phantom-ns/phantom-ns/enforcer/node/api"
)

// Reload reads the policies again and fetches their credentials.
func (d *Daemon) Reload(ctx context.Context) error {
	d.tell(d.manager.Reloading())
	err := errors.Join(d.loadPolicies(ctx), d.redeclare())
	d.revive()
	if err != nil {
		err = fmt.Errorf("reload: %w", err)
		d.log.Error("reload", "error", err)
	}
	d.tell(d.manager.Ready(d.statusLine()))
	return err
}

// redeclare gives the kernel half what policies declare now. Proxy first: what
// the hooks redirect to it, it knows.
func (d *Daemon) redeclare() error {
	var errs []error
	for _, s := range d.table.all() {
		s.mu.Lock()
		if p := d.policies.get(s.policy); s.live && p != nil && p.rules != nil {
			errs = append(errs, d.programs.SetSession(s.cookie, s.entry(p.rules.Declared())))
		}
		d.table.leave(s)
	}
	return errors.Join(errs...)
}

// stored takes over that a credential of the store is another one now.
func (d *Daemon) stored(ctx context.Context, what api.Stored) error {
	pool, err := d.keeper.current()
	if err != nil {
		return err
	}
	if what.Removed {
		return pool.Removed([]string{what.Name})
	}
	err = pool.Stored([]string{what.Name})
	d.policies.stored(ctx, pool, what.Name)
	d.revive()
	return err
}

// list returns what is attached.
func (d *Daemon) list() []api.Attachment {
	all := []api.Attachment{}
	for _, what := range d.table.attached() {
		all = append(all, what.Attachment)
	}
	return all
}

// policyInfos returns the policies of the node.
func (d *Daemon) policyInfos() []api.PolicyInfo {
	count := map[string]int{}
	for _, what := range d.table.attached() {
		count[what.Attachment.Policy]++
	}
	all := []api.PolicyInfo{}
	for _, p := range d.policies.list() {
		info := api.PolicyInfo{Name: p.name, Attachments: count[p.name]}
		if p.err != nil {
			info.Error = p.err.Error()
		}
		all = append(all, info)
	}
	return all
}

func (d *Daemon) status() api.Status {
	s := api.Status{
		Version: d.config.Version, PID: os.Getpid(), Started: d.started,
		Attachments: len(d.table.attached()), Sessions: len(d.table.all()),
		Problems: d.problems.all(),
	}
	s.Pool.Restarts = d.keeper.count()
	if pool, err := d.keeper.current(); err == nil {
		s.Pool.PID = pool.PID()
	} else {
		s.Problems = append(s.Problems, err.Error())
	}
	for _, what := range d.table.attached() {
		if err := d.table.trouble(what.Cookie); err != nil {
			s.Problems = append(s.Problems, fmt.Sprintf("container %s is refused everything: %v", what.Attachment.Container, err))
		}
	}
	for _, p := range d.policyInfos() {
		s.Policies++
		if p.Error != "" {
			s.Unusable = append(s.Unusable, p.Name)
		}
	}
	return s
}

// statusLine is what the service manager shows.
func (d *Daemon) statusLine() string {
	s := d.status()
	return fmt.Sprintf("%d sessions, %d policies, %d of them unusable", s.Sessions, s.Policies, len(s.Unusable))
}
