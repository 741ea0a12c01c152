#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# `make rig`: brings up the rig's machines, one after the other, runs what
# `make test` runs in each, and prints a table kernel × suite × result. Run as
# root.
#
#   run.sh [NAME...]      default: every row of the file kernels
#
# libvirtd, its bridge and DHCP server, QEMU and vagrant run in network, mount
# and process namespaces made for the purpose, so that the machine's own
# network, its libvirt and its vagrant are neither seen nor touched, and the
# kernel ends all of it with the first process in there, however this ends.
# The box stays in build/rig; so do the outputs, in build/rig/vagrant.
#
# Which packages each tests, suites.sh says. RIG_SUITES="./bpf ./netns" runs
# only those.
set -euo pipefail
umask 022

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../../.." && pwd)
out=$root/build/rig/vagrant
[ "$(id -u)" = 0 ] || { echo "rig: run this as root: it makes namespaces and file systems" >&2; exit 1; }
names=("$@")
[ ${#names[@]} -gt 0 ] || mapfile -t names < <(awk '!/^#/ { print $1 }' "$here/kernels")

mkdir -p "$out" "$root/build/rig/pool"
exec 8>"$root/build/rig/vagrant.lock"
flock -n 8 || { echo "rig: another run holds build/rig/vagrant.lock" >&2; exit 1; }

# The guests' build cache is filled here, where compiling is fast. No test runs,
# so that no result can be taken from it. What does not build will say so there.
export GOCACHE=$root/build/rig/gocache CGO_ENABLED=0
cd "$root"
for tags in netgo,osusergo netgo,osusergo,root; do
	nice go vet -tags "$tags" ./... >"$out/warm.log" 2>&1 || true
	nice go list -tags "$tags" -deps -test -export -e ./... >>"$out/warm.log" 2>&1 || true
done
nice go build -trimpath -tags netgo,osusergo -o /dev/null ./... >>"$out/warm.log" 2>&1 || true

bash "$here/box.sh" >/dev/null
failed=0
for name in "${names[@]}"; do
	suites=${RIG_SUITES:-$(bash "$here/suites.sh" "$name")}
	RIG_DRIVER=$(bash "$here/accelerator.sh" "$root/build/rig/kernels/$name")
	export RIG_DRIVER
	echo "rig: $name under $RIG_DRIVER; its output: ${out#"$root"/}/$name.log" >&2
	rm -f "$out/$name.log"
	# unshare waits through SIGTERM, so it is killed; what is inside goes with it,
	# and it goes with this script.
	setpriv --pdeathsig KILL unshare --net --mount --ipc --pid --fork --kill-child --mount-proc \
		bash "$here/machine.sh" "$name" "$out/$name.log" "$suites" &
	child=$!
	trap 'kill -KILL "$child" 2>/dev/null || true; exit 130' INT TERM HUP
	wait "$child" || failed=1
	trap - INT TERM HUP
done

printf '\n%-8s %-24s %-30s %s\n' machine kernel suite result
for name in "${names[@]}"; do
	bash "$here/table.sh" "$name" "$out/$name.log" || failed=1
done
exit $failed
