// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/phantom-ns/phantom-ns/enforcer"
)

func (e *env) gcCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "gc",
		Short: "Remove what a crash left of dead sessions",
		Args:  wanted(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			if err := e.needRoot(); err != nil {
				return err
			}
			swept, err := enforcer.Sweep()
			if asJSON {
				return orJSON(e, swept, err)
			}
			for _, s := range swept {
				fmt.Fprintf(e.stdout, "%s %s\n", s.ID, s.Command)
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON array")
	return cmd
}

// orJSON prints a list as one array, [] when it is empty, and hands err on.
func orJSON[T any](e *env, list []T, err error) error {
	if list == nil {
		list = []T{}
	}
	if printed := json.NewEncoder(e.stdout).Encode(list); err == nil {
		err = printed
	}
	return err
}

func (e *env) versionCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  wanted(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			if asJSON {
				return json.NewEncoder(e.stdout).Encode(struct {
					Version string `json:"version"`
				}{version})
			}
			_, err := fmt.Fprintln(e.stdout, "phantom-ns", version)
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}
