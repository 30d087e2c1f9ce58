# shellcheck shell=bash
# Getting what a build needs: for ./dev and .ci/run, which source this.

say() { printf '%s\n' "$*" >&2; }
die() {
    say "error: $*"
    exit 1
}
have() { command -v "$1" >/dev/null 2>&1; }

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    else
        sudo "$@"
    fi
}

can_install() { have apt-get && { [ "$(id -u)" -eq 0 ] || have sudo; }; }

# Runs a command whose output matters only if it fails.
quietly() {
    local log status=0
    log=$(mktemp)
    "$@" </dev/null >"$log" 2>&1 || status=$?
    [ $status -eq 0 ] || cat "$log" >&2
    rm -f "$log"
    return $status
}

# The package lists are fetched once, and only if something has to be installed.
refresh_packages() {
    [ -z "${packages_are_fresh:-}" ] || return 0
    packages_are_fresh=1
    say "looking up packages"
    quietly as_root apt-get -q update || true
}

is_installable() {
    local policy
    policy=$(apt-cache policy "$1" 2>/dev/null)
    [[ $policy == *'Candidate: '[!\(]* ]]
}

try_install() {
    refresh_packages
    say "installing $*"
    quietly as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends install "$@"
}

install_packages() {
    if ! can_install; then
        die "missing: $*
These are Debian's names for the packages. Please install them, or what they are called on this system."
    fi
    try_install "$@" || die "could not install $*"
}

# The package that holds a compiler: clang-19 for clang++-19.
package_of() {
    case $1 in
    clang++*) echo "clang${1#clang++}" ;;
    *) echo "$1" ;;
    esac
}

compiler_works() { "$1" -std=c++20 -fsyntax-only -x c++ - <<<'#include <coroutine>' >/dev/null 2>&1; }
has_header() { "$1" -std=c++20 -fsyntax-only -x c++ - <<<"#include <$2>" >/dev/null 2>&1; }

# The newest clang that can be had, else g++. Debian 12 offers clang up to 19; a newer one that is there
# already is welcome.
newest_compiler() {
    local v may_install=
    if can_install; then
        may_install=1
        # A fresh container has no package lists at all.
        is_installable g++ || refresh_packages
    fi
    for v in 22 21 20 19 18 17 16 15 14; do
        if compiler_works "clang++-$v"; then
            echo "clang++-$v"
            return
        fi
        if [ "$may_install" ] && [ $v -le 19 ] && is_installable "clang-$v"; then
            if try_install "clang-$v"; then
                echo "clang++-$v"
                return
            fi
            may_install=
        fi
    done
    if compiler_works clang++; then
        echo clang++
    else
        echo g++
    fi
}

# install_tools PROGRAM PACKAGE...: in pairs, those that are not there; it is no failure if they can not be had.
install_tools() {
    local missing=()
    while [ $# -gt 1 ]; do
        have "$1" || missing+=("$2")
        shift 2
    done
    [ ${#missing[@]} -eq 0 ] || ! can_install || try_install "${missing[@]}" || true
}

# Installs what a build with the given compiler needs and is not there.
install_what_builds_need() {
    local compiler=$1 missing=()
    have meson || missing+=(meson)
    have ninja || missing+=(ninja-build)
    have pkg-config || missing+=(pkg-config)
    have python3 || missing+=(python3)
    have "$compiler" || missing+=("$(package_of "$compiler")")
    if ! have "$compiler" || ! has_header "$compiler" asio/version.hpp; then
        missing+=(libasio-dev)
    fi
    if ! have "$compiler" || ! has_header "$compiler" doctest/doctest.h; then
        missing+=(doctest-dev)
    fi
    if ! have "$compiler" || ! has_header "$compiler" openssl/evp.h; then
        missing+=(libssl-dev)
    fi
    if ! have "$compiler" || ! has_header "$compiler" boost/beast/http/basic_parser.hpp; then
        missing+=(libboost-dev)
    fi
    # What the tests of the samples talk to them with.
    have redis-cli || missing+=(redis-tools)
    have curl || missing+=(curl)
    if ! have "$compiler" || ! has_header "$compiler" zlib.h; then
        missing+=(zlib1g-dev)
    fi
    [ ${#missing[@]} -eq 0 ] || install_packages "${missing[@]}"
    # Some tests are skipped without these.
    install_tools wrk wrk nc netcat-openbsd openssl openssl
}
