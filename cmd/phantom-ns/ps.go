// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os/user"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/phantom-ns/phantom-ns/enforcer"
)

// listed is what ps shows of one session. The keys are what scripts read.
type listed struct {
	Kind string `json:"kind"` // "run", or "container": of the node's daemon
	User string `json:"user"`
	enforcer.Info

	Policy    string `json:"policy,omitempty"` // and these of a container
	Container string `json:"container,omitempty"`
	Interface string `json:"interface,omitempty"`
}

func (e *env) psCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "ps",
		Short: "List running sessions",
		Args:  wanted(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			all, err := e.running()
			if asJSON {
				return orJSON(e, all, err)
			}
			if err != nil {
				return err
			}
			return e.printSessions(all)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON array")
	return cmd
}

// running lists what runs on this machine, of a member's what is theirs.
func (e *env) running() ([]listed, error) {
	if e.uid != 0 {
		return e.membersOwn()
	}
	all, err := runs(enforcer.Everybody)
	if err != nil {
		return nil, err
	}
	attached, err := e.attachments()
	return append(all, attached...), err
}

// runs lists sessions that were begun by run.
func runs(uid int) ([]listed, error) {
	sessions, err := enforcer.Sessions(uid)
	all := []listed{}
	for _, s := range sessions {
		all = append(all, listed{Kind: "run", User: userName(s.UID), Info: s})
	}
	return all, err
}

func userName(uid int) string {
	if account, err := user.LookupId(strconv.Itoa(uid)); err == nil {
		return account.Username
	}
	return strconv.Itoa(uid)
}

func (e *env) printSessions(all []listed) error {
	if len(all) == 0 {
		return nil
	}
	w := tabwriter.NewWriter(e.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "SESSION\tCOMMAND\tUSER\tSTARTED\tPID\tALLOWED\tDENIED\tCREDENTIALS")
	for _, s := range all {
		if s.Kind == "container" {
			fmt.Fprintf(w, "%s\t%s\t-\t%s\t-\t-\t-\tpolicy %s\n", s.ID, plain(s.Command), s.Started.Local().Format(time.DateTime), s.Policy)
			continue
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%d\t%d\t%s\n", s.ID, plain(s.Command), s.User,
			s.Started.Local().Format(time.DateTime), s.PID, s.Allowed, s.Denied, strings.Join(s.Credentials, ","))
	}
	return w.Flush()
}

// plain is text of somebody else's that a terminal only shows.
func plain(text string) string {
	return strings.Map(func(r rune) rune {
		if r == '\t' || !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, text)
}
