// SPDX-License-Identifier: Apache-2.0

// Package install puts phantom-cni behind a node's network plugin, and keeps it
// there.
//
//	/opt/cni/bin/phantom-cni                   the plugin
//	/etc/cni/net.d/10-flannel.conflist         the network plugin's own file, never touched
//	/etc/cni/net.d/00-00-phantom-ns.conflist   what it says, and phantom-cni at the end
//
// Runtimes take the first file of the directory. Other installers write into
// the network plugin's file, and lose their entry each time that plugin writes
// it anew; pods that start before they have put it back are not held. Here
// nothing that the network plugin does to its file takes ours away, only brings
// it up to date.
//
// It guarantees:
//
//   - Each file is replaced in one step: a runtime reads the old or the new one.
//   - From the first installation to Remove, over restarts, upgrades and reboots,
//     the file is there: while the daemon is away, containers do not start. The
//     one window is somebody else's removing or renaming the file; Watch puts it
//     back as soon as the kernel tells.
//   - What cannot be read is no reason to take anything away: what was installed
//     before stays.
//   - Every key of the network's configuration is passed on as it was written.
package install
