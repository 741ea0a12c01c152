#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Builds the disk of one of the rig's machines: Debian 12 with the row's kernel
# and all that `make test` needs from Debian. Nothing is downloaded but packages.
#
#   box.sh NAME
#
# Prints the folder, build/rig/boxes/NAME: machine.box for Vagrant, vmlinuz,
# initrd and the key that root's ssh answers to. Builds only when the recipe
# has changed. Run as root.
set -euo pipefail
umask 022

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../../.." && pwd)
name=$1
boxes=$root/build/rig/boxes
folder=$boxes/$name
# The mirror that this machine itself uses.
mirror=${RIG_MIRROR:-$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' | grep -m1 -v security | sed 's|/$||')}
size=12G

# The groups of test/setup/install.sh that the guest's tests need, installed by
# that very script; and what it leaves to the machine: a system, a C compiler,
# and the runtimes that netns/sandbox/trust's tests ask.
groups='demo bpf keyring bench'
system=systemd,systemd-sysv,dbus,udev,kmod,initramfs-tools,zstd,openssh-server,sudo,ca-certificates,iproute2,procps,rsync
build=make,git,gcc,libc6-dev
runtimes=python3,python3-pip,python3-venv,default-jdk-headless,nodejs

kernel=$(bash "$here/kernel.sh" "$name")
stamp=$(cat "$here/box.sh" "$root/test/setup/install.sh" "$kernel/vmlinuz" | sha256sum)
if [ "$(cat "$folder/stamp" 2>/dev/null)" = "$stamp" ]; then
	echo "$folder"
	exit
fi

echo "rig: building the box $name, which takes a few minutes" >&2
mkdir -p "$boxes"
work=$(mktemp -d "$boxes/$name.XXXXXX")
trap 'rm -rf "$work"' EXIT
ssh-keygen -q -t ed25519 -N '' -C phantom-ns-rig -f "$work/key"

# inside runs in the new system, after its packages; $1 is its root.
cat >"$work/inside" <<EOF
set -e
cp -r '$root/test/setup' "\$1/setup"
cp '$kernel/image.deb' "\$1/image.deb"
chroot "\$1" bash /setup/install.sh $groups
chroot "\$1" env DEBIAN_FRONTEND=noninteractive dpkg -i /image.deb || chroot "\$1" apt-get -y -f install
rm -r "\$1/setup" "\$1/image.deb"
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
	--customize-hook="sh $work/inside \"\$1\"" bookworm "$work/root" "$mirror" >"$boxes/$name.log" 2>&1 ||
	{ cat "$boxes/$name.log" >&2; exit 1; }

cp "$work"/root/boot/vmlinuz-* "$work/vmlinuz"
cp "$work"/root/boot/initrd.img-* "$work/initrd"
truncate -s "$size" "$work/disk"
mkfs.ext4 -q -F -d "$work/root" "$work/disk"
rm -rf "$work/root"
nice qemu-img convert -O qcow2 "$work/disk" "$work/box.img"
printf '{"provider":"libvirt","format":"qcow2","virtual_size":%s}\n' "${size%G}" >"$work/metadata.json"
: >"$work/Vagrantfile"
tar -C "$work" -cf "$work/machine.box" metadata.json Vagrantfile box.img
rm -rf "$folder" "$root/build/rig/pool" "$root/build/rig/vagrant.d"
mkdir "$folder"
mv "$work"/{machine.box,vmlinuz,initrd,key} "$folder/"
echo "$stamp" >"$folder/stamp"
echo "$folder"
