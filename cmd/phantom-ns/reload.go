// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/phantom-ns/phantom-ns/enforcer"
)

func (e *env) reloadCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "reload [SESSION]...",
		Short: "Let running sessions read their policy and credentials again",
		Args:  wanted(cobra.ArbitraryArgs),
		RunE: func(_ *cobra.Command, ids []string) error {
			if err := e.needRoot(); err != nil {
				return err
			}
			asked, err := enforcer.ReloadSessions(ids)
			if err != nil {
				return err
			}
			if len(ids) == 0 {
				asked = append(asked, e.reloadNode()...)
			}
			return e.tellRenewals(asked, asJSON)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON array")
	return cmd
}

var errNotAll = errors.New("not every session was reloaded")

func (e *env) tellRenewals(asked []enforcer.Renewal, asJSON bool) error {
	var err error
	for _, r := range asked {
		if r.Error != "" {
			err = errNotAll
		}
	}
	if asJSON {
		return orJSON(e, asked, err)
	}
	for _, r := range asked {
		if r.Error != "" {
			e.say("session %s (%s): %s", r.Session, r.Command, r.Error)
			continue
		}
		fmt.Fprintf(e.stdout, "%s %s\n", r.Session, r.Command)
	}
	return err
}

// tellSessions tells running sessions about the stored credential name. They
// are told one by one what it came to; the store has changed already.
func (e *env) tellSessions(name string, removed bool) {
	asked, err := enforcer.TellStored(name, removed)
	if err != nil {
		e.say("running sessions were not told: %v", err)
		return
	}
	e.tellNode(name, removed)
	done := 0
	for _, r := range asked {
		if r.Error != "" {
			e.say("session %s (%s): %s", r.Session, r.Command, r.Error)
			continue
		}
		done++
	}
	switch {
	case done == 0:
	case removed:
		e.say("running sessions that use it no more: %d", done)
	default:
		e.say("running sessions that use it now: %d", done)
	}
}

// hasTerminal reports whether the process has a controlling terminal that is
// still there.
func hasTerminal() bool {
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return false
	}
	tty.Close()
	return true
}
