// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/phantom-ns/phantom-ns/enforcer"
	"github.com/phantom-ns/phantom-ns/enforcer/console"
	"github.com/phantom-ns/phantom-ns/enforcer/node/members"
)

func (e *env) execCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "exec SESSION [--] COMMAND [ARGUMENT]...",
		Short: "Run COMMAND in a running session, beside its agent",
		Example: "  sudo phantom-ns exec 7f3a -- ps aux\n" +
			"  sudo phantom-ns exec 7f3a bash",
		Args:                  wanted(cobra.MinimumNArgs(2)),
		DisableFlagsInUseLine: true, // they would be the command's
		ValidArgsFunction:     completeSession,
		RunE:                  func(_ *cobra.Command, args []string) error { return e.exec(args[0], args[1:]) },
	}
	cmd.Flags().SetInterspersed(false) // what follows the session is the command's
	return cmd
}

func (e *env) exec(session string, command []string) error {
	if command[0] == "--" {
		command = command[1:]
	}
	if len(command) == 0 {
		return usageError{errNoCommand}
	}
	if e.uid != 0 {
		return e.askDaemon("exec", members.Request{Do: members.DoExec, Sessions: []string{session}, Command: command, Term: e.getenv("TERM")})
	}
	id, err := enforcer.FindSession(session, enforcer.Everybody)
	if err != nil {
		return fmt.Errorf("exec: %w", err)
	}
	person, done := e.person()
	defer done()
	if e.status, err = enforcer.RunBeside(id, command, e.getenv("TERM"), person); err != nil {
		return fmt.Errorf("exec: %w", err)
	}
	return nil
}

// person is whoever started this process. What ends or stops it at a terminal
// reaches a program through the terminal; what it is sent otherwise is passed on.
func (e *env) person() (p console.Person, done func()) {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2)
	return console.Person{
		Stdin: e.stdin, Stdout: e.stdout, Stderr: e.stderr, Signals: signals,
		Tell: func(line string) { fmt.Fprintln(e.stderr, line) },
	}, func() { signal.Stop(signals) }
}

// completeSession offers the ids of running sessions.
func completeSession(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	running, err := enforcer.Sessions(enforcer.Everybody)
	if err != nil || len(args) > 0 {
		return nil, cobra.ShellCompDirectiveDefault
	}
	var ids []cobra.Completion
	for _, s := range running {
		ids = append(ids, cobra.CompletionWithDesc(s.ID, plain(s.Command)))
	}
	return ids, cobra.ShellCompDirectiveNoFileComp
}
