// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/phantom-ns/phantom-ns/proxy/mint"
	"github.com/phantom-ns/phantom-ns/proxy/policy"
	"github.com/phantom-ns/phantom-ns/proxy/secret"
)

func (e *env) secretCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "secret",
		Short: "Store, list and remove credentials",
		Args:  wanted(cobra.NoArgs),
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(e.secretSetCommand(), e.secretListCommand(), e.secretRemoveCommand(), e.secretPassphraseCommand())
	return cmd
}

var (
	errNoHosts     = errors.New("no hosts to bind the credential to")
	errNoProvider  = errors.New("no such provider")
	errBadHost     = errors.New("not a host name")
	errNothingRead = errors.New("nothing was entered")
)

func (e *env) secretSetCommand() *cobra.Command {
	var provider, file string
	var hosts []string
	var fd int
	cmd := &cobra.Command{
		Use:   "set NAME",
		Short: "Store a credential, read hidden from the terminal or from standard input",
		Example: "  sudo phantom-ns secret set openai\n" +
			"  pass show work/api | sudo phantom-ns secret set work --host api.work.example\n" +
			"  sudo phantom-ns secret set codex --from-file ~/.codex/auth.json",
		Args: wanted(cobra.ExactArgs(1)),
		RunE: func(_ *cobra.Command, args []string) error { return e.secretSet(args[0], provider, file, hosts, fd) },
	}
	cmd.Flags().StringVar(&provider, "provider", "", "provider `NAME`, when it is not the credential's own name")
	cmd.Flags().StringVar(&file, "from-file", "", "read `FILE`: a credential alone, or what a tool keeps its login in")
	cmd.Flags().StringArrayVar(&hosts, "host", nil, "bind the credential to `HOST` instead of the provider's hosts (repeatable)")
	cmd.Flags().IntVar(&fd, "passphrase-fd", 0, passphraseUsage)
	return cmd
}

func (e *env) secretSet(name, provider, file string, hosts []string, fd int) error {
	if err := e.needRoot(); err != nil {
		return err
	}
	entry, err := binding(name, provider, hosts)
	if err != nil {
		return fmt.Errorf("secret set %q: %w", name, err)
	}
	store, err := e.store(fd)
	if err != nil {
		return err
	}
	if file != "" {
		entry.Value, err = readSecretFile(file, entry.Provider)
	} else {
		entry.Value, err = e.readSecret(name)
	}
	if err != nil {
		return fmt.Errorf("secret set %q: %w", name, err)
	}
	defer entry.Value.Wipe()
	if err := store.Set(name, entry); err != nil {
		return err
	}
	e.say("stored %s, bound to %s", name, strings.Join(entry.Hosts, ", "))
	if file != "" && policy.LoginOf(entry.Provider) != nil && mint.IsLogin(entry.Value) {
		e.say("it is refreshed from here now, which ends the tool's own login in %s", file)
	}
	e.tellSessions(name, false)
	return nil
}

// binding decides which hosts a credential may ever be used at. A policy can
// narrow that later and never widen it.
func binding(name, provider string, hosts []string) (secret.Entry, error) {
	known, ok := policy.ProviderNamed(cmp.Or(provider, name))
	if provider != "" && !ok {
		return secret.Entry{}, fmt.Errorf("provider %q: %w", provider, errNoProvider)
	}
	entry := secret.Entry{Provider: known.Name}
	for _, h := range hosts {
		pattern, wild := strings.CutPrefix(h, "*.")
		host, err := policy.Canonical(pattern)
		if err != nil {
			return entry, fmt.Errorf("host %q: %w", h, errBadHost)
		}
		if wild {
			host = "*." + host
		}
		entry.Hosts = append(entry.Hosts, host)
	}
	if len(entry.Hosts) == 0 {
		entry.Hosts = known.Hosts
	}
	if len(entry.Hosts) == 0 {
		return entry, errNoHosts
	}
	return entry, nil
}

// readSecret reads without an echo where a person types, else standard input
// to its end.
func (e *env) readSecret(name string) (secret.Value, error) {
	if !term.IsTerminal(int(e.stdin.Fd())) {
		return secret.Read(e.stdin)
	}
	value, err := secret.AskCredential(e.stdin, e.stderr, name+": ")
	if errors.Is(err, secret.ErrNoPassphrase) {
		err = errNothingRead
	}
	return value, err
}

func (e *env) secretListCommand() *cobra.Command {
	var asJSON bool
	var fd int
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List stored credentials, never their values",
		Args:  wanted(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			if err := e.needRoot(); err != nil {
				return err
			}
			store, err := e.store(fd)
			if err != nil {
				return err
			}
			listed, err := store.List()
			if err != nil || asJSON {
				return orJSON(e, listed, err)
			}
			table := tabwriter.NewWriter(e.stdout, 0, 0, 2, ' ', 0)
			for _, l := range listed {
				fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", l.Name, l.Provider, l.Created.Format(time.DateOnly), strings.Join(l.Hosts, " "))
			}
			return table.Flush()
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON array")
	cmd.Flags().IntVar(&fd, "passphrase-fd", 0, passphraseUsage)
	return cmd
}

func (e *env) secretRemoveCommand() *cobra.Command {
	var fd int
	cmd := &cobra.Command{
		Use:   "rm NAME",
		Short: "Remove a stored credential",
		Args:  wanted(cobra.ExactArgs(1)),
		RunE: func(_ *cobra.Command, args []string) error {
			if err := e.needRoot(); err != nil {
				return err
			}
			store, err := e.store(fd)
			if err != nil {
				return err
			}
			if err := store.Remove(args[0]); err != nil {
				return err
			}
			e.tellSessions(args[0], true)
			return nil
		},
	}
	cmd.Flags().IntVar(&fd, "passphrase-fd", 0, passphraseUsage)
	return cmd
}
