#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Brings one machine up, runs what `make test` runs in it, and destroys it. The
# root tests run though others have failed. Called by
# run.sh, as the first process of namespaces of its own; what it starts ends
# with it.
#
#   machine.sh NAME LOG SUITES
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../../.." && pwd)
rig=$root/build/rig
name=$1 log=$2 suites=$3

# A libvirt of our own: all that it keeps outside build/rig is in memory.
mount --make-rprivate /
mount -t sysfs sysfs /sys # this network's devices
mount -t tmpfs -o mode=755 tmpfs /run
for place in /var/lib/libvirt /var/cache/libvirt /var/log/libvirt; do
	[ ! -d "$place" ] || mount -t tmpfs -o mode=755 tmpfs "$place"
done
mount -t tmpfs -o mode=755 tmpfs /etc/libvirt
cat >/etc/libvirt/qemu.conf <<'EOF'
user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
security_driver = "none"
cgroup_controllers = [ ]
namespaces = [ ]
stdio_handler = "file"
EOF
cat >/etc/libvirt/libvirtd.conf <<EOF
auth_unix_rw = "none"
log_outputs = "3:file:$rig/vagrant/libvirtd.log"
EOF
ip link set lo up

# The tools' disk, from the host's Go, modules and the cache that run.sh filled.
goroot=$(go env GOROOT) modules=$(go env GOMODCACHE)
mkdir -p "$rig/pool" # box.sh empties it for a new box
tools=$rig/pool/tools.img
staging=$(mktemp -d)
mount -t tmpfs tmpfs "$staging"
mkdir "$staging"/{go,modules,cache}
mount --bind -o ro "$goroot" "$staging/go"
mount --bind -o ro "$modules" "$staging/modules"
mount --bind -o ro "$GOCACHE" "$staging/cache"
used=$(du -sm "$staging" | cut -f1)
rm -f "$tools"
truncate -s $((used * 3 / 2 + 2048))M "$tools"
mkfs.ext4 -q -F -N 400000 -d "$staging" "$tools"
umount -R "$staging"
rmdir "$staging"

# Disks of a run that was killed.
find "$rig/pool" -type f ! -name tools.img ! -name '*box_image*' -delete

libvirtd --daemon # returns when it answers

export VAGRANT_HOME=$rig/vagrant.d VAGRANT_CHECKPOINT_DISABLE=1 VAGRANT_CWD=$root
export VAGRANT_DOTFILE_PATH=/run/vagrant LIBVIRT_DEFAULT_URI=qemu:///system
cd "$root"
# quiet keeps a command's output for the one who has to look.
quiet() {
	"$@" </dev/null 2>&1 | tr '\r' '\n' | grep -v 'Progress: ' >>"$rig/vagrant/$name.up.log"
	return "${PIPESTATUS[0]}"
}
bring_up() {
	vagrant box list </dev/null | grep -q "^phantom-ns " ||
		quiet vagrant --no-tty box add --name phantom-ns "$rig/box/machine.box" || return
	quiet vagrant --no-tty up --provider libvirt "$name"
}
: >"$rig/vagrant/$name.up.log"
bring_up || { cat "$rig/vagrant/$name.up.log" "$rig/vagrant/libvirtd.log" >&2; exit 1; }

# An emulated machine takes minutes for 80,000 connections in each mode of
# test/redirect; the table says how many it made.
connections=80000 pace=1
[ "$RIG_DRIVER" = kvm ] || connections=8000 pace=10
status=0
echo "rig: connections $connections" >"$log"
vagrant --no-tty ssh "$name" -- -T "bash '$root/test/rig/vagrant/guest.sh' '$goroot' '$modules' '$GOCACHE' \
	env REDIRECT_CONNECTIONS=$connections ESCAPE_PACE=$pace RIG_PACE=$pace make -k check root SETUP='bpf keyring bench cni' SUITES='$suites' TIMEOUT=60m" >>"$log" 2>&1 </dev/null || status=$?
vagrant --no-tty ssh "$name" -- -T "bash '$root/test/rig/vagrant/guest.sh' '$goroot' '$modules' '$GOCACHE' \
	go test -tags netgo,osusergo,root -count 1 -v -run '^TestFeaturesSinceTheirKernel$' ./bpf" 2>&1 </dev/null | grep '^feature ' >>"$log" || status=1
echo "rig: tests ended with $status" >>"$log"
quiet vagrant --no-tty destroy -f "$name" || true
exit "$status"
