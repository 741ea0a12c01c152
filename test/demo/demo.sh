#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# What `make demo` runs: sets up, builds, shows the product at work, and leaves
# nothing behind but build/ and Debian packages. Root; Debian or Ubuntu with Go.
set -euo pipefail
umask 022
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# sudo resets PATH; this is where Go's own instructions put it.
PATH=$PATH:/usr/local/go/bin:/usr/sbin:/sbin
export PATH

die() { printf 'demo: %s\n' "$*" >&2; exit 1; }
[ "$(id -u)" -eq 0 ] || die "needs root: sudo make demo"
command -v go >/dev/null || die "needs Go (golang-go of Debian backports, or go.dev) in PATH"

bash "$root/test/setup/install.sh" demo
cd "$root"
make build
go build -trimpath -tags netgo,osusergo -o build/demo ./test/demo
exec build/demo build/phantom-ns
