#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Builds the disk of the rig's machines: Debian 12 with all that `make test`
# needs from Debian, and the modules of every kernel in the file kernels. What
# differs between machines is the kernel and nothing else. Nothing is downloaded
# but packages.
#
#   box.sh
#
# Prints the folder, build/rig/box: machine.box for Vagrant, the key that root's
# ssh answers to, and for each kernel a folder with vmlinuz and initrd. Builds
# only when the recipe or a kernel has changed. Run as root.
set -euo pipefail
umask 022

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../../.." && pwd)
folder=$root/build/rig/box
mirror=$(bash "$here/mirror.sh")
size=12G

# The groups of test/setup/install.sh that the guest's tests need, installed by
# that very script; and what it leaves to the machine: a system, a C compiler,
# and the runtimes that netns/sandbox/trust's tests ask.
groups='demo bpf keyring bench cni'
system=systemd,systemd-sysv,dbus,udev,kmod,initramfs-tools,zstd,openssh-server,sudo,ca-certificates,iproute2,procps,rsync
build=make,git,gcc,libc6-dev
runtimes=python3,python3-pip,python3-venv,default-jdk-headless,nodejs

mapfile -t names < <(awk '!/^#/ { print $1 }' "$here/kernels")
images=()
for name in "${names[@]}"; do images+=("$(bash "$here/kernel.sh" "$name")/vmlinuz"); done
kernels=$root/build/rig/kernels
stamp=$(cat "$here/box.sh" "$root/test/setup/install.sh" "${images[@]}" | sha256sum)
if [ "$(cat "$folder/stamp" 2>/dev/null)" = "$stamp" ]; then
	echo "$folder"
	exit
fi

echo "rig: building the machines' disk, which takes a few minutes" >&2
work=$(mktemp -d "$folder.XXXXXX")
trap 'rm -rf "$work"' EXIT
ssh-keygen -q -t ed25519 -N '' -C phantom-ns-rig -f "$work/key"

# inside runs in the new system, after its packages; $1 is its root.
cat >"$work/inside" <<EOF
set -e
cp -r '$root/test/setup' "\$1/setup"
chroot "\$1" bash /setup/install.sh $groups
rm -r "\$1/setup"
for name in ${names[*]}; do
	cp -r '$kernels'/\$name/modules "\$1/lib/"
	version=\$(ls '$kernels'/\$name/modules)
	chroot "\$1" depmod "\$version"
	echo CONFIG_RD_GZIP=y >"\$1/boot/config-\$version" # all it asks
	chroot "\$1" update-initramfs -c -k "\$version"
	mkdir -p '$work'/done/\$name
	mv "\$1/boot/initrd.img-\$version" '$work'/done/\$name/initrd
	cp '$kernels'/\$name/vmlinuz '$work'/done/\$name/
done
install -d -m 0700 "\$1/root/.ssh"
install -m 0600 '$work/key.pub' "\$1/root/.ssh/authorized_keys"
printf '[Match]\nName=eth*\n[Network]\nDHCP=yes\n' >"\$1/etc/systemd/network/eth.network"
printf 'rig\n' >"\$1/etc/hostname"
printf '127.0.0.1 localhost rig\n::1 localhost\n' >"\$1/etc/hosts"
: >"\$1/etc/resolv.conf"
chroot "\$1" systemctl -q enable systemd-networkd ssh
chroot "\$1" systemctl -q mask apt-daily.timer apt-daily-upgrade.timer
EOF
nice mmdebstrap --quiet --variant=apt --include="$system,$build,$runtimes" \
	--customize-hook="sh $work/inside \"\$1\"" bookworm "$work/root" "$mirror" >"$folder.log" 2>&1 ||
	{ cat "$folder.log" >&2; exit 1; }

truncate -s "$size" "$work/disk"
mkfs.ext4 -q -F -d "$work/root" "$work/disk"
rm -rf "$work/root"
nice qemu-img convert -O qcow2 "$work/disk" "$work/box.img"
printf '{"provider":"libvirt","format":"qcow2","virtual_size":%s}\n' "${size%G}" >"$work/metadata.json"
: >"$work/Vagrantfile"
tar -C "$work" -cf "$work/machine.box" metadata.json Vagrantfile box.img
rm -rf "$folder" "$root/build/rig/pool" "$root/build/rig/vagrant.d"
mv "$work"/{machine.box,key} "$work/done/"
mv "$work/done" "$folder"
echo "$stamp" >"$folder/stamp"
echo "$folder"
