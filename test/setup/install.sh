#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Installs what the tests and the demo need, on Debian and Ubuntu.
#
#   install.sh GROUP...
#
#     demo       what the demo's agent runs
#     clients    the programs of test/clients, some from PyPI and npm
#     agents     the agents of test/agents, from npm and PyPI: 2 GB
#     browser    Chromium, for test/agents
#     bpf        the pinned clang that rebuilds the BPF objects
#     keyring    a Secret Service, pass with gpg, gh, strace
#     bench      what the figures are compared with
#     http       the programs of test/http: Python clients, Node, h2spec
#     rig        Vagrant, libvirt and QEMU for the other kernels
#     kernel     QEMU alone, for a quick run on another kernel
#     cni        plugins of others, for chains in test/cni
#     systemd    what looks at the units and starts the daemon in test/node
#     containers podman, containerd, Docker, runc and crun, none of which is
#                started, and a JDK
#
# Run as root. Silent when there is nothing to do, which takes well under a
# second; idempotent; the package lists are refreshed only when a package is
# not in them. What does not come from Debian goes to /var/cache/phantom-ns-test:
# the source tree may lie where only root can read, and the clients run as
# another user, with a /tmp and /var/tmp of their own.
set -euo pipefail
umask 022
# A program counts only where every user finds it; Go is the caller's.
caller=$PATH
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH DEBIAN_FRONTEND=noninteractive

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=/var/cache/phantom-ns-test

say() { printf 'setup: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }
has() { command -v "$1" >/dev/null; }

packages=()

# need PACKAGE: unless dpkg has it.
need() {
	local state
	state=$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null) || state=none
	[ "$state" = installed ] || packages+=("$1")
}

# need_for COMMAND PACKAGE...: unless the command is there from elsewhere.
need_for() {
	local command=$1
	shift
	has "$command" || packages+=("$@")
}

# known: apt's lists have every package that is wanted.
known() {
	local p
	for p in "${packages[@]}"; do
		[ -n "$(apt-cache madison "$p" 2>/dev/null)" ] || return 1
	done
}

apt_get() {
	local log
	log=$(mktemp)
	if ! apt-get -q -y -o Dpkg::Use-Pty=0 "$@" >"$log" 2>&1 </dev/null; then
		cat "$log" >&2
		rm -f "$log"
		return 1
	fi
	rm -f "$log"
}

