// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"os/signal"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/phantom-ns/phantom-ns/enforcer/node/install"
)

func (e *env) cniCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cni",
		Short: "Put phantom-cni behind the network plugin of a node of Kubernetes",
		Args:  wanted(cobra.NoArgs),
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(e.cniInstallCommand(), e.cniRemoveCommand())
	return cmd
}

func (e *env) cniInstallCommand() *cobra.Command {
	var config install.Config
	var wait, watch bool
	cmd := &cobra.Command{
		Use:   "install --entry FILE [flags]",
		Short: "Copy the plugin, and chain it behind the node's network",
		Args:  wanted(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			if config.Entry == "" || wait && watch {
				return usageError{errors.New("cni install: --entry is needed, and one of --wait and --watch at most")}
			}
			if err := e.needRoot(); err != nil {
				return err
			}
			config.Logger = e.serviceLogger()
			if !wait && !watch {
				return install.Install(config)
			}
			return e.cniWatch(config, wait)
		},
	}
	cmd.Flags().StringVar(&config.Networks, "networks", install.NetworksDir, "the runtime reads networks in `DIR`")
	cmd.Flags().StringVar(&config.Plugins, "plugins", install.PluginsDir, "the runtime looks for plugins in `DIR`")
	cmd.Flags().StringVar(&config.Plugin, "plugin", "", "copy the plugin from `FILE` (default: it is there)")
	cmd.Flags().StringVar(&config.Entry, "entry", "", "read from `FILE` what stands for the plugin in the list of plugins")
	cmd.Flags().BoolVar(&wait, "wait", false, "wait until the node has a network")
	cmd.Flags().BoolVar(&watch, "watch", false, "keep it there, until told to end; nothing is removed then")
	return cmd
}

func (e *env) cniWatch(config install.Config, once bool) error {
	ctx, stop := signal.NotifyContext(e.ctx, unix.SIGTERM, unix.SIGINT)
	defer stop()
	done := false
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	err := install.Watch(ctx, config, func() {
		if done = true; once {
			cancel()
		}
	})
	if err == nil && once && !done {
		return install.ErrNoNetwork // told to end before there was one
	}
	return err
}

func (e *env) cniRemoveCommand() *cobra.Command {
	var config install.Config
	var stay bool
	cmd := &cobra.Command{
		Use:   "remove",
		Short: "Take the plugin out of the node's network; what starts then is held by nothing",
		Args:  wanted(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			if err := e.needRoot(); err != nil {
				return err
			}
			if err := install.Remove(config); err != nil || !stay {
				return err
			}
			ctx, stop := signal.NotifyContext(e.ctx, unix.SIGTERM, unix.SIGINT)
			defer stop()
			<-ctx.Done()
			return nil
		},
	}
	cmd.Flags().StringVar(&config.Networks, "networks", install.NetworksDir, "the runtime reads networks in `DIR`")
	cmd.Flags().StringVar(&config.Plugins, "plugins", install.PluginsDir, "the runtime looks for plugins in `DIR`")
	cmd.Flags().BoolVar(&stay, "stay", false, "do not end before told to, as the pods of a DaemonSet must not")
	return cmd
}
