// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/phantom-ns/phantom-ns/enforcer"
	"github.com/phantom-ns/phantom-ns/proxy/audit"
)

func (e *env) auditCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "Check the audit log",
		Args:  wanted(cobra.NoArgs),
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(e.auditVerifyCommand())
	return cmd
}

func (e *env) auditVerifyCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "verify [FILE]...",
		Short: "Check that no record was changed, removed, inserted or moved",
		Example: "  sudo phantom-ns audit verify\n" +
			"  sudo phantom-ns audit verify /var/log/phantom-ns/audit.jsonl.1 /var/log/phantom-ns/audit.jsonl",
		RunE: func(_ *cobra.Command, files []string) error {
			if len(files) == 0 {
				files = []string{enforcer.AuditPath}
			}
			return verifyLog(files)
		},
	}
}

// verifyLog reads the parts of one log, in order of time.
func verifyLog(files []string) error {
	var parts []io.Reader
	for _, name := range files {
		file, err := os.Open(name)
		if err != nil {
			return fmt.Errorf("verify audit log: %w", err)
		}
		defer file.Close()
		parts = append(parts, file)
	}
	return audit.Verify(io.MultiReader(parts...))
}
