// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/phantom-ns/phantom-ns/enforcer"
	"github.com/phantom-ns/phantom-ns/netns/sandbox"
	"github.com/phantom-ns/phantom-ns/proxy/policy"
)

// defaultPolicy is the administrator's policy.
const defaultPolicy = "/etc/phantom-ns/policy.yaml"

type runFlags struct {
	user, policy, profile string
	with, login, allow    []string
	write                 []string
	passphraseFD          int
}

func (e *env) runCommand() *cobra.Command {
	var f runFlags
	cmd := &cobra.Command{
		Use:   "run [flags] [--] COMMAND [ARGUMENT]...",
		Short: "Run COMMAND in a sealed session",
		Example: "  sudo phantom-ns run claude\n" +
			"  sudo phantom-ns run --with openai python3 agent.py\n" +
			"  sudo phantom-ns run --policy policy.yaml -- make test",
		Args: wanted(cobra.MinimumNArgs(1)),
		RunE: func(_ *cobra.Command, args []string) error { return e.run(f, args) },
	}
	flags := cmd.Flags()
	flags.SetInterspersed(false) // flags stop at the first word that is not one
	flags.StringVar(&f.user, "user", "", "run the agent as `USER` instead of the one who called sudo")
	flags.StringVar(&f.policy, "policy", "", "read the policy from `FILE` instead of "+defaultPolicy)
	flags.StringVar(&f.profile, "profile", "", "use profile `NAME` instead of the one called as COMMAND; none for none")
	flags.StringArrayVar(&f.with, "with", nil, "let the session use stored credential `NAME` (repeatable)")
	flags.StringArrayVar(&f.login, "login", nil, "log in as `NAME` (claude, codex) in the session, and store the login (repeatable)")
	flags.StringArrayVar(&f.allow, "allow", nil, "let the session read from `HOST[:PORT]` (repeatable)")
	flags.StringArrayVar(&f.write, "write", nil, "let the session write `PATH` for real (repeatable)")
	flags.IntVar(&f.passphraseFD, "passphrase-fd", 0, passphraseUsage)
	return cmd
}

func (e *env) run(f runFlags, command []string) error {
	if e.uid != 0 {
		return e.runAsMember(f, command)
	}
	config, err := e.sessionConfig(f, command)
	if err != nil {
		return err
	}
	return e.attend(config, func(*enforcer.Session) {})
}

// attend runs a session to its end. Begun is told when the agent executes.
func (e *env) attend(config enforcer.Config, begun func(*enforcer.Session)) error {
	session, err := enforcer.Start(e.ctx, config)
	if err != nil {
		return fmt.Errorf("run: %w", setupError{err})
	}
	stop := relaySignals(session)
	begun(session)
	status, err := session.Wait()
	stop()
	if err := errors.Join(err, session.Close()); err != nil {
		return fmt.Errorf("run: %w", setupError{err})
	}
	e.status = status.Code
	if status.Signal != 0 {
		e.status = exitSignal + int(status.Signal)
	}
	return nil
}

func (e *env) sessionConfig(f runFlags, command []string) (enforcer.Config, error) {
	config, err := e.userConfig(f.user)
	if err != nil {
		return config, err
	}
	config.Command, config.With, config.Login, config.Allow, config.Write = command, f.with, f.login, f.allow, f.write
	config.Stdin, config.Stdout, config.Stderr = e.stdin, e.stdout, e.stderr
	if config.Passphrase, err = passphraseFile(f.passphraseFD); err != nil {
		return config, err
	}
	if err := e.readPolicy(f, &config); err != nil {
		return config, err
	}
	if config.Profile, err = policy.Choose(config.Policy, f.profile, command[0]); err != nil {
		return config, err
	}
	config.Reread = e.reread(f, config, command[0])
	if givesNothing(config) {
		e.say("no policy, so no credential and no egress; --with NAME, --allow HOST or --policy FILE give some")
	}
	return config, nil
}

func givesNothing(c enforcer.Config) bool {
	return c.Profile == nil && c.Policy == nil && len(c.With) == 0 && len(c.Login) == 0 && len(c.Allow) == 0
}

// userConfig is what a session has of its user and surroundings.
func (e *env) userConfig(user string) (enforcer.Config, error) {
	config := enforcer.Config{
		Caller: enforcer.CallerEnviron(), Logger: e.logger(),
		Notify: func(line string) { e.say("%s", line) }, Attended: term.IsTerminal(int(e.stderr.Fd())),
	}
	var err error
	if config.User, err = enforcer.FindUser(user, e.getenv("SUDO_UID")); err != nil {
		return config, err
	}
	if e.getenv("SUDO_UID") != "" {
		invoker, err := enforcer.FindUser("", e.getenv("SUDO_UID"))
		if err != nil && !errors.Is(err, enforcer.ErrRootAgent) {
			return config, err
		}
		if err == nil {
			config.Invoker.User = &invoker
		}
	}
	if config.Dir, err = os.Getwd(); err != nil {
		return config, fmt.Errorf("find working directory: %w", err)
	}
	return config, nil
}

func (e *env) readPolicy(f runFlags, config *enforcer.Config) error {
	path := f.policy
	if path == "" {
		path = defaultPolicy
	}
	data, trusted, err := config.Invoker.ReadPolicy(path)
	if f.policy == "" && errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read policy: %w", err)
	}
	config.Trusted = trusted
	config.Policy, err = policy.Parse(path, data)
	var parse *policy.ParseError
	if errors.As(err, &parse) && !config.Invoker.MayRead(path) {
		// Whoever may not read the file learns where it is wrong, not what
		// stands there.
		parse.Excerpt = ""
	}
	return err
}

// reread reads policy and profile as they were read for config.
func (e *env) reread(f runFlags, config enforcer.Config, command string) func() (enforcer.Reread, error) {
	return func() (enforcer.Reread, error) {
		config.Policy, config.Trusted = nil, false
		if err := e.readPolicy(f, &config); err != nil {
			return enforcer.Reread{}, err
		}
		profile, err := policy.Choose(config.Policy, f.profile, command)
		return enforcer.Reread{Policy: config.Policy, Trusted: config.Trusted, Profile: profile}, err
	}
}

// relaySignals passes on what is sent to us. A terminal's own signals reach
// the agent through its pty and the line discipline. SIGHUP is a terminal's
// hangup, and a service's reload: which, the controlling terminal tells that
// only the former has.
func relaySignals(session *enforcer.Session) (stop func()) {
	attached := hasTerminal()
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2)
	go func() {
		for sig := range signals {
			if sig == syscall.SIGHUP && !attached {
				go session.Reload() // says itself how it went
				continue
			}
			// The agent may have ended meanwhile.
			_ = session.Signal(sig.(syscall.Signal))
		}
	}()
	return func() {
		signal.Stop(signals)
		close(signals)
	}
}

// exitStatus says what the process exits with for an error of ours.
func exitStatus(err error) int {
	switch {
	case errors.Is(err, sandbox.ErrNotFound):
		return exitNotFound
	case errors.Is(err, sandbox.ErrNotExecutable):
		return exitNotExecutable
	}
	return exitOurs
}
