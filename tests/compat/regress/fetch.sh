#!/usr/bin/env bash
# Brings PostgreSQL's regression suite into .cache/compat/regress/VERSION: sql/, data/, expected/, parallel_schedule
# and regress.so, from Debian's source package of the version that is installed.
#   tests/compat/regress/fetch.sh 15
# Nothing of the system's apt sources changes: the source packages live in a private apt configuration, checked
# against the Debian archive's keyring. Does nothing if all is there.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../../.." && pwd)
version=$1
into=$root/.cache/compat/regress/$version
work=$into.work
mirror=${DEBIAN_MIRROR:-http://deb.debian.org/debian}
security=${DEBIAN_SECURITY_MIRROR:-http://deb.debian.org/debian-security}
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

fail() { echo "tests/compat/regress/fetch.sh: $*" >&2; exit 1; }

installed=$(dpkg-query -W -f='${Version}' "postgresql-$version" 2> /dev/null) ||
    fail "postgresql-$version is not installed: run scripts/install-postgresql.sh"
if [ -f "$into/version" ] && [ "$(cat "$into/version")" = "$installed" ]; then exit 0; fi

"$root/scripts/install-packages.sh" build-essential bzip2 xz-utils
rm -rf "$into" "$work"
mkdir -p "$work/apt/state/lists/partial" "$work/apt/cache/archives/partial" "$work/apt/sources.d" "$work/headers"
release=$(. /etc/os-release && echo "$VERSION_CODENAME")
cat > "$work/apt/sources.d/debian.sources" << END
Types: deb deb-src
URIs: $mirror
Suites: $release $release-updates
Components: main
Signed-By: $keyring

Types: deb deb-src
URIs: $security
Suites: $release-security
Components: main
Signed-By: $keyring
END
cat > "$work/apt/apt.conf" << END
Dir::State "$work/apt/state";
Dir::State::status "/var/lib/dpkg/status";
Dir::Cache "$work/apt/cache";
Dir::Etc::SourceList "/dev/null";
Dir::Etc::SourceParts "$work/apt/sources.d";
APT::Sandbox::User "root";
END
export APT_CONFIG=$work/apt/apt.conf
log=$work/log
cd "$work"
apt-get -q update > "$log" 2>&1 || { cat "$log" >&2; fail "the package lists of $mirror cannot be read"; }
apt-get -q source --download-only "postgresql-$version=$installed" > "$log" 2>&1 ||
    { cat "$log" >&2; fail "the source of postgresql-$version $installed cannot be fetched"; }
# The headers alone: the package depends on a compiler of its own.
apt-get -q download "postgresql-server-dev-$version=$installed" > "$log" 2>&1 ||
    { cat "$log" >&2; fail "postgresql-server-dev-$version $installed cannot be fetched"; }
dpkg-deb -x "postgresql-server-dev-$version"_*.deb headers
tar xf "postgresql-${version}"_*.orig.tar.bz2 --wildcards --strip-components=4 '*/src/test/regress/*'
cc -shared -fPIC -O1 -I "headers/usr/include/postgresql/$version/server" -o regress.so regress.c > "$log" 2>&1 ||
    { cat "$log" >&2; fail "regress.c cannot be compiled"; }
mkdir "$into"
mv sql data expected parallel_schedule regress.so "$into/"
echo "$installed" > "$into/version"
cd /
rm -rf "$work"
