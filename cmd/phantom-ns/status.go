// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/phantom-ns/phantom-ns/enforcer/node/api"
)

func (e *env) statusCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Tell how the node's daemon is, and its policies",
		Args:  wanted(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			if err := e.needRoot(); err != nil {
				return err
			}
			return e.nodeStatus(asJSON)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}

// wholeStatus is what status --json prints.
type wholeStatus struct {
	api.Status
	Policies []api.PolicyInfo `json:"policies"`
}

func (e *env) nodeStatus(asJSON bool) error {
	client := api.Dial(e.nodeSocket())
	defer client.Close()
	status, err := client.Status(e.ctx)
	if err != nil {
		return fmt.Errorf("status: %w", err)
	}
	policies, err := client.Policies(e.ctx)
	if err != nil {
		return fmt.Errorf("status: %w", err)
	}
	if asJSON {
		return json.NewEncoder(e.stdout).Encode(wholeStatus{status, policies})
	}
	return e.printStatus(status, policies)
}

func (e *env) printStatus(s api.Status, policies []api.PolicyInfo) error {
	w := tabwriter.NewWriter(e.stdout, 0, 0, 2, ' ', 0)
	proxy := "starting again"
	if s.Pool.PID != 0 {
		proxy = "pid " + strconv.Itoa(s.Pool.PID)
	}
	fmt.Fprintf(w, "daemon\tpid %d since %s, version %s\n", s.PID, s.Started.Local().Format(time.DateTime), s.Version)
	fmt.Fprintf(w, "proxy\t%s, restarted %d times\n", proxy, s.Pool.Restarts)
	fmt.Fprintf(w, "sessions\t%d, of %d attachments\n", s.Sessions, s.Attachments)
	for _, p := range policies {
		fmt.Fprintf(w, "policy %s\t", p.Name)
		if p.Error != "" {
			fmt.Fprintf(w, "serves nobody new: %s\n", p.Error)
			continue
		}
		fmt.Fprintf(w, "%d attachments\n", p.Attachments)
	}
	for _, p := range s.Problems {
		fmt.Fprintf(w, "problem\t%s\n", p)
	}
	return w.Flush()
}
