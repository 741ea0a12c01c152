// SPDX-License-Identifier: Apache-2.0

package node

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/phantom-ns/phantom-ns/enforcer"
	"github.com/phantom-ns/phantom-ns/enforcer/node/cdi"
	"github.com/phantom-ns/phantom-ns/proxy/policy"
)

// policies are those of the node, and which pool has them.
type policies struct {
	config *Config
	log    *slog.Logger

	loading sync.Mutex // one reading of the directory at a time

	mu   sync.Mutex
	byID map[string]*nodePolicy
}

// nodePolicy is one policy. What file says is in force in the pool in; err says
// why nobody new may use it.
type nodePolicy struct {
	name   string
	wanted *policy.File // as it was read last
	file   *policy.File
	facts  enforcer.PolicyFacts
	rules  *policy.Rules
	in     *enforcer.Pool
	err    error
}

func newPolicies(config *Config) *policies {
	return &policies{config: config, log: config.Logger, byID: map[string]*nodePolicy{}}
}

// get returns a copy of a policy; nil where there is none.
func (p *policies) get(name string) *nodePolicy {
	p.mu.Lock()
	defer p.mu.Unlock()
	if known := p.byID[name]; known != nil {
		copied := *known
		return &copied
	}
	return nil
}

// list returns copies of all, by name.
func (p *policies) list() []nodePolicy {
	p.mu.Lock()
	defer p.mu.Unlock()
	var all []nodePolicy
	for _, name := range slices.Sorted(maps.Keys(p.byID)) {
		all = append(all, *p.byID[name])
	}
	return all
}

// helpersAtATime bounds how many policies are loaded side by side: each starts
// a helper for each of its credentials.
const helpersAtATime = 8

// load reads the directory and brings the pool to what it says. A policy that
// is wrong serves nobody new and keeps no other from serving; the sessions it
// has keep what it said before.
func (p *policies) load(ctx context.Context, pool *enforcer.Pool) error {
	p.loading.Lock()
	defer p.loading.Unlock()
	files, err := readPolicies(p.config.Policies)
	if err != nil {
		return err
	}
	p.forgetOthers(files, pool)
	var wait sync.WaitGroup
	turns := make(chan struct{}, helpersAtATime)
	for _, f := range files {
		turns <- struct{}{}
		wait.Go(func() {
			p.apply(ctx, pool, f)
			<-turns
		})
	}
	wait.Wait()
	return p.writeCDI()
}

// apply brings the pool to one file.
func (p *policies) apply(ctx context.Context, pool *enforcer.Pool, f policyFile) {
	now := nodePolicy{name: f.name}
	if known := p.get(f.name); known != nil {
		now = *known
	}
	if now.err = f.err; now.err == nil {
		now.wanted = f.file
		now.err = now.give(ctx, p.config, pool, f.file)
	}
	if now.err != nil {
		now.err = errors.Join(now.err, now.recall(p.config))
		p.log.Error("policy serves nobody new", "policy", f.name, "error", now.err)
	}
	p.mu.Lock()
	p.byID[f.name] = &now
	p.mu.Unlock()
}

// recall takes up what was known of a policy that cannot be had: its containers
// still run, and mount what was written of it.
func (n *nodePolicy) recall(config *Config) (err error) {
	if n.facts.Spec == nil {
		n.facts, err = readFacts(config.facts(n.name))
	}
	return err
}

// give hands the policy to the pool, or what is new in it to a pool that has
// it. Facts are kept before anybody can see them: a container that was started
// with a placeholder is to find it good after a restart.
func (n *nodePolicy) give(ctx context.Context, config *Config, pool *enforcer.Pool, file *policy.File) error {
	path := config.facts(n.name)
	var facts enforcer.PolicyFacts
	var err error
	if n.in == pool {
		facts, err = pool.ReloadPolicy(ctx, n.name, file)
	} else {
		before, readErr := readFacts(path)
		if readErr != nil {
			return readErr
		}
		facts, err = pool.AddPolicy(ctx, n.name, file, before)
	}
	if err != nil {
		return err
	}
	n.in = pool // whatever follows, it has it
	rules, err := policy.Compile(facts.Spec)
	if err != nil {
		return err
	}
	if err := writeFacts(path, facts); err != nil {
		return err
	}
	n.file, n.facts, n.rules = file, facts, rules
	return nil
}

