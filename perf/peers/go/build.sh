#!/usr/bin/env bash
# Builds the rows in Go: build.sh OUTDIR leaves OUTDIR/go. Exit 69: something is lacking, and says what.
set -euo pipefail
# shellcheck source=SCRIPTDIR/../cxx.sh
. "$(dirname "${BASH_SOURCE[0]}")/../cxx.sh"
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
mkdir -p "$1"
out=$(cd "$1" && pwd)

lacking() {
    echo "go: $*" >&2
    exit 69
}

command -v go >/dev/null || lacking "no go (Debian: golang-go)"
libraries=/usr/share/gocode
[ -d $libraries/src/golang.org/x/sync ] || lacking "no golang.org/x/sync (Debian: golang-golang-x-sync-dev)"
[ -d $libraries/src/golang.org/x/time ] || lacking "no golang.org/x/time (Debian: golang-golang-x-time-dev)"

# Debian puts the libraries into a GOPATH; nothing is fetched.
cd "$here"
export GO111MODULE=off GOFLAGS='' GOPROXY=off GOTOOLCHAIN=local GOPATH=$libraries GOCACHE=$out/cache
go build -ldflags='-s -w' -o "$out/go" .
build_load_client "$out"
