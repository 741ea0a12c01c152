#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Prints the Debian mirror: the one that this machine itself uses, Debian's own
# where this is another distribution, or what RIG_MIRROR says.
set -euo pipefail
own=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' | grep -m1 -v security || true)
own=${RIG_MIRROR:-${own:-http://deb.debian.org/debian}}
printf '%s\n' "${own%/}"
