#!/bin/sh
# Assembles the root file system of the image in a folder: the static binary, and the certificate
# authorities of the machine that builds it (for sslrootcert=/etc/ssl/certs/ca-certificates.crt).
#
#   contrib/image.sh FOLDER
set -eu
cd "$(dirname "$0")/.."
image=${1:?usage: contrib/image.sh FOLDER}
target=$(uname -m)-unknown-linux-musl
cargo build --release --locked --target "$target"
mkdir -p "$image/etc/ssl/certs"
cp "${CARGO_TARGET_DIR:-target}/$target/release/howdah" "$image/howdah"
strip "$image/howdah"
cp /etc/ssl/certs/ca-certificates.crt "$image/etc/ssl/certs/"
