#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Runs root tests on other kernels in seconds: kernel and initramfs straight
# under QEMU, with or without KVM. No root needed.
#
#   quick.sh [-a ARGUMENTS] [-c COUNT] [-r REGEXP] [-s REGEXP] [-k KERNEL]... [PACKAGE...]
#
#     -a   more kernel arguments, such as ipv6.disable=1
#     -c   connections in each mode of test/redirect (REDIRECT_CONNECTIONS
#          there), 1000 if not given: 80,000 take minutes without KVM
#     -r   only the tests that match
#     -s   not the tests that match
#     -k   a name in the file kernels; default: all of them
#
# A PACKAGE is a folder of this module; the test programs are built here, and
# what a test would compile in the guest is too. There are busybox and curl in
# the guest: tests of other programs are left to the machines. The whole output
# is in build/rig/quick/KERNEL.log. Exit status 1 when a test
# failed or a guest did not finish.
set -euo pipefail
umask 022

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../../.." && pwd)
append='' count=1000 run=. skip='^$' kernels=()
# What needs other programs.
unfit='^TestRebuild$'
while getopts a:c:r:s:k: option; do
	case $option in
	a) append=$OPTARG ;;
	c) count=$OPTARG ;;
	r) run=$OPTARG ;;
	s) skip=$OPTARG ;;
	k) kernels+=("$OPTARG") ;;
	*) sed -n '3,/^set/s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
	esac
