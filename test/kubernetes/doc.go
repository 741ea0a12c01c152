// SPDX-License-Identifier: Apache-2.0

// Package kubernetes holds packaging/kubernetes and the webhook to Kubernetes'
// own types, Helm's own renderer, and the API server's own patches and CEL. It
// is a module of its own: none of them is a dependency of the product.
package kubernetes
