// SPDX-License-Identifier: Apache-2.0

package enforcer

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/phantom-ns/phantom-ns/proxy/secret"
)

// A store with a passphrase is unlocked once for a session, by a helper that
// asks for it. What the session's other helpers need is then in memory that the
// supervisor has a descriptor of and never maps:
//
//	terminal ──▶ helper ── unsealed key ──▶ slot ──▶ helpers that open the store
//	                │ facts
//	                ▼
//	           supervisor

// unlockStore asks for the passphrase where the store has one and the session
// uses the store. It comes before anything that has a deadline.
func (s *Session) unlockStore(group *cgroup) error {
	if !s.usesStore() {
		return nil
	}
	// What else is wrong with the store, who reads from it says.
	if locked, err := secret.NewStore("").Locked(); err != nil || !locked {
		return nil
	}
	from, err := s.passphraseSource()
	if err != nil {
		return err
	}
	defer from.Close()
	slot, err := secret.NewKeySlot()
	if err != nil {
		return fmt.Errorf("unlock store: %w", err)
	}
	s.undo.push(slot.Close)
	if err := s.askPassphrase(group, slot, from); err != nil {
		return fmt.Errorf("unlock store: %w", err)
	}
	s.storeKey = slot
	return nil
}

// usesStore reports whether a helper of the session's may read the store.
func (s *supply) usesStore() bool {
	all := sources(s.config.Policy, s.config.With, s.config.Profile)
	return len(s.config.Login) > 0 || slices.ContainsFunc(all, func(from source) bool {
		ref, err := secret.ParseRef(from.from)
		return err == nil && ref.Kind() == secret.KindStore
	})
}

// passphraseSource is what the caller named, or the terminal.
func (s *Session) passphraseSource() (*os.File, error) {
	if s.config.Passphrase != nil {
		return s.config.Passphrase, nil
	}
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, fmt.Errorf("%w, and there is no terminal to ask for it", secret.ErrPassphrase)
	}
	return tty, nil
}

func (s *Session) askPassphrase(group *cgroup, slot, from *os.File) error {
	none, err := os.Open(os.DevNull) // in the place of the reply
	if err != nil {
		return err
	}
	var ends pipeEnds
	defer func() { ends.closeTheirs() }()
	request := ends.toChild()
	ends.theirs = append(ends.theirs, none)
	facts := ends.fromChild()
	if ends.err != nil {
		return ends.err
	}
	defer facts.Close()
	defer request.Close()
	cmd := s.stageCommand(secret.Stage, group, slices.Concat(ends.theirs, []*os.File{slot, from})...)
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start helper: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	err = secret.Request{Unlock: true}.Send(request)
	request.Close()
	ends.closeTheirs()
	if err == nil {
		_, err = secret.ReadFacts(facts)
	}
	return errors.Join(err, <-ended)
}

// lendKey gives a helper that opens the store the unlocked key, beside files.
func (s *supply) lendKey(ref secret.Ref, env *secret.Env, files []*os.File) []*os.File {
	const first = 3
	if s.storeKey == nil || ref.Kind() != secret.KindStore {
		return files
	}
	env.KeyFD = first + len(files)
	return append(slices.Clone(files), s.storeKey)
}
