// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"log/slog"
	"os"
	"os/signal"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/phantom-ns/phantom-ns/enforcer/node"
)

func (e *env) serveCommand() *cobra.Command {
	var config node.Config
	var uninstall bool
	cmd := &cobra.Command{
		Use:   "serve [flags]",
		Short: "Hold the containers of this machine to its policies: the node's daemon",
		Example: "  systemctl enable --now phantom-ns\n" +
			"  sudo phantom-ns serve --policies /etc/phantom-ns/policies",
		Args: wanted(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			if err := e.needRoot(); err != nil {
				return err
			}
			config.Version, config.Getenv, config.Logger = version, e.getenv, e.serviceLogger()
			if uninstall {
				return node.Uninstall(config)
			}
			return e.serve(config)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&config.Policies, "policies", "", "read policies from `DIR`/NAME.yaml (default "+node.PoliciesDir+")")
	flags.StringVar(&config.State, "state", "", "keep the seed and what is known of policies in `DIR` (default "+node.StateDir+")")
	flags.StringVar(&config.Run, "run", "", "keep sockets and attachments in `DIR` (default "+node.RunDir+")")
	flags.StringVar(&config.Pins, "pins", "", "pin programs in `DIR` of a bpf file system (default "+node.PinsDir+")")
	flags.StringVar(&config.CDI.Specs, "cdi", "", "write devices into `DIR` (default /etc/cdi)")
	flags.StringVar(&config.CDI.Shared, "shared", "", "write what containers mount into `DIR` (default /var/lib/phantom-ns/shared)")
	flags.StringVar(&config.Shared, "shared-seed", "", "derive the placeholders that need no real value from `FILE`, which all nodes of a cluster have")
	flags.StringVar(&config.Grants, "grants", "", "let pods have a policy only where `FILE` grants it to their namespace")
	flags.StringVar(&config.Group, "socket-group", "", "let group `NAME` reach the sockets (default "+node.Group+", if there is such a group)")
	flags.BoolVar(&uninstall, "uninstall", false, "remove what a daemon leaves in the kernel, when nothing is attached")
	return cmd
}

// serve runs until it is told to end. SIGHUP is a reload, as systemd's
// ExecReload sends it.
func (e *env) serve(config node.Config) error {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, unix.SIGTERM, unix.SIGINT, unix.SIGHUP)
	daemon, err := node.Start(e.ctx, config)
	if err != nil {
		return err
	}
	for {
		select {
		case sig := <-signals:
			if sig != unix.SIGHUP {
				return daemon.Close()
			}
			// It says itself how it went, and what was in force stays.
			_ = daemon.Reload(e.ctx)
		case err := <-daemon.Broken():
			if closed := daemon.Close(); closed != nil {
				config.Logger.Error("end", "error", closed)
			}
			return fmt.Errorf("serve: %w", err)
		}
	}
}

// serviceLogger writes for operators. The journal knows the time.
func (e *env) serviceLogger() *slog.Logger {
	options := &slog.HandlerOptions{}
	if e.getenv("JOURNAL_STREAM") != "" {
		options.ReplaceAttr = dropTime
	}
	return slog.New(slog.NewTextHandler(e.stderr, options))
}
