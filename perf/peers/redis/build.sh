#!/usr/bin/env bash
# build.sh OUTDIR leaves OUTDIR/redis. Exit 69: something is lacking, and says what.
set -euo pipefail
# shellcheck source=SCRIPTDIR/../cxx.sh
. "$(dirname "${BASH_SOURCE[0]}")/../cxx.sh"
if ! command -v redis-server >/dev/null; then
    echo "redis: no redis-server (Debian: redis-server)" >&2
    exit 69
fi
build_cxx redis thread libstdc++-12-dev "$1"
build_load_client "$1"
