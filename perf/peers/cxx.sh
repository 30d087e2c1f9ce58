# shellcheck shell=bash
# Building a rival in C++: for the build.sh of each, which source this.

peers=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

# find_cxx sets `compiler`, an array, which is empty if there is none.
find_cxx() {
    for compiler in "${CXX:-}" clang++-{22,21,20,19,18,17,16,15,14} clang++ g++; do
        [ -n "$compiler" ] && command -v "${compiler%% *}" >/dev/null && break
        compiler=
    done
    # CXX may hold options, or a compiler cache in front.
    read -ra compiler <<<"$compiler"
}

# build_load_client OUTDIR makes OUTDIR/load_client, if there is a compiler.
build_load_client() {
    local compiler
    find_cxx
    [ ${#compiler[@]} -eq 0 ] ||
        "${compiler[@]}" -std=c++20 -O2 "$peers/../load_client.cpp" -o "$1/load_client"
}

# build_cxx NAME HEADER PACKAGE OUTDIR [FLAG...]: makes OUTDIR/NAME of NAME/*.cpp, which needs HEADER of PACKAGE.
build_cxx() {
    local name=$1 header=$2 package=$3 out=$4 here compiler
    shift 4
    here=$peers/$name
    find_cxx
    if [ ${#compiler[@]} -eq 0 ]; then
        echo "$name: no compiler for C++20 (Debian: clang, g++)" >&2
        exit 69
    fi
    if ! "${compiler[@]}" -std=c++20 -fsyntax-only -include "$header" -x c++ /dev/null 2>/dev/null; then
        echo "$name: no <$header> (Debian: $package)" >&2
        exit 69
    fi
    mkdir -p "$out"
    "${compiler[@]}" -std=c++20 -O3 -DNDEBUG -pthread -Wall -Wextra "$here"/*.cpp -o "$out/$name" "$@"
}
