#!/usr/bin/env bash
# build.sh OUTDIR leaves OUTDIR/boost_fiber. Exit 69: something is lacking, and says what.
set -euo pipefail
# shellcheck source=SCRIPTDIR/../cxx.sh
. "$(dirname "${BASH_SOURCE[0]}")/../cxx.sh"
build_cxx boost_fiber boost/fiber/all.hpp libboost-fiber-dev "$1" -lboost_fiber -lboost_context
