// SPDX-License-Identifier: Apache-2.0

// Package containers runs real containers of podman, containerd and Docker
// under the node's daemon, from an image that knows nothing of it.
//
// It guarantees that the daemons of the runtimes, their networks, images and
// settings are a world's own ([rig.World]): the machine's are neither used nor
// changed, and everything that was started ends with the test.
package containers
