// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/phantom-ns/phantom-ns/enforcer/node/cdi"
)

func (e *env) cdiCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cdi",
		Short: "Give trust and placeholders to containers",
		Args:  wanted(cobra.NoArgs),
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(e.cdiFlagsCommand())
	return cmd
}

func (e *env) cdiFlagsCommand() *cobra.Command {
	var layout cdi.Layout
	var runtime string
	cmd := &cobra.Command{
		Use:   "flags POLICY",
		Short: "Print what --device phantom-ns.dev/policy=POLICY does as flags, for a runtime without CDI",
		Args:  wanted(cobra.ExactArgs(1)),
		RunE: func(_ *cobra.Command, args []string) error {
			flags, err := layout.Flags(runtime, args[0])
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(e.stdout, strings.Join(flags, " "))
			return err
		},
	}
	cmd.Flags().StringVar(&runtime, "runtime", "docker", "whose flags: `RUNTIME` is "+strings.Join(cdi.Runtimes(), ", "))
	cmd.Flags().StringVar(&layout.Shared, "shared", "", "the daemon keeps what containers mount in `FOLDER` (default "+cdi.SharedDir+")")
	return cmd
}
