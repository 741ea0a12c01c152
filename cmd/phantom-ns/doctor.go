// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/phantom-ns/phantom-ns/enforcer"
	"github.com/phantom-ns/phantom-ns/enforcer/doctor"
)

// exitFailed is doctor's status when a check failed: the doctor itself did not.
const exitFailed = 1

func (e *env) doctorCommand() *cobra.Command {
	var f runFlags
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Check that sessions work on this machine, and which programs in them",
		Args:  wanted(cobra.NoArgs),
		RunE:  func(*cobra.Command, []string) error { return e.doctor(f, asJSON) },
	}
	cmd.Flags().StringVar(&f.user, "user", "", "check sessions of `USER` instead of the one who called sudo")
	cmd.Flags().StringVar(&f.policy, "policy", "", "check the policy in `FILE` instead of "+defaultPolicy)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON array")
	return cmd
}

func (e *env) doctor(f runFlags, asJSON bool) error {
	if err := e.needRoot(); err != nil {
		return err
	}
	config := doctor.Config{Policy: func(c *enforcer.Config) error { return e.readPolicy(f, c) }}
	var err error
	if config.Session, err = e.userConfig(f.user); err != nil {
		return err
	}
	findings := []doctor.Finding{}
	failed := doctor.Run(e.ctx, config, func(found doctor.Finding) {
		if hint := hintFor(found.Err); hint != "" {
			found.Remedy = hint
		}
		findings = append(findings, found)
		if !asJSON {
			e.printFinding(found)
		}
	})
	if failed > 0 {
		e.status = exitFailed
	}
	if asJSON {
		return orJSON(e, findings, nil)
	}
	e.printVerdict(findings)
	return nil
}

// printFinding prints one line as soon as it is known: the checks take seconds.
func (e *env) printFinding(f doctor.Finding) {
	fmt.Fprintf(e.stdout, "%-5s %-8s %s\n", f.Status, f.Check, f.Detail)
	if f.Remedy != "" {
		fmt.Fprintf(e.stdout, "%-5s %-8s do: %s\n", "", "", f.Remedy)
	}
}

func (e *env) printVerdict(findings []doctor.Finding) {
	count := make(map[doctor.Status]int)
	for _, f := range findings {
		count[f.Status]++
	}
	fmt.Fprintf(e.stdout, "%d ok, %d warnings, %d failed\n", count[doctor.OK], count[doctor.Warn], count[doctor.Fail])
}
