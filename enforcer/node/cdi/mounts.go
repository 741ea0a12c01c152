// SPDX-License-Identifier: Apache-2.0

package cdi

import (
	"path/filepath"

	"github.com/phantom-ns/phantom-ns/netns/sandbox/trust"
)

// Mount is one read-only bind of a file or folder of the node's over a path
// in the container.
type Mount struct {
	Source string
	Target string
}

// Names in a policy's folder. The first two are what trust.Env's variables
// name once the folder is mounted at trust.Dir.
const (
	caFile     = "ca.pem"
	bundleFile = "bundle.pem"
	javaFile   = "java-cacerts"
	resolvFile = "resolv.conf"
	envFile    = "env" // for the --env-file of runtimes without CDI
)

// targets are covered in every container, in this order. An image's own layout
// is not known here, so each is a path at which all images of some kind have a
// file, or nothing, or a link within the image: then a runtime can always cover
// it. The paths that only links lead to on one distribution are what another
// one reads, so both are listed: the second mount covers the first with the
// same.
//
// Left out on purpose: hashed directories, as covering one hides what an image
// has beside the roots (OpenSSL reads its default file before them), and
// certifi, which has no fixed path; the variables reach it.
var targets = []struct{ file, target, reader string }{
	{bundleFile, "/etc/ssl/certs/ca-certificates.crt", "Debian, Ubuntu, Alpine, Arch, distroless; Go's first"},
	{bundleFile, "/etc/ssl/cert.pem", "Alpine, Arch: OpenSSL's default"},
	{bundleFile, "/usr/lib/ssl/cert.pem", "Debian, Ubuntu: OpenSSL's default, which no package there makes"},
	{bundleFile, "/etc/pki/tls/certs/ca-bundle.crt", "Fedora before 43, RHEL, Amazon"},
	{bundleFile, "/etc/pki/tls/cert.pem", "Fedora, RHEL: OpenSSL's default"},
	{bundleFile, "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", "Fedora, RHEL"},
	{bundleFile, "/etc/ssl/ca-bundle.pem", "SUSE"},
	{bundleFile, "/var/lib/ca-certificates/ca-bundle.pem", "SUSE"},
	{javaFile, "/etc/ssl/certs/java/cacerts", "Java on Debian, Ubuntu, Alpine, Arch"},
	{javaFile, "/etc/pki/java/cacerts", "Java on Fedora, RHEL"},
	{javaFile, "/etc/pki/ca-trust/extracted/java/cacerts", "Java on Fedora, RHEL"},
	{javaFile, "/opt/java/openjdk/lib/security/cacerts", "the images of Eclipse Temurin"},
	// Where tools that make bundles take authorities from: what they make
	// anew still trusts ours.
	{caFile, "/usr/local/share/ca-certificates/phantom-ns.crt", "update-ca-certificates"},
	{caFile, "/etc/pki/ca-trust/source/anchors/phantom-ns.pem", "p11-kit, and update-ca-trust"},
}

// Mounts is what a container of the policy mounts: its folder, so that the
// variables name something, and the files over the usual paths.
func (l Layout) Mounts(policy string) []Mount {
	folder := filepath.Join(l.shared(), policy)
	mounts := []Mount{{folder, trust.Dir}}
	for _, t := range targets {
		mounts = append(mounts, Mount{filepath.Join(folder, t.file), t.target})
	}
	return mounts
}

// Resolver is one mount more for a sealed container. There, whatever name
// server is asked answers, but an address with a zone (fe80::1%eth0) has no
// interface to go by, and a runtime may copy one from the node.
func (l Layout) Resolver(policy string) Mount {
	return Mount{filepath.Join(l.shared(), policy, resolvFile), "/etc/resolv.conf"}
}

// resolvConf names the stub by loopback, which needs no route. Port 53 of
// 127.0.0.1 itself is a container's own server's where it has links.
const resolvConf = "nameserver 127.0.0.2\n"
