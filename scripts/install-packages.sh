#!/bin/sh
# Installs those of the named Debian packages that are missing; says nothing when none is.
#   scripts/install-packages.sh build-essential postgresql
# Without apt, or without the right to use it, prints what to install and fails.
set -eu

installed() {
    [ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

fail() { printf 'install-packages: %s\n' "$*" >&2; exit 1; }

if ! command -v apt-get > /dev/null || ! command -v dpkg-query > /dev/null; then
    fail "no apt here: install these (Debian's names) with this system's package manager: $*"
fi

missing=
for package in "$@"; do
    installed "$package" || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" = 0 ]; then
    as_root() { "$@"; }
elif command -v sudo > /dev/null && sudo -n true 2>/dev/null; then
    as_root() { sudo "$@"; }
else
    fail "missing packages:$missing. Run as root: apt-get update && apt-get install -y$missing"
fi

# apt-get's own messages are shown only if it fails.
log=$(mktemp)
trap 'rm -f "$log"' EXIT
quietly() { "$@" > "$log" 2>&1 || { cat "$log" >&2; return 1; }; }
apt_install() {
    # shellcheck disable=SC2086
    quietly as_root env DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends $missing
}

printf 'installing:%s\n' "$missing" >&2
# Installing is not starting: no package's service may come up (PostgreSQL's would hold port 5432 and memory).
if [ ! -e /usr/sbin/policy-rc.d ]; then
    printf '#!/bin/sh\nexit 101\n' | as_root tee /usr/sbin/policy-rc.d > /dev/null
    as_root chmod 755 /usr/sbin/policy-rc.d
    trap 'rm -f "$log"; as_root rm -f /usr/sbin/policy-rc.d' EXIT
fi
# Nor does a package make a cluster of its own: ours are made in temporary folders.
if [ ! -e /etc/postgresql-common/createcluster.conf ]; then
    as_root mkdir -p /etc/postgresql-common/createcluster.d
    printf 'create_main_cluster = false\n' | as_root tee /etc/postgresql-common/createcluster.d/howdah.conf > /dev/null
fi
apt_install 2>/dev/null || { quietly as_root apt-get -q update && apt_install; } ||
    fail "apt-get could not install:$missing"
