#!/usr/bin/env bash
# TLS on both sides: clients that ask for it and check howdah's certificate, howdah that checks PostgreSQL's.
# Certificates are made by stage.sh. The howdah of the other drivers is used for the clients' side; the servers'
# side starts one of its own for each mode. Started by run.sh.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
work=$(mktemp -d)
howdah_pid=
stop() { if [ -n "$howdah_pid" ]; then kill "$howdah_pid" 2> /dev/null || true; wait "$howdah_pid" 2> /dev/null || true; howdah_pid=; fi; }
trap 'stop; rm -rf "$work"' EXIT
fail() { echo "FAILED - $*"; exit 1; }
tls=$COMPAT_STAGE/tls

start() { # start SERVER-SSLMODE CA-FILE CLIENT-SSLMODE NODE: a howdah of our own
    stop
    local port wait
    port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    sed -e "s|^listen_port = .*|listen_port = $port|" -e "s|$COMPAT_STAGE/howdah\"|$work\"|" \
        -e "/^\[tls.client\]/,/^\[/s|^sslmode = .*|sslmode = \"$3\"|" \
        -e "/^\[tls.server\]/,/^\[/s|^sslmode = .*|sslmode = \"$1\"|" -e "s|^ca_file = .*|ca_file = \"$2\"|" \
        -e "s|127.0.0.1:$COMPAT_DIRECT_PORT|$4:$COMPAT_DIRECT_PORT|" "$COMPAT_STAGE/howdah/howdah.toml" > "$work/howdah.toml"
    cp "$COMPAT_STAGE/howdah/userlist.txt" "$work/"
    "$COMPAT_HOWDAH" run "$work/howdah.toml" 2> "$work/log" &
    howdah_pid=$!
    for wait in $(seq 100); do
        if pg_isready -q -h "$work" -p "$port"; then export PGPORT=$port; return 0; fi
        kill -0 "$howdah_pid" 2> /dev/null || break
        read -r -t 0.1 <> <(:) || true
    done
    cat "$work/log"
    fail "howdah did not start"
}

query() { # query WANTED NAME [VARIABLE=VALUE…]: psql's answer, or part of its complaint
    local want=$1 name=$2 got
    shift 2
    got=$(env "$@" psql -X -A -t -c "SELECT 'in'" 2>&1) || true
    case $got in
    *"$want"*) echo "ok - $name" ;;
    *) fail "$name: expected: $want, got: $got" ;;
    esac
}

"$COMPAT_CACHE/venv/bin/python" -B "$here/../python/psycopg_tls.py"
query in "howdah allows TLS: verify-full" PGSSLMODE=verify-full PGSSLROOTCERT="$tls/ca.crt"
query "certificate verify failed" "another authority's certificate" PGSSLMODE=verify-full PGSSLROOTCERT="$tls/stranger.crt"
query 'does not match host name "127.0.0.2"' "a certificate for another host" \
    PGSSLMODE=verify-full PGSSLROOTCERT="$tls/ca.crt" PGHOST=127.0.0.2 PGHOSTADDR=127.0.0.1
query in "howdah allows clients without TLS" PGSSLMODE=disable
query in "TLS 1.2" PGSSLMODE=require PGSSLMAXPROTOCOLVERSION=TLSv1.2

in_tls() { # does PostgreSQL see howdah's connections in TLS?
    psql -X -A -t -c 'SELECT ssl, version FROM pg_stat_ssl WHERE pid = pg_backend_pid()'
}
same() { [ "$2" = "$3" ] || fail "$1: expected: $2, got: $3"; echo "ok - $1"; }

start prefer "$tls/ca.crt" require 127.0.0.1
query in "howdah requires TLS: a client with it" PGSSLMODE=require
query "SSL connection is required" "howdah requires TLS: a client without it" PGSSLMODE=disable
start prefer "$tls/ca.crt" disable 127.0.0.1
query "server does not support SSL" "howdah without TLS: a client that requires it" PGSSLMODE=require
query in "howdah without TLS: a client that prefers it" PGSSLMODE=prefer

if [ "$COMPAT_VERSION" = 15 ]; then
    for mode in require verify-ca verify-full; do
        start "$mode" "$tls/ca.crt" allow 127.0.0.1
        same "to PostgreSQL: $mode" "t|TLSv1.3" "$(in_tls)"
    done
    start verify-full "$tls/ca.crt" allow localhost
    same "to PostgreSQL: verify-full by name" "t|TLSv1.3" "$(in_tls)"
    start disable "$tls/ca.crt" allow 127.0.0.1
    same "to PostgreSQL: disable" "f|" "$(in_tls)"
    start verify-full "$tls/stranger.crt" allow 127.0.0.1
    query "FATAL" "to PostgreSQL: another authority's certificate is refused"
    grep -qi certificate "$work/log" || { cat "$work/log"; fail "howdah's log does not name the certificate"; }
    start verify-full "$tls/ca.crt" allow 127.0.0.2
    query "FATAL" "to PostgreSQL: a certificate for another host is refused"
    start verify-ca "$tls/ca.crt" allow 127.0.0.1
    query in "to PostgreSQL: a right one at once after that"
else
    for mode in prefer allow disable; do
        start "$mode" "$tls/ca.crt" allow 127.0.0.1
        query in "to a PostgreSQL without TLS: $mode"
    done
    for mode in require verify-full; do
        start "$mode" "$tls/ca.crt" allow 127.0.0.1
        query "FATAL" "to a PostgreSQL without TLS: $mode is refused"
    done
fi
