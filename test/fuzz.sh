#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs every fuzz target of the tree, each for the time given (30s).
set -euo pipefail
cd "$(dirname "$0")/.."
time=${1:-30s}
git grep -l '^func Fuzz' -- '*_test.go' | while read -r file; do
	package=./$(dirname "$file")
	grep -o '^func Fuzz[A-Za-z0-9_]*' "$file" | while read -r _ target; do
		echo "$package $target"
		go test -tags netgo,osusergo -run '^$' -fuzz "^$target\$" -fuzztime "$time" "$package" </dev/null | tail -1
	done
done