done
shift $((OPTIND - 1))
packages=("$@")
[ ${#packages[@]} -gt 0 ] || packages=(bpf netns netns/sandbox test/redirect)
[ ${#kernels[@]} -gt 0 ] || mapfile -t kernels < <(awk '!/^#/ { print $1 }' "$here/kernels")
limit=${RIG_LIMIT:-300} # seconds for one guest

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tree=$work/root/tree
mkdir -p "$root/build/rig/quick" "$work/root/bin" \
	"$tree"/{bin,sbin,usr/bin,usr/share,usr/local/bin,lib/modules,proc,sys,dev,run,tmp,root,home,var/lib,var/log,var/tmp,var/cache,mnt,opt,etc,src}
cp "$here/init" "$work/root/init"
cp "$here/init" "$tree/init"
cp "$here/compiler" "$tree/usr/local/bin/gcc"
ln -s gcc "$tree/usr/local/bin/go"
cp "$root/go.mod" "$tree/src/"
printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n' >"$tree/etc/passwd"
printf 'root:x:0:\nnogroup:x:65534:\n' >"$tree/etc/group"
install -m 0600 /dev/null "$tree/etc/shadow"
mkdir -p "$tree/etc/profile.d" "$tree/var/spool"
printf '127.0.0.1 localhost\n::1 localhost\n' >"$tree/etc/hosts"
printf 'hosts: files dns\n' >"$tree/etc/nsswitch.conf"
# curl, and the libraries that it is linked with.
cp -L --parents "$(command -v curl)" $(ldd "$(command -v curl)" | grep -o '/[^ ]*') "$tree/"
mkdir -p "$tree/etc/ssl/certs" # a session wants the system's roots
cp /etc/ssl/certs/ca-certificates.crt "$tree/etc/ssl/certs/"
: >"$tree/etc/resolv.conf"

# programs PREFIX...: main packages of this module, which a test may build.
programs() {
	local name
	(cd "$root" && go list -tags netgo,osusergo -f '{{if eq .Name "main"}}{{.ImportPath}}{{end}}' "$@") | while read -r name; do
		name=${name#*/*/*/}
		mkdir -p "$(dirname "$tree/src/$name")"
		(cd "$root" && CGO_ENABLED=0 nice go build -trimpath -tags netgo,osusergo -o "$tree/src/$name.compiled" "./$name")
	done
}

# build PACKAGE: its test program, its data, its C and Go programs.
build() {
	local to=$tree/src/$1 source
	mkdir -p "$to"
	(cd "$root" && CGO_ENABLED=0 nice go test -tags netgo,osusergo,root -c -o "$to/rig.test" "./$1") || return 1
	[ ! -d "$root/$1/testdata" ] || cp -r "$root/$1/testdata" "$to/"
	for source in "$root/$1"/*.c; do
		case $source in *.bpf.c | *'*.c') continue ;; esac
		cp "$source" "$to/"
		gcc -O2 -pthread -static -o "$to/$(basename "$source" .c).compiled" "$source"
	done
	programs "./$1/..."
	printf '%s -test.v -test.count=1 -test.timeout=%ss -test.run=%s -test.skip=%s|%s\n' "$1" "$limit" "$run" "$unfit" "$skip" >>"$tree/packages"
}

failed=0
built=()
programs ./cmd/phantom-ns
for package in "${packages[@]}"; do
	if build "$package"; then built+=("$package"); else
		failed=1
		echo "rig: $package does not build"
	fi
done

# boot NAME: runs the guest, and leaves its output in $log.
boot() {
	local folder accelerator cpu more=''
	folder=$(bash "$here/kernel.sh" "$1")
	accelerator=$(bash "$here/accelerator.sh" "$folder")
	if [ "$accelerator" = kvm ]; then cpu=host; else
		accelerator=tcg,thread=multi
		# QEMU 7.2 leaves garbage in the flags after CMPXCHG16B, which the
		# allocator of 6.12 uses where there is one.
		cpu=max,cx16=off
		more="ESCAPE_PACE=10 RIG_PACE=10 $(awk -v name="$1" '$1 == name && $5 != "-" { print $5 }' "$here/kernels")"
	fi
	install -m 0755 "$folder/busybox" "$work/root/bin/busybox"
	install -m 0755 "$folder/busybox" "$tree/bin/busybox"
	rm -rf "$tree/lib/modules"
	cp -r "$folder/modules" "$tree/lib/modules"
	chmod 0755 "$work/root/init" "$tree/init" "$tree/usr/local/bin/gcc"
	(cd "$work/root" && find . | "$folder/busybox" cpio -o -H newc >"$work/initramfs" 2>/dev/null)
	nice setpriv --pdeathsig TERM timeout -k 5 "$limit" qemu-system-x86_64 -accel "$accelerator" -cpu "$cpu" -smp 2 -m 2048 -nographic -nodefaults \
		-serial stdio -no-reboot -kernel "$folder/vmlinuz" -initrd "$work/initramfs" \
		-append "console=ttyS0 panic=-1 oops=panic quiet $more REDIRECT_CONNECTIONS=$count $append" </dev/null 2>&1 | tr -d '\r' >"$log" || true
}

printf '%-8s %-28s %-20s %s\n' kernel version package result
for kernel in "${kernels[@]}"; do
	log=$root/build/rig/quick/$kernel.log
	begin=$SECONDS
	boot "$kernel"
	version=$(sed -n 's/^rig: kernel //p' "$log")
	for package in "${built[@]}"; do
		status=$(sed -n "s#^rig: end $package ##p" "$log")
		# One package's part of the output.
		part=$(sed -n "\\#^rig: begin $package\$#,\\#^rig: end $package #p" "$log")
		passed=$(grep -c '^--- PASS' <<<"$part" || true)
		bad=$(sed -n 's/^ *--- FAIL: \([^ ]*\).*/\1/p' <<<"$part" | tr '\n' ' ')
		case $status in
		0) result="ok, $passed tests" ;;
		'') result="did not finish" ;;
		*) result="FAILED: ${bad:-exit status $status}" ;;
		esac
		[ "$status" = 0 ] || failed=1
		printf '%-8s %-28s %-20s %s\n' "$kernel" "${version:-no answer}" "$package" "$result"
	done
	sed -n 's/^feature false /'"$kernel"'  without: /p' "$log"
	printf '%-8s %s s, %s\n' "$kernel" $((SECONDS - begin)) "${log#"$root"/}"
done
exit $failed
