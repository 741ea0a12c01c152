# SPDX-License-Identifier: Apache-2.0
#
# The curl client of test/http: curl.sh HOST VARIABLE. Prints one
# line for each call: status, version, length and hash of the body.
host=$1
eval "key=\$$2"
shift $#
dir=$(mktemp -d) && cd "$dir" || exit 1
seq 1 1000000 | head -c 5242880 >upload

call() {
	name=$1
	shift
	: >body
	facts=$(curl -sS -m 60 -H "Authorization: Bearer $key" -o body -w '%{http_code} %{http_version} %{num_redirects} %{redirect_url}' "$@" 2>&1)
	echo "curl $name: $facts $? $(wc -c <body) $(sha256sum <body)"
}

for version in --http1.1 --http2; do
	set -- "$version" "$@"
	call get "$@" "https://$host/echo"
	call target "$@" --path-as-is "https://$host/echo/a%2Fb/../c;d?x=+%20&y;z=%zz"
	call post "$@" -d hello=world "https://$host/echo"
	call json "$@" --json '{"a": "b"}' "https://$host/echo"
	call form "$@" -H 'Content-Type: multipart/form-data; boundary=x' --data-binary @upload "https://$host/echo"
	call upload "$@" -T upload "https://$host/echo"
	call 'chunked upload' "$@" -T - "https://$host/echo" <upload
	call delete "$@" -X DELETE "https://$host/echo"
	call options "$@" -X OPTIONS "https://$host/echo"
	call 204 "$@" "https://$host/204"
	call 304 "$@" -H 'If-None-Match: "x"' "https://$host/304"
	call 404 "$@" "https://$host/nothing"
	call 503 "$@" "https://$host/503"
	call redirect "$@" "https://$host/redirect"
	call 'redirect followed' "$@" -L "https://$host/redirect"
	call 'post redirected' "$@" -L -d a=b "https://$host/redirect"
	call large "$@" "https://$host/large"
	call stream "$@" -N "https://$host/stream"
	call gzip "$@" --compressed "https://$host/gzip"
	call two "$@" "https://$host/echo/1" -o second "https://$host/echo/2"
	call early "$@" -d hello "https://$host/early"
	facts=$(curl -sS -m 60 -H "Authorization: Bearer $key" "$@" -I -o heads -w '%{http_code} %{http_version} %{size_download}' "https://$host/large" 2>&1)
	echo "curl head: $facts $?"
	shift
done
