// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/phantom-ns/phantom-ns/enforcer"
	"github.com/phantom-ns/phantom-ns/enforcer/node/members"
)

var (
	errNoCommand  = errors.New("no command")
	errBadTimeout = errors.New("--timeout is from 0s to 1h")
)

// stopTimeout is how long an agent has to end by itself, as a service has of
// most init systems.
const stopTimeout = 10 * time.Second

func (e *env) stopCommand() *cobra.Command {
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:               "stop SESSION...",
		Short:             "End running sessions",
		Args:              wanted(cobra.MinimumNArgs(1)),
		ValidArgsFunction: completeSession,
		RunE:              func(_ *cobra.Command, ids []string) error { return e.stop(ids, timeout) },
	}
	cmd.Flags().DurationVar(&timeout, "timeout", stopTimeout, "kill what has not ended after `TIME`")
	return cmd
}

// stop ends all at once. None, where one of the names is wrong.
func (e *env) stop(names []string, timeout time.Duration) error {
	if timeout < 0 || timeout > members.MaxTimeout {
		return usageError{errBadTimeout}
	}
	if e.uid != 0 {
		return e.askDaemon("stop", members.Request{Do: members.DoStop, Sessions: names, Timeout: timeout})
	}
	var ids []string
	for _, name := range names {
		id, err := enforcer.FindSession(name, enforcer.Everybody)
		if errors.Is(err, enforcer.ErrNoSession) {
			stopped, failed := e.stopContainer(name)
			if failed != nil {
				return fmt.Errorf("stop: %w", failed)
			}
			if stopped {
				continue
			}
		}
		if err != nil {
			return fmt.Errorf("stop: %w", err)
		}
		ids = append(ids, id)
	}
	return stopAll(ids, timeout)
}

func stopAll(ids []string, timeout time.Duration) error {
	stopped := make(chan error)
	for _, id := range ids {
		go func() { stopped <- enforcer.StopSession(id, timeout) }()
	}
	var errs []error
	for range ids {
		errs = append(errs, <-stopped)
	}
	return errors.Join(errs...)
}
