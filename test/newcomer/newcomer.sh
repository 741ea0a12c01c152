#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# What `make newcomer` runs: a new Debian with one user, who has a password and
# may call sudo, and who types the lines of the README's "Start", as they stand
# there, at a terminal. At their end an agent has its answer from a stand-in of
# the provider. Root, mmdebstrap, and Go in /usr/local/go or in PATH.
#
# Three things are not the README's: Go and its modules are the machine's, the
# clone comes from this tree, and the administrator's policy leads the
# provider's name to the stand-in.
set -euo pipefail
umask 022
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
here=$root/test/newcomer
PATH=$PATH:/usr/local/go/bin:/usr/sbin:/sbin
export PATH

die() { printf 'newcomer: %s\n' "$*" >&2; exit 1; }
[ "$(id -u)" -eq 0 ] || die "needs root"
command -v go >/dev/null || die "needs Go in PATH"
command -v mmdebstrap >/dev/null || die "needs mmdebstrap: test/setup/install.sh rig"

work=$(mktemp -d)
trap 'rm -rf --one-file-system "$work"' EXIT
mkdir "$work/debian"
mmdebstrap --quiet --variant=minbase --include=sudo,git,make,ca-certificates,curl,python3-minimal \
	bookworm "$work/debian.tar" </dev/null
tar -C "$work/debian" -xf "$work/debian.tar"
rm "$work/debian.tar"

git clone -q --bare "$root" "$work/debian/srv/phantom-ns.git"
mkdir -p "$work/debian/usr/local/go" "$work/debian/srv/modules" "$work/debian/srv/newcomer"
cp "$here"/{type.py,claude,standin.go} "$root/README.md" "$work/debian/srv/newcomer/"
(cd "$here" && CGO_ENABLED=0 go build -trimpath -o "$work/debian/srv/newcomer/standin" standin.go)

GOROOT=$(go env GOROOT) MODULES=$(go env GOMODCACHE)/cache/download \
	unshare --mount --net --pid --fork --kill-child bash "$here/inside.sh" "$work/debian"
