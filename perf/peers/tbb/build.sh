#!/usr/bin/env bash
# build.sh OUTDIR leaves OUTDIR/tbb. Exit 69: something is lacking, and says what.
set -euo pipefail
# shellcheck source=SCRIPTDIR/../cxx.sh
. "$(dirname "${BASH_SOURCE[0]}")/../cxx.sh"
build_cxx tbb oneapi/tbb/task_group.h libtbb-dev "$1" -ltbb
