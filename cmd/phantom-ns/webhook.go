// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os/signal"
	"sync"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/phantom-ns/phantom-ns/enforcer/node"
	"github.com/phantom-ns/phantom-ns/enforcer/node/cdi"
	"github.com/phantom-ns/phantom-ns/enforcer/node/webhook"
)

// webhookFlags are what the webhook is told.
type webhookFlags struct {
	source                 webhook.Source
	layout                 cdi.Layout
	listen, certificates   string
	service, configuration string
}

var errWebhookCertificate = usageError{errors.New("either --certificates, or --service and --configuration")}

func (e *env) webhookCommand() *cobra.Command {
	var f webhookFlags
	cmd := &cobra.Command{
		Use:   "webhook --grants FILE {--certificates DIR | --service NAME --configuration NAME} [flags]",
		Short: "Give placeholders and trust to the pods of a Kubernetes cluster that name a policy",
		Args:  wanted(cobra.NoArgs),
		RunE:  func(*cobra.Command, []string) error { return e.webhook(f) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.listen, "listen", ":8443", "answer at `ADDRESS`")
	flags.StringVar(&f.source.Policies, "policies", node.PoliciesDir, "read policies from `DIR`/NAME.yaml")
	flags.StringVar(&f.source.Grants, "grants", "", "read from `FILE` which namespaces may use which policy")
	flags.StringVar(&f.source.Seed, "shared-seed", "", "derive placeholders from `FILE`, which the nodes have too")
	flags.StringVar(&f.layout.Shared, "shared", "", "nodes keep what containers mount in `DIR` (default "+cdi.SharedDir+")")
	flags.StringVar(&f.certificates, "certificates", "", "use tls.crt and tls.key of `DIR`")
	flags.StringVar(&f.service, "service", "", "make a certificate for the Service `NAME`.NAMESPACE.svc")
	flags.StringVar(&f.configuration, "configuration", "", "make the MutatingWebhookConfiguration `NAME` trust it")
	return cmd
}

func (e *env) webhook(f webhookFlags) error {
	if f.source.Grants == "" {
		return usageError{errors.New("webhook: --grants is needed")}
	}
	ctx, stop := signal.NotifyContext(e.ctx, unix.SIGTERM, unix.SIGINT)
	defer stop()
	log := e.serviceLogger()
	certificate, ready, end, err := e.webhookCertificate(ctx, f, log)
	if err != nil {
		return fmt.Errorf("webhook: %w", err)
	}
	defer end()
	l, err := net.Listen("tcp", f.listen)
	if err != nil {
		return fmt.Errorf("webhook: %w", err)
	}
	log.Info("answering", "address", l.Addr().String())
	return webhook.New(f.source, f.layout, ready, log).Serve(ctx, l, certificate)
}

type certificateOf = func(*tls.ClientHelloInfo) (*tls.Certificate, error)

// webhookCertificate says where the certificate comes from. end waits for who
// renews it, which ends with ctx.
func (e *env) webhookCertificate(ctx context.Context, f webhookFlags, log *slog.Logger) (get certificateOf, ready func() bool, end func(), err error) {
	ours := f.service != "" && f.configuration != ""
	if (f.certificates != "") == ours || !ours && f.service+f.configuration != "" {
		return nil, nil, nil, errWebhookCertificate
	}
	if !ours {
		get = webhook.Files(f.certificates)
		return get, func() bool { _, err := get(nil); return err == nil }, func() {}, nil
	}
	cluster, err := webhook.InCluster(f.configuration, e.getenv)
	if err != nil {
		return nil, nil, nil, err
	}
	keeper := webhook.NewKeeper(f.service, cluster, log)
	var running sync.WaitGroup
	running.Go(func() { keeper.Run(ctx) })
	return keeper.Certificate, keeper.Ready, running.Wait, nil
}
