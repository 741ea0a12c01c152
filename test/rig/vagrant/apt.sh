#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Downloads Debian packages of any suite into a folder.
#
#   apt.sh SUITE FOLDER PACKAGE...
#
# The machine's own apt, its lists and its sources are not touched: this one
# has all its state under build/rig/apt. A PACKAGE that ends in ":depends" is a
# metapackage, and stands for the first package it depends on.
set -euo pipefail
umask 022
export LC_ALL=C

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
suite=$1 folder=$2
shift 2
state=$here/../../../build/rig/apt/$suite
mkdir -p "$state"/{lists/partial,cache/archives/partial,download,none}
state=$(cd "$state" && pwd)
# The mirror that this machine itself uses.
mirror=${RIG_MIRROR:-$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' | grep -m1 -v security | sed 's|/$||')}

touch "$state/status"
sources="deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main"
cat >"$state/apt.conf" <<EOF
Dir::State "$state";
Dir::State::status "$state/status";
Dir::State::Lists "$state/lists";
Dir::Cache "$state/cache";
Dir::Etc::SourceList "$state/sources.list";
Dir::Etc::SourceParts "$state/none";
Dir::Etc::Preferences "$state/none/preferences";
Dir::Etc::PreferencesParts "$state/none";
APT::Sandbox::User "root";
APT::Architectures { "amd64"; };
APT::Architecture "amd64";
Acquire::Languages "none";
Acquire::Retries "3";
EOF
export APT_CONFIG=$state/apt.conf

if [ "$(cat "$state/sources.list" 2>/dev/null)" != "$sources" ]; then
	printf '%s\n' "$sources" >"$state/sources.list"
	apt-get -q update >"$state/log" 2>&1 || { cat "$state/log" >&2; rm "$state/sources.list"; exit 1; }
fi

# first prints the first package that a metapackage depends on.
first() { apt-cache depends --important "$1" | sed -n 's/^ *Depends: //p' | head -n 1; }

# download fetches into $state/download; lists that are merely old are renewed.
download() {
	local names=() p
	for p; do
		case $p in
		*:depends) names+=("$(first "${p%:depends}")") ;;
		*) names+=("$p") ;;
		esac
	done
	rm -f "$state"/download/*.deb
	(cd "$state/download" && apt-get -q download "${names[@]}") >"$state/log" 2>&1
}

download "$@" || { apt-get -q update >"$state/log" 2>&1 && download "$@"; } || { cat "$state/log" >&2; exit 1; }
mkdir -p "$folder"
mv "$state"/download/*.deb "$folder/"
