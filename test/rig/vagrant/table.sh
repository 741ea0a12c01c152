#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Prints one machine's rows of the table kernel × suite × result, and which
# features of package bpf's tables its kernel has.
#
#   table.sh NAME LOG
#
# A package that was tested twice, without root and with, has passed when both
# have. Exit status 1 when something failed or the run did not end.
set -euo pipefail
name=$1 log=$2
[ -e "$log" ] || { printf '%-8s %-24s %-30s %s\n' "$name" none all "the machine did not come up"; exit 1; }
kernel=$(sed -n 's/^rig: kernel //p' "$log" | head -n 1)
awk -v name="$name" -v kernel="${kernel:-none}" '
	function row(suite, result) { printf "%-8s %-24s %-30s %s\n", name, kernel, suite, result }
	/^rig: connections / { connections = $3 }
	/^--- FAIL: / { failing = failing " " $3 }
	$1 == "ok" || ($1 == "FAIL" && NF > 1) {
		suite = $2
		sub(/^github.com\/phantom-ns\/phantom-ns\//, "", suite)
		if (!(suite in result)) order[++n] = suite
		if ($1 == "ok") { if (result[suite] == "") result[suite] = "ok" }
		else result[suite] = "FAILED" failing
		failing = ""
	}
	$1 == "feature" {
		has = $2 == "true" ? "found" : "missing"
		features[has] = features[has] (features[has] ? "; " : "") substr($0, index($0, $3))
	}
	/^make: \*\*\*/ { stopped = $0 }
	/^rig: tests ended with / { ended = $NF }
	END {
		for (i = 1; i <= n; i++) {
			suite = order[i]
			row(suite, result[suite] (suite == "test/redirect" && connections ? ", " connections " connections a mode" : ""))
		}
		if (features["found"]) row("features found", features["found"])
		if (features["missing"]) row("features missing", features["missing"])
		if (ended == "") row("all", "did not end")
		else row("all", ended == 0 ? "ok" : "FAILED" (stopped ? ", " stopped : ""))
		exit !(ended != "" && ended == 0)
	}' "$log"
