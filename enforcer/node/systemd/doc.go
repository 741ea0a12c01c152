// SPDX-License-Identifier: Apache-2.0

// Package systemd speaks the service manager's protocols: sd_notify(3), socket
// activation (sd_listen_fds(3)) and the file descriptor store.
//
// It guarantees that without a manager every call succeeds and does nothing,
// that what was inherited is taken once and by nobody that we start, and that a
// message reaches the manager whole or is an error. It is a leaf: what the
// descriptors are is its callers' business.
package systemd
