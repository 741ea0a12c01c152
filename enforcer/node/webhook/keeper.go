// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"
)

// Keeper makes this process's certificate, tells the API server of it and makes
// another in time. Each replica has its own: there is no key to share, and
// nothing of it is written anywhere.
type Keeper struct {
	name    string // of the Service: NAME.NAMESPACE.svc
	cluster *Cluster
	log     *slog.Logger

	current atomic.Pointer[own] // the API server has it
}

// look is how often a Keeper looks whether the API server still has it: an
// installer may have written the configuration anew.
const look = 15 * time.Second

// NewKeeper makes one for the Service of a name.
func NewKeeper(name string, cluster *Cluster, log *slog.Logger) *Keeper {
	return &Keeper{name: name, cluster: cluster, log: log}
}

var errNoCertificate = errors.New("the API server was not told of a certificate yet")

// Certificate is the one that the API server knows.
func (k *Keeper) Certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c := k.current.Load()
	if c == nil {
		return nil, errNoCertificate
	}
	return &c.pair, nil
}

// Ready says whether the API server was told.
func (k *Keeper) Ready() bool { return k.current.Load() != nil }

// Run keeps until ctx ends.
func (k *Keeper) Run(ctx context.Context) {
	ticker := time.NewTicker(look)
	defer ticker.Stop()
	for {
		if err := k.keep(ctx, time.Now()); err != nil && ctx.Err() == nil {
			k.log.Error("tell the API server of the certificate", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// keep publishes first and uses later.
func (k *Keeper) keep(ctx context.Context, now time.Time) error {
	c := k.current.Load()
	if c == nil || now.After(c.ends.Add(-overlap)) {
		var err error
		if c, err = makeOwn(k.name, now); err != nil {
			return err
		}
	}
	if err := k.cluster.trust(ctx, c.pem, now); err != nil {
		if before := k.current.Load(); before != nil && now.After(before.ends) {
			k.current.Store(nil)
		}
		return fmt.Errorf("keep certificate: %w", err)
	}
	k.current.Store(c)
	return nil
}