install_packages() {
	[ ${#packages[@]} -gt 0 ] || return 0
	has apt-get || die "install these by hand: ${packages[*]} (this is not Debian or Ubuntu)"
	say "installing ${packages[*]}"
	known || apt_get update || die "apt-get update failed"
	# Lists that are merely old name files that are gone: refresh, try again.
	apt_get install --no-install-recommends "${packages[@]}" 2>/dev/null && return
	apt_get update || die "apt-get update failed"
	apt_get install --no-install-recommends "${packages[@]}" || explain
}

explain() {
	case " ${packages[*]} " in
	*" clang-19 "*) say "clang-19 is in Debian 12 and later and in Ubuntu 24.04 (universe) and later; older releases cannot rebuild the BPF objects" ;;
	esac
	die "apt-get could not install ${packages[*]}"
}

group_rig() {
	local p
	group_kernel
	for p in vagrant vagrant-libvirt libvirt-daemon-system libvirt-daemon-driver-qemu libvirt-clients \
		qemu-utils dnsmasq-base mmdebstrap e2fsprogs openssh-client iproute2 rsync iptables; do
		need "$p"
	done
}
group_kernel() {
	local p
	for p in qemu-system-x86 debian-archive-keyring ca-certificates curl gcc libc6-dev xz-utils util-linux; do
		need "$p"
	done
}
group_bench() { need_for bwrap bubblewrap; }
group_demo() {
	need ca-certificates
	need_for curl curl
	need_for python3 python3
}
group_bpf() {
	need clang-19
	need llvm-19
	need libbpf-dev
}
group_keyring() {
	need dbus
	need gnome-keyring
	need libsecret-tools
	need sudo
	need pass
	need gnupg
	need_for gh gh
	need_for strace strace
}
group_clients() {
	need ca-certificates
	need git
	need git-lfs
	need_for gh gh
	need_for curl curl
	need_for openssl openssl
	need awscli # tests call /usr/bin/aws
	need_for gh gh
	need_for bindfs bindfs
	need_for iodine iodine
	need_for ifconfig net-tools # iodine calls it
	need_for node nodejs
	need_for npm npm
	need_for javac default-jdk-headless
	need python3
	need python3-venv
	if ! compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null; then
		# The tests start one of their own: the package is not to make a
		# database for the machine.
		[ "$(id -u)" -ne 0 ] || mkdir -p /etc/postgresql-common
		[ "$(id -u)" -ne 0 ] || [ -e /etc/postgresql-common/createcluster.conf ] ||
			echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.conf
		need postgresql
	fi
}
group_browser() {
	need_for chromium chromium
	need_for certutil libnss3-tools
}
group_agents() {
	need ca-certificates
	need git
	need sudo
	need tmux
	need_for node nodejs
	need_for npm npm
	need python3
	need python3-venv
}

# pinned GROUP installs what requirements.txt and package.json of GROUP's folder
# pin, again when a pin or an interpreter changed.
pinned() {
	local from=$here/$1 dir=$cache/$1 stamp
	stamp=$({ cat "$from"/{requirements.txt,package.json,package-lock.json}; /usr/bin/python3 -V; node -v; } | sha256sum)
	mkdir -p "$cache"
	exec 9>"$cache/.lock"
	flock 9
	[ "$(cat "$dir/.stamp" 2>/dev/null)" = "$stamp" ] && return
	say "installing the pinned $1 into $dir"
	rm -rf "$dir"
	mkdir -p "$dir/node"
	/usr/bin/python3 -m venv "$dir/venv"
	"$dir/venv/bin/pip" install -q --disable-pip-version-check --no-cache-dir -r "$from/requirements.txt"
	cp "$from"/{package.json,package-lock.json,.npmrc} "$dir/node/"
	# Not npm ci: it refuses a lock file in which npm itself left out the
	# packages of other systems.
	(cd "$dir/node" && npm install --no-save --silent --no-audit --no-fund --ignore-scripts)
	[ -z "$(type -t "finish_$1")" ] || "finish_$1" "$dir/node"
	chmod -R a+rX "$dir"
	printf '%s\n' "$stamp" >"$dir/.stamp"
}

# need_node VERSION GROUP
need_node() {
	[ "$(node -p 'process.versions.node.split(".")[0]')" -ge "$1" ] || die "node is $(node -v); the $2 need $1 or later"
}

after_clients() {
	need_node 18 clients
	pinned clients
}

after_agents() {
	need_node 20 agents
	pinned agents
}

# finish_agents DIR: the installers of two packages put a program of another
# package, which is there already, in the place of their own launcher.
finish_agents() {
	(cd "$1" && npm rebuild --silent @anthropic-ai/claude-code opencode-ai)
	rm -rf "$1"/node_modules/opencode-linux-*-baseline
}

group_cni() { need containernetworking-plugins; }

group_systemd() { need_for systemd-socket-activate systemd; }

# The tests start the daemons themselves, in namespaces of their own. Whoever
# has them already keeps them as they are.
group_containers() {
	local p unit
	for p in podman containerd docker.io runc crun conmon containernetworking-plugins \
		busybox-static mmdebstrap iproute2 util-linux; do
		need "$p"
	done
	need_for javac default-jdk-headless
	[ "$(id -u)" -eq 0 ] || return 0
	for unit in containerd.service docker.service docker.socket podman.service podman.socket \
		podman-restart.service podman-auto-update.service podman-auto-update.timer; do
		[ -e "/lib/systemd/system/$unit" ] || [ -e "/etc/systemd/system/$unit" ] || mask "$unit"
	done
}

# after_containers makes the image that every runtime is given: Debian with
# curl, Node and Python, under the name of one on the registry that has them,
# too, so that what the guide says is what the tests run.
image=docker.io/library/node:22

after_containers() {
	local dir=$cache/containers stamp
	stamp=$({ echo "$image"; declare -f after_containers; } | sha256sum)
	mkdir -p "$cache"
	exec 9>"$cache/.lock"
	flock 9
	[ "$(cat "$dir/.stamp" 2>/dev/null)" = "$stamp" ] && return
	say "building the image of the containers' tests in $dir"
	rm -rf "$dir"
	mkdir -p "$dir"
	mmdebstrap --quiet --variant=essential --mode=root \
		--dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
		--dpkgopt='path-exclude=/usr/share/locale/*' \
		--include=ca-certificates,curl,nodejs,python3-minimal,libpython3-stdlib,iproute2 \
		"$(. /etc/os-release && echo "$VERSION_CODENAME")" "$dir/rootfs.tar"
	# Its store and its state go again: only the archive stays.
	local podman=(podman --root "$dir/store" --runroot "$dir/run" --tmpdir "$dir/run/tmp" --storage-driver vfs)
	"${podman[@]}" import --quiet --change CMD=/bin/bash "$dir/rootfs.tar" "$image" >/dev/null
	"${podman[@]}" save --quiet --format docker-archive -o "$dir/image.tar" "$image"
	rm -rf "$dir/store" "$dir/run" "$dir/rootfs.tar"
	printf '%s\n' "$stamp" >"$dir/.stamp"
}

# mask UNIT, which is not installed yet: its package then neither enables nor
# starts it.
mask() {
	mkdir -p /etc/systemd/system
	ln -s /dev/null "/etc/systemd/system/$1"
}

group_http() {
	need ca-certificates
	need_for curl curl
	need_for node nodejs
	need python3
	need python3-venv
}

# h2spec is pinned by its version, and so by the checksum database.
h2spec=github.com/summerwind/h2spec/cmd/h2spec@v2.2.1+incompatible

after_http() {
	local dir=$cache/http stamp
	stamp=$({ cat "$here/http/requirements.txt"; echo "$h2spec"; /usr/bin/python3 -V; } | sha256sum)
	mkdir -p "$cache"
	exec 9>"$cache/.lock"
	flock 9
	[ "$(cat "$dir/.stamp" 2>/dev/null)" = "$stamp" ] && return
	say "installing h2spec and the pinned Python clients into $dir"
	rm -rf "$dir"
	mkdir -p "$dir"
	/usr/bin/python3 -m venv "$dir/venv"
	"$dir/venv/bin/pip" install -q --disable-pip-version-check --no-cache-dir -r "$here/http/requirements.txt"
	# Outside the module: it is no dependency of ours.
	(cd "$dir" && PATH=$caller GOBIN=$dir GOFLAGS='' CGO_ENABLED=0 go install -trimpath "$h2spec")
	chmod -R a+rX "$dir"
	printf '%s\n' "$stamp" >"$dir/.stamp"
}

[ $# -gt 0 ] || die "usage: install.sh GROUP... (demo clients agents browser bpf keyring bench http rig kernel cni systemd containers)"
for group; do
	case $group in
	demo | clients | agents | browser | bpf | keyring | bench | http | rig | kernel | cni | systemd | containers) "group_$group" ;;
	*) die "no such group: $group" ;;
	esac
done
if [ ${#packages[@]} -gt 0 ] && [ "$(id -u)" -ne 0 ]; then
	die "run this as root: it installs ${packages[*]}"
fi
install_packages
for group; do
	[ -z "$(type -t "after_$group")" ] || "after_$group"
done
