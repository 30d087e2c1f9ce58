#!/usr/bin/env bash
# Builds the rows in Tokio: build.sh OUTDIR leaves OUTDIR/tokio. Exit 69: something is lacking, and says what.
set -euo pipefail
# shellcheck source=SCRIPTDIR/../cxx.sh
. "$(dirname "${BASH_SOURCE[0]}")/../cxx.sh"
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
mkdir -p "$1"
out=$(cd "$1" && pwd)

lacking() {
    echo "tokio: $*" >&2
    exit 69
}

command -v cargo >/dev/null || lacking "no cargo (Debian: cargo)"
crates=/usr/share/cargo/registry
for crate in tokio tokio-util async-channel futures-util memchr; do
    compgen -G "$crates/$crate-[0-9]*" >/dev/null || lacking "no crate $crate (Debian: librust-$crate-dev)"
done

# Debian's crates are all that there is; nothing is fetched. The sources are copied, as cargo writes beside them.
mkdir -p "$out/source/.cargo"
cp -r "$here/Cargo.toml" "$here/src" "$out/source/"
cat >"$out/source/.cargo/config.toml" <<END_OF_CONFIG
[source.crates-io]
replace-with = "debian"

[source.debian]
directory = "$crates"
END_OF_CONFIG
cd "$out/source"
export CARGO_TARGET_DIR=$out/target
if ! cargo build --quiet --release --offline 2>"$out/build.log"; then
    cat "$out/build.log" >&2
    exit 1
fi
cp "$out/target/release/tokio-peer" "$out/tokio"
build_load_client "$out"