// restore gives a new pool what the one before had, without reading the
// directory: a pool that died is no reason to take over what is half written.
func (p *policies) restore(ctx context.Context, pool *enforcer.Pool) {
	p.again(ctx, pool, func(*nodePolicy) bool { return true })
}

// stored tries those again that could not be had and use the credential stored
// under name.
func (p *policies) stored(ctx context.Context, pool *enforcer.Pool, name string) {
	p.again(ctx, pool, func(n *nodePolicy) bool { return n.uses(name) })
}

func (p *policies) again(ctx context.Context, pool *enforcer.Pool, wanted func(*nodePolicy) bool) {
	p.loading.Lock()
	defer p.loading.Unlock()
	var wait sync.WaitGroup
	turns := make(chan struct{}, helpersAtATime)
	for _, n := range p.list() {
		file := cmp.Or(n.file, n.wanted)
		if file == nil || n.in == pool || !wanted(&n) {
			continue
		}
		turns <- struct{}{}
		wait.Go(func() {
			p.apply(ctx, pool, policyFile{name: n.name, file: file})
			if n.file != nil && n.err != nil {
				p.spoil(n.name, n.err) // what is written still cannot be taken
			}
			<-turns
		})
	}
	wait.Wait()
	if err := p.writeCDI(); err != nil {
		p.log.Error("what containers mount", "error", err)
	}
}

// forgetOthers removes the policies that have no file any more. One that
// sessions use stays as it is for them, and serves nobody new.
func (p *policies) forgetOthers(files []policyFile, pool *enforcer.Pool) {
	for _, n := range p.list() {
		if slices.ContainsFunc(files, func(f policyFile) bool { return f.name == n.name }) {
			continue
		}
		var err error
		if n.in == pool {
			err = pool.RemovePolicy(n.name)
		}
		p.mu.Lock()
		if err == nil {
			delete(p.byID, n.name)
		} else {
			n.err = fmt.Errorf("its file is gone: %w", err)
			p.byID[n.name] = &n
		}
		p.mu.Unlock()
	}
}

// writeCDI makes the devices say what the policies say that serve, or did.
func (p *policies) writeCDI() error {
	var all []cdi.Policy
	for _, n := range p.list() {
		if n.facts.Spec == nil {
			continue // it never served
		}
		c := cdi.Policy{Name: n.name, Env: enforcer.PlaceholderEnviron(n.facts.Spec, n.facts.Placeholders), CA: n.facts.CA}
		err := c.Check()
		if err == nil {
			all = append(all, c)
			continue
		}
		p.log.Error("policy serves nobody new", "policy", n.name, "error", err)
		p.spoil(n.name, err)
	}
	return p.config.CDI.Write(all)
}

// spoil lets nobody new use a policy.
func (p *policies) spoil(name string, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.byID[name].err = err
}

// maxFacts bounds what is read back.
const maxFacts = 4 << 20

func readFacts(path string) (enforcer.PolicyFacts, error) {
	var facts enforcer.PolicyFacts
	data, err := readOwn(path, maxFacts)
	if errors.Is(err, fs.ErrNotExist) {
		return facts, nil
	}
	if err == nil {
		err = json.Unmarshal(data, &facts)
	}
	if err != nil {
		return facts, fmt.Errorf("read %s: %w", path, err)
	}
	return facts, nil
}

func writeFacts(path string, facts enforcer.PolicyFacts) error {
	data, err := json.Marshal(facts)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if before, err := readOwn(path, maxFacts); err == nil && string(before) == string(data) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return writeDurably(path, data)
}

// uses tells whether the policy has a credential that is stored under the name.
func (n *nodePolicy) uses(name string) bool {
	return n.wanted != nil && slices.ContainsFunc(n.wanted.Credentials, func(d policy.Declared) bool {
		stored, ok := strings.CutPrefix(d.From, "store:")
		return ok && stored == name || d.From == "" && d.Name == name
	})
}
