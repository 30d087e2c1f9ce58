#!/usr/bin/env bash
# build.sh OUTDIR leaves OUTDIR/asio. Exit 69: something is lacking, and says what.
set -euo pipefail
# shellcheck source=SCRIPTDIR/../cxx.sh
. "$(dirname "${BASH_SOURCE[0]}")/../cxx.sh"
# Asio 1.22 does not see by itself that clang has coroutines.
build_cxx asio asio.hpp libasio-dev "$1" -DASIO_HAS_CO_AWAIT=1 -DASIO_HAS_STD_COROUTINE=1 -DASIO_NO_DEPRECATED
build_load_client "$1"
