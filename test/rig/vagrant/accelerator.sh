#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Prints "kvm" when a guest answers under KVM within ten seconds, else "tcg"
# (QEMU's own emulation), for the kernel in FOLDER as kernel.sh prints it.
#
#   accelerator.sh FOLDER
#
# Only a boot tells: a /dev/kvm that can be opened may still hang its guests,
# on nested hosts for one. RIG_ACCEL set to kvm or tcg decides without a trial.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
folder=$(cd "$1" && pwd)
[ -z "${RIG_ACCEL:-}" ] || { echo "$RIG_ACCEL"; exit; }
{ [ -r /dev/kvm ] && [ -w /dev/kvm ]; } || { echo tcg; exit; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/root/bin"
cp "$folder/busybox" "$work/root/bin/busybox"
cp "$here/init" "$work/root/init"
(cd "$work/root" && find . | "$folder/busybox" cpio -o -H newc >"$work/initramfs" 2>/dev/null)
{ timeout -k 1 10 qemu-system-x86_64 -accel kvm -cpu host -m 512 -nographic -nodefaults -serial stdio \
	-no-reboot -kernel "$folder/vmlinuz" -initrd "$work/initramfs" \
	-append 'console=ttyS0 panic=-1 quiet rig.trial' </dev/null >"$work/out" 2>&1 || true; } 2>/dev/null
if grep -q 'rig: up' "$work/out"; then echo kvm; else echo tcg; fi
