// SPDX-License-Identifier: Apache-2.0

package enforcer

import "errors"

// AgentPath is the PATH that the agent gets of its caller's.
func AgentPath(caller map[string]string) string { return agentPath(caller["PATH"]) }

// SourceTrial is how the source of one credential answered.
type SourceTrial struct {
	Name string // of the credential
	From string // its reference
	Err  error  // nil: it gives one
}

// TrySources asks every source of the session that config describes, as its
// start would, and takes no value in. The error is of the surroundings.
func TrySources(config Config) (trials []SourceTrial, err error) {
	config.Command = []string{"doctor"} // what the state of this session says
	s := newSession(config)
	defer func() { err = errors.Join(err, s.Close()) }()
	if err := s.checkPolicy(); err != nil {
		return nil, err
	}
	group, err := s.claim()
	if err != nil {
		return nil, err
	}
	all, err := s.startHelpers(group, every)
	if err != nil {
		return nil, err
	}
	for _, f := range all {
		// Nobody takes the value: the helper ends at the closed pipe.
		f.value.Close()
		_, err := f.await()
		trials = append(trials, SourceTrial{f.name, f.from, err})
	}
	return trials, nil
}
