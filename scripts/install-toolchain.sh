#!/bin/sh
# What compiling howdah needs beside Rust: a C compiler and its library's headers. Quiet when all is there.
set -eu
here=$(cd "$(dirname "$0")" && pwd)

command -v cargo > /dev/null || {
    echo "howdah is built with Rust 1.95 or newer and there is no cargo in PATH: install Rust from https://rustup.rs" >&2
    exit 1
}
command -v cc > /dev/null || "$here/install-packages.sh" build-essential
