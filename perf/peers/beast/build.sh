#!/usr/bin/env bash
# build.sh OUTDIR leaves OUTDIR/beast. Exit 69: something is lacking, and says what.
set -euo pipefail
# shellcheck source=SCRIPTDIR/../cxx.sh
. "$(dirname "${BASH_SOURCE[0]}")/../cxx.sh"
build_cxx beast boost/beast/http.hpp libboost-dev "$1"
build_load_client "$1"
