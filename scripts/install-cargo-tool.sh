#!/bin/sh
# Installs a cargo subcommand from crates.io unless that version is there already.
#   scripts/install-cargo-tool.sh cargo-deny 0.20.2 [arguments for cargo install]
set -eu
tool=$1 version=$2
shift 2
case "$(cargo "${tool#cargo-}" --version 2>/dev/null || true)" in
    *" $version"*) exit 0 ;;
esac
echo "installing $tool $version from crates.io (a build of a few minutes, once)" >&2
cargo install --quiet --locked "$tool" --version "$version" "$@"
