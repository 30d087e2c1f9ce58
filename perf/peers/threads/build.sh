#!/usr/bin/env bash
# build.sh OUTDIR leaves OUTDIR/threads. Exit 69: something is lacking, and says what.
set -euo pipefail
# shellcheck source=SCRIPTDIR/../cxx.sh
. "$(dirname "${BASH_SOURCE[0]}")/../cxx.sh"
build_cxx threads thread libstdc++-12-dev "$1"
