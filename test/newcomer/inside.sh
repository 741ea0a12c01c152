#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Makes the directory given the root of this mount namespace, and lets the new
# user type. In namespaces of its own: newcomer.sh.
set -euo pipefail
new=$1
ip link set lo up
mount --make-rprivate /
mount --bind "$new" "$new"
mount --bind "$GOROOT" "$new/usr/local/go"
mount --bind "$MODULES" "$new/srv/modules"
mount -t proc proc "$new/proc"
mount --rbind /sys "$new/sys"
mount --rbind /dev "$new/dev"
mount -t tmpfs -o mode=755 run "$new/run"
mkdir "$new/old"
cd "$new"
pivot_root . old
umount -l /old
rmdir /old
export PATH=/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/bin

useradd -m -s /bin/bash -G sudo ann
echo 'ann:correct horse' | chpasswd
install -o ann -g ann -d /home/ann/project
install -D -m 755 /srv/newcomer/claude /home/ann/.local/bin/claude
printf 'export PATH=$HOME/.local/bin:/usr/local/go/bin:$PATH GOPROXY=file:///srv/modules GOFLAGS=-modcacherw GOSUMDB=off\nPS1="READY "\n' >/home/ann/.bashrc
git config --system url.file:///srv/phantom-ns.git.insteadOf https://github.com/phantom-ns/phantom-ns
git config --system safe.directory '*'

echo "127.0.0.1 localhost $(hostname)" >/etc/hosts

install -d /etc/phantom-ns
random=$(head -c 4096 /dev/urandom | tr -dc A-Za-z0-9)
key=sk-ant-api03-${random:0:95}
exec 3< <(exec /srv/newcomer/standin "$key" /etc/phantom-ns)
standin=$!
read -r -u 3 # it says that it listens
python3 /srv/newcomer/type.py /srv/newcomer/README.md "$key"
kill "$standin"
