#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Prints the packages that one of the rig's machines tests.
#
#   suites.sh NAME
#
# Those with "every" test all but the packages whose programs come from package
# registries or from groups of install.sh that no machine has: the machines have
# no way out. Nor the one that stops its processes at each system call, which
# takes an emulated machine too long. Those with "kernel" test what the kernel
# decides.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$here/../../.."
case $(awk -v name="$1" '$1 == name { print $4 }' "$here/kernels") in
every) go list ./... | grep -vE '/test/(agents|clients|fault|files|http|profile|reach)$' ;;
kernel) printf '%s\n' ./bpf ./netns ./netns/sandbox ./netns/sandbox/trust ./enforcer ./test/cli ./test/crash ./test/escape ./test/redirect ;;
*)
	echo "rig: no machine $1 in $here/kernels" >&2
	exit 1
	;;
esac | tr '\n' ' '
