// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Cluster is the API server, as far as it is needed: one object is read and
// patched, the webhook's own configuration.
type Cluster struct {
	http          *http.Client
	base          string
	token         string // the file of it; it is renewed
	configuration string // a MutatingWebhookConfiguration
}

// accountDir is where Kubernetes mounts what a pod proves itself with.
const accountDir = "/var/run/secrets/kubernetes.io/serviceaccount"

const (
	askTime   = 10 * time.Second
	maxAnswer = 4 << 20
	attempts  = 8 // against other replicas that write at the same time
)

var (
	errNoCluster = errors.New("this is no pod of a cluster: KUBERNETES_SERVICE_HOST is not set")
	errConflict  = errors.New("somebody else wrote it at the same time")
)

// InCluster speaks to the API server of the pod this runs in.
func InCluster(configuration string, getenv func(string) string) (*Cluster, error) {
	host, port := getenv("KUBERNETES_SERVICE_HOST"), getenv("KUBERNETES_SERVICE_PORT")
	if host == "" || port == "" {
		return nil, errNoCluster
	}
	return connect("https://"+net.JoinHostPort(host, port), accountDir, configuration)
}

func connect(base, account, configuration string) (*Cluster, error) {
	authority, err := os.ReadFile(filepath.Join(account, "ca.crt"))
	if err != nil {
		return nil, fmt.Errorf("read the cluster's authority: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(authority) {
		return nil, errors.New("read the cluster's authority: there is no certificate")
	}
	return &Cluster{
		http: &http.Client{
			Timeout:   askTime,
			Transport: &http.Transport{TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots}},
		},
		base: base, token: filepath.Join(account, "token"), configuration: configuration,
	}, nil
}

// configuration is what is read of a MutatingWebhookConfiguration.
type configuration struct {
	Metadata struct {
		Version string `json:"resourceVersion"`
	} `json:"metadata"`
	Webhooks []struct {
		Client struct {
			Bundle []byte `json:"caBundle"`
		} `json:"clientConfig"`
	} `json:"webhooks"`
}

// trust makes the API server take a certificate, beside those that it takes.
func (c *Cluster) trust(ctx context.Context, mine []byte, now time.Time) error {
	for range attempts {
		err := c.tryTrust(ctx, mine, now)
		if !errors.Is(err, errConflict) {
			return err
		}
	}
	return errConflict
}

func (c *Cluster) tryTrust(ctx context.Context, mine []byte, now time.Time) error {
	data, err := c.ask(ctx, http.MethodGet, nil)
	if err != nil {
		return err
	}
	var had configuration
	if err := json.Unmarshal(data, &had); err != nil {
		return fmt.Errorf("read webhook configuration: %w", err)
	}
	// Another's version in between makes the whole patch fail.
	patch := []operation{{"test", "/metadata/resourceVersion", had.Metadata.Version}}
	for i := range had.Webhooks {
		bundle, changed := joined(had.Webhooks[i].Client.Bundle, mine, now)
		if changed {
			patch = append(patch, operation{"add", "/webhooks/" + strconv.Itoa(i) + "/clientConfig/caBundle", bundle})
		}
	}
	if len(patch) == 1 {
		return nil
	}
	body, err := json.Marshal(patch)
	if err != nil {
		return err
	}
	_, err = c.ask(ctx, http.MethodPatch, body)
	return err
}

func (c *Cluster) ask(ctx context.Context, method string, body []byte) ([]byte, error) {
	path := "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/" + url.PathEscape(c.configuration)
	r, err := http.NewRequestWithContext(ctx, method, c.base+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	token, err := os.ReadFile(c.token)
	if err != nil {
		return nil, fmt.Errorf("read token: %w", err)
	}
	r.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	r.Header.Set("Accept", contentType)
	if body != nil {
		r.Header.Set("Content-Type", "application/json-patch+json")
	}
	answer, err := c.http.Do(r)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	data, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	if err != nil {
		return nil, err
	}
	// A test that does not hold is 422, a write in between 409.
	if method == http.MethodPatch && (answer.StatusCode == http.StatusConflict || answer.StatusCode == http.StatusUnprocessableEntity) {
		return nil, errConflict
	}
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s %s: %s: %.200q", method, path, answer.Status, data)
	}
	return data, nil
}
