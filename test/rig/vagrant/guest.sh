#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Runs a command inside one of the rig's machines, with the host's Go, modules
# and build cache, which are on the disk vdb, at the paths they have on the host.
#
#   guest.sh GOROOT GOMODCACHE GOCACHE COMMAND...
set -euo pipefail

goroot=$1 modules=$2 cache=$3
shift 3
cd "$(dirname "$0")/../../.."

mkdir -p /srv/tools
mountpoint -q /srv/tools || mount /dev/vdb /srv/tools
for pair in "go:$goroot" "modules:$modules" "cache:$cache"; do
	to=${pair#*:}
	mkdir -p "$to"
	mountpoint -q "$to" || mount --bind "/srv/tools/${pair%%:*}" "$to"
done

export HOME=/root USER=root LOGNAME=root GOROOT=$goroot GOMODCACHE=$modules GOCACHE=$cache
export GOPROXY=off GOTOOLCHAIN=local GOFLAGS=-buildvcs=false
export PATH=$goroot/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
echo "rig: kernel $(uname -r)"
exec "$@"
