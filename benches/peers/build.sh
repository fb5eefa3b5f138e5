#!/bin/sh
# Brings the benchmark's peers into .cache/peers (git-ignored): PgBouncer and Odyssey newer than this
# Debian's own, pgpool2 and haproxy from its packages. Nothing of the system's apt sources changes: the
# newer suites live in a private apt configuration, checked against the Debian archive's keyring.
#
# Newer PgBouncer and Odyssey are Debian's own builds of the pinned version, unpacked (not installed)
# together with the C library they were built for. Should the pinned PgBouncer be gone from the mirror, the
# stable release's source is built instead. A pin that can't be had is an error that names what there is.
#
# Prints nothing but the versions when all is there. The result: .cache/peers/bin/{pgbouncer,odyssey}.
set -eu

PGBOUNCER_VERSION=${PGBOUNCER_VERSION:-1.26.1}    # any Debian revision of it
PGBOUNCER_FALLBACK=${PGBOUNCER_FALLBACK:-1.24.1}  # trixie's, built from source
ODYSSEY_VERSION=${ODYSSEY_VERSION:-1.5.2}
KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg
MIRROR=${DEBIAN_MIRROR:-http://deb.debian.org/debian}
LIBRARIES="libc6 libgcc-s1 libssl3t64 libpam0g libsystemd0 libcares2 libevent-2.1-7t64 libldap2
    libsasl2-2 libaudit1 libcap-ng0 libcap2 libzstd1 zlib1g libcrypt1"

repository=$(cd "$(dirname "$0")/../.." && pwd)
cache=$repository/.cache/peers
log=$cache/build.log

fail() { printf 'benches/peers/build.sh: %s\n' "$*" >&2; exit 1; }

private_apt() { APT_CONFIG=$cache/apt/apt.conf "$@"; }

# A private apt: own lists and cache, only the suites that carry newer peers.
prepare_apt() {
    mkdir -p "$cache/apt/state/lists/partial" "$cache/apt/cache/archives/partial" "$cache/apt/sources.d"
    cat > "$cache/apt/sources.d/newer.sources" <<EOF
Types: deb deb-src
URIs: $MIRROR
Suites: trixie forky sid
Components: main
Signed-By: $KEYRING
EOF
    cat > "$cache/apt/apt.conf" <<EOF
Dir::State "$cache/apt/state";
Dir::State::status "/var/lib/dpkg/status";
Dir::Cache "$cache/apt/cache";
Dir::Etc::SourceList "/dev/null";
Dir::Etc::SourceParts "$cache/apt/sources.d";
Dir::Etc::Preferences "/dev/null";
Dir::Etc::PreferencesParts "/dev/null";
APT::Sandbox::User "root";
EOF
    private_apt apt-get -q update >> "$log" 2>&1 ||
        fail "could not read the package lists of $MIRROR; see $log"
}

# The newest full version (with its Debian revision) of package $1 whose upstream version is $2, or nothing.
revision_of() {
    private_apt apt-cache madison "$1" | awk -v want="$2" '
        { v = $3; u = v; sub(/^[0-9]+:/, "", u); sub(/-[^-]*$/, "", u); if (u == want && v > best) best = v }
        END { print best }'
}

# Unpacks the pinned build of package $1, version $2, with its libraries, into its own root.
unpack() {
    full=$(revision_of "$1" "$2")
    [ -n "$full" ] || return 1
    root=$cache/root-$1
    rm -rf "$root" "$cache/deb-$1"
    mkdir -p "$root" "$cache/deb-$1"
    # shellcheck disable=SC2086
    (cd "$cache/deb-$1" && private_apt apt-get -q download "$1=$full" $LIBRARIES) >> "$log" 2>&1 || return 1
    for package in "$cache/deb-$1"/*.deb; do dpkg-deb -x "$package" "$root"; done
    rm -rf "$cache/deb-$1"
    libraries=$(dirname "$(find "$root/usr/lib" -name 'libc.so.6' | head -n 1)")
    loader=$(find "$libraries" -name 'ld-linux*' | head -n 1)
    program=$(find "$root/usr/bin" "$root/usr/sbin" -name "$1" -type f 2>/dev/null | head -n 1)
    missing=$("$loader" --library-path "$libraries" --list "$program" | grep -v -e "$root" -e linux-vdso || true)
    [ -z "$missing" ] || fail "$1 $full needs libraries that LIBRARIES in this script lacks: $missing"
    mkdir -p "$cache/bin"
    cat > "$cache/bin/$1" <<EOF
#!/bin/sh
exec "$loader" --argv0 "$1" --library-path "$libraries" "$program" "\$@"
EOF
    chmod 755 "$cache/bin/$1"
}

# Builds the stable release's PgBouncer from Debian's source package.
build_pgbouncer() {
    full=$(private_apt apt-cache showsrc pgbouncer | awk '/^Version:/ { print $2 }' | grep "^$1-" | head -n 1)
    [ -n "$full" ] || fail "PgBouncer $PGBOUNCER_VERSION and $1 are both gone from $MIRROR, which has: $(
        private_apt apt-cache showsrc pgbouncer | awk '/^Version:/ { print $2 }' | sort -u | tr '\n' ' '
        ). Set PGBOUNCER_VERSION, or change the pin in this script."
    "$repository/scripts/install-packages.sh" build-essential pkgconf libevent-dev libssl-dev libc-ares-dev
    rm -rf "$cache/src-pgbouncer"
    mkdir -p "$cache/src-pgbouncer" "$cache/bin"
    (
        cd "$cache/src-pgbouncer"
        private_apt apt-get -q source "pgbouncer=$full"
        cd pgbouncer-*/
        eval "$(dpkg-buildflags --export=sh)"
        ./configure --prefix=/usr --with-cares
        make -j"$(nproc)" pgbouncer
        cp pgbouncer "$cache/bin/pgbouncer"
    ) >> "$log" 2>&1 || fail "PgBouncer $full did not build; see $log"
}

current() { # is binary $1 there and of version $2?
    [ -x "$cache/bin/$1" ] && "$cache/bin/$1" --version 2>/dev/null | grep -qiF "$1 $2"
}

mkdir -p "$cache"
: > "$log"
command -v apt-get > /dev/null ||
    fail "the peers come from Debian's packages and there is no apt-get here; name your own with PEER_PGBOUNCER, PEER_ODYSSEY, PEER_PGPOOL and PEER_HAPROXY"
"$repository/scripts/install-packages.sh" pgpool2 haproxy dpkg-dev debian-archive-keyring python3

if ! { current pgbouncer "$PGBOUNCER_VERSION" && current odyssey "$ODYSSEY_VERSION"; }; then
    prepare_apt
    current pgbouncer "$PGBOUNCER_VERSION" || unpack pgbouncer "$PGBOUNCER_VERSION" ||
        current pgbouncer "$PGBOUNCER_FALLBACK" || build_pgbouncer "$PGBOUNCER_FALLBACK"
    current odyssey "$ODYSSEY_VERSION" || unpack odyssey "$ODYSSEY_VERSION" ||
        fail "Odyssey $ODYSSEY_VERSION is not to be had from $MIRROR, which has: $(
            private_apt apt-cache madison odyssey | awk '{ print $3 }' | sort -u | tr '\n' ' '
            ). Set ODYSSEY_VERSION, or change the pin in this script; details in $log"
fi
"$cache/bin/pgbouncer" --version | head -n 1
"$cache/bin/odyssey" --version 2>&1 | head -n 1
