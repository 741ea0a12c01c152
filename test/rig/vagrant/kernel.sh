#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Prints a folder with one of the rig's kernels, which it downloads when it is
# not there yet.
#
#   kernel.sh NAME
#
# The folder holds vmlinuz, busybox (static), and modules/VERSION, uncompressed
# and with their indices. From 7.x on Debian has them in three packages.
set -euo pipefail
umask 022

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
name=$1
suite=$(awk -v name="$name" '$1 == name { print $2 }' "$here/kernels")
[ -n "$suite" ] || { echo "rig: no kernel $name in $here/kernels" >&2; exit 1; }

mkdir -p "$here/../../../build/rig/kernels"
folder=$(cd "$here/../../../build/rig/kernels" && pwd)/$name
if [ ! -e "$folder" ]; then
	work=$(mktemp -d "$folder.XXXXXX")
	trap 'rm -rf "$work"' EXIT
	echo "rig: downloading the kernel of $suite" >&2
	bash "$here/apt.sh" "$suite" "$work/packages" 'linux-image-cloud-amd64:linux-(image|binary|modules)-[0-9]' busybox-static
	for package in "$work"/packages/*.deb; do
		dpkg-deb -x "$package" "$work/tree"
	done
	mkdir "$work/done"
	busybox=$work/tree/bin/busybox
	[ -e "$busybox" ] || busybox=$work/tree/usr/bin/busybox
	mv "$busybox" "$work/done/busybox"
	vmlinuz=$(find "$work/tree" \( -path '*/boot/vmlinuz-*' -o -path '*/modules/*/vmlinuz' \) -type f | head -n 1)
	mv "$vmlinuz" "$work/done/vmlinuz"
	modules=$work/tree/lib/modules
	[ -e "$modules" ] || modules=$work/tree/usr/lib/modules
	find "$modules" -name '*.ko.xz' -exec xz -d {} +
	mv "$modules" "$work/done/modules"
	# depmod looks below lib/modules of a root.
	mkdir -p "$work/root/lib"
	ln -s ../../done/modules "$work/root/lib/modules"
	"$work/done/busybox" depmod -b "$work/root" "$(ls "$work/done/modules")"
	chmod 755 "$work/done"
	mv "$work/done" "$folder"
fi
printf '%s\n' "$folder"
