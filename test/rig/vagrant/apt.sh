#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Downloads Debian packages of any suite into a folder.
#
#   apt.sh SUITE FOLDER PACKAGE...
#
# The machine's own apt, its lists and its sources are not touched: this one
# has all its state under build/rig/apt. A PACKAGE written "NAME:REGEXP" is
# a metapackage, and stands for all that it depends on, itself or through
# others, whose names match.
set -euo pipefail
umask 022
export LC_ALL=C

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
suite=$1 folder=$2
shift 2
state=$here/../../../build/rig/apt/$suite
mkdir -p "$state"/{lists/partial,cache/archives/partial,download,none}
state=$(cd "$state" && pwd)

touch "$state/status"
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

# settle on a mirror that has the suite: an old one is in Debian's archive alone.
settle() {
	local from
	for from in "$mirror" http://archive.debian.org/debian; do
		printf 'deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s %s main\n' "$from" "$suite" >"$state/sources.list"
		apt-get -q update >"$state/log" 2>&1 && return
		cat "$state/log" >&2
	done
	return 1
}
mirror=$(bash "$here/mirror.sh")
if [ "$(cat "$state/mirror" 2>/dev/null)" != "$mirror" ]; then
	settle
	printf '%s\n' "$mirror" >"$state/mirror"
fi

# behind METAPACKAGE REGEXP
behind() { apt-cache depends --important --recurse "$1" | grep -E "^$2" | grep -vx "$1" || true; }

# download fetches into $state/download; lists that are merely old are renewed.
download() {
	local names=() p found
	for p; do
		case $p in
		*:*)
			mapfile -t found < <(behind "${p%%:*}" "${p#*:}")
			[ ${#found[@]} -gt 0 ] || return 1
			names+=("${found[@]}")
			;;
		*) names+=("$p") ;;
		esac
	done
	rm -f "$state"/download/*.deb
	(cd "$state/download" && apt-get -q download "${names[@]}") >"$state/log" 2>&1
}

download "$@" || { apt-get -q update >"$state/log" 2>&1 && download "$@"; } || { cat "$state/log" >&2; exit 1; }
mkdir -p "$folder"
mv "$state"/download/*.deb "$folder/"
