// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"github.com/spf13/cobra"
)

// The exit statuses that are ours and not the agent's (as env(1) and
// timeout(1) have them).
const (
	exitOurs          = 125
	exitNotExecutable = 126
	exitNotFound      = 127
	exitSignal        = 128 // and the signal's number
)

// env is everything the commands use of the world.
type env struct {
	stdin, stdout, stderr *os.File
	getenv                func(string) string
	uid                   int
	ctx                   context.Context
	status                int // what run says the process exits with
}

func newEnv() *env {
	return &env{
		stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr,
		getenv: os.Getenv, uid: os.Getuid(), ctx: context.Background(),
	}
}

func (e *env) main(args []string) int {
	root := e.command()
	root.SetArgs(args)
	root.SetIn(e.stdin)
	root.SetOut(e.stdout)
	root.SetErr(e.stderr)
	if cmd, err := root.ExecuteContextC(e.ctx); err != nil {
		e.complain(err)
		if usage := (usageError{}); errors.As(err, &usage) {
			e.say("see %s --help", cmd.CommandPath())
		}
		return exitStatus(err)
	}
	return e.status
}

// complain prints one line that names the thing and, where there is something
// to do about it, one that says what.
func (e *env) complain(err error) {
	// What went wrong beside it belongs to the same line.
	e.say("%s", strings.ReplaceAll(err.Error(), "\n", "; "))
	if hint := hintFor(err); hint != "" {
		e.say("%s", hint)
	}
}

func (e *env) say(format string, args ...any) {
	fmt.Fprintf(e.stderr, "phantom-ns: "+format+"\n", args...)
}

func (e *env) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(prefixed{e.stderr}, &slog.HandlerOptions{
		Level:       slog.LevelWarn,
		ReplaceAttr: dropTime,
	}))
}

func dropTime(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && a.Key == slog.TimeKey {
		return slog.Attr{}
	}
	return a
}

type prefixed struct{ w io.Writer }

func (p prefixed) Write(line []byte) (int, error) {
	if _, err := io.WriteString(p.w, "phantom-ns: "+string(line)); err != nil {
		return 0, err
	}
	return len(line), nil
}

// version is set by the linker.
var version = "unknown"

func (e *env) command() *cobra.Command {
	root := &cobra.Command{
		Use:           "phantom-ns",
		Short:         "Run a program that holds placeholders instead of credentials",
		Version:       version,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          wanted(cobra.NoArgs),
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.AddCommand(e.runCommand(), e.execCommand(), e.stopCommand(), e.psCommand(),
		e.secretCommand(), e.auditCommand(), e.doctorCommand(), e.reloadCommand(), e.gcCommand(), e.cdiCommand(), e.cniCommand(),
		e.serveCommand(), e.webhookCommand(), e.statusCommand(), e.versionCommand())
	return root
}

// wanted makes a wrong number of words, an unknown command among them, a usage
// error.
func wanted(args cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, words []string) error {
		if err := args(cmd, words); err != nil {
			return usageError{err}
		}
		return nil
	}
}

// usageError is a command line that does not parse.
type usageError struct{ error }

func (u usageError) Unwrap() error { return u.error }

var errNotRoot = errors.New("needs root")

func (e *env) needRoot() error {
	if e.uid != 0 {
		return errNotRoot
	}
	return nil
}
