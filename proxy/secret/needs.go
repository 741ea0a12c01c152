// SPDX-License-Identifier: Apache-2.0

package secret

// Needs is what the work on a request takes besides memory, pipes and the clock.
type Needs struct {
	Store    string // its folder
	Write    bool   // in it
	Files    bool   // any file is read, also one of the invoking user's
	Bus      bool   // a unix socket
	Keyring  bool
	Terminal bool // that it was given
	Program  bool // another program is run, and nobody here knows what that needs
}

func (q Request) needs() Needs {
	switch {
	case q.Unlock:
		return Needs{Store: NewStore(q.Env.Directory).directory, Terminal: true}
	case q.Terms != nil:
		return Needs{Store: NewStore(q.Env.Directory).directory, Write: true}
	}
	switch q.Ref.kind {
	case KindStore:
		return Needs{Store: NewStore(q.Env.Directory).directory}
	case KindFile:
		return Needs{Files: true}
	case KindSecretService:
		return Needs{Bus: true}
	case KindKeyring:
		return Needs{Keyring: true}
	case KindExec, KindSystemd:
		return Needs{Program: true}
	}
	return Needs{}
}
