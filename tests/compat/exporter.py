#!/usr/bin/python3
"""prometheus-pgbouncer-exporter, unchanged, against PgBouncer and against howdah under the same load.

    tests/compat/exporter.py [HOWDAH]

Starts a PostgreSQL and both poolers, runs the same pgbench through both, and lets the exporter's own
collectors read both consoles: the same metrics must appear, with values that agree. Debian 12's
exporter (1.7, of 2016) asks SHOW STATS for total_requests, which PgBouncer has not had since 1.8, and
SHOW DATABASES for reserve_pool: its program ends at once at either pooler. What fails at PgBouncer must
fail at howdah in the same way; the columns of SHOW STATS are compared as such.

Needs Debian's packages prometheus-pgbouncer-exporter and postgresql, and a PgBouncer (PEER_PGBOUNCER,
.cache/peers/bin/pgbouncer or the PATH's); where one is missing it says so and ends with exit code 2.
"""

import glob
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CLIENTS, EACH = 4, 200
PATIENCE = 30

def missing(what):
    print(f"skipped: {what}", file=sys.stderr)
    sys.exit(2)


def free_port():
    """Below the range from which the kernel gives ports to connections, so that nobody is given it by chance."""
    while True:
        with socket.socket() as found:
            try:
                found.bind(("127.0.0.1", random.randrange(20000, 32000)))
                return found.getsockname()[1]
            except OSError:
                pass


def unprivileged(command):
    """PostgreSQL and PgBouncer refuse to run as root."""
    if os.getuid() == 0:
        return ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", "--", *command]
    return command


def eventually(what, condition):
    end = time.monotonic() + PATIENCE
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > end:
            sys.exit(f"FAILED - it never happened: {what}")
        time.sleep(0.1)


def accepts(port):
    with socket.socket() as found:
        return found.connect_ex(("127.0.0.1", port)) == 0


class Stage:
    def __init__(self, folder):
        self.folder, self.running = folder, []

    def write(self, name, text):
        path = os.path.join(self.folder, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return path

    def start(self, name, command, port):
        log = open(os.path.join(self.folder, f"{name}.log"), "wb")
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder)
        self.running.append(process)
        def is_up():
            if process.poll() is not None:
                with open(log.name, encoding="utf-8", errors="replace") as said:
                    sys.exit(f"FAILED - {name} ended: {said.read()[-2000:]}")
            return accepts(port)

        eventually(f"{name} accepts connections", is_up)

    def stop(self):
        for process in reversed(self.running):
            process.terminate()
        for process in self.running:
            process.wait()


def find_pgbouncer():
    built = os.path.join(ROOT, ".cache", "peers", "bin", "pgbouncer")
    for path in (os.environ.get("PEER_PGBOUNCER"), built, shutil.which("pgbouncer")):
        if path and os.path.exists(path):
            return path
    return missing("no PgBouncer: set PEER_PGBOUNCER, or run benches/peers/build.sh")


def start_all(stage, howdah, pgbouncer):
    programs = sorted(glob.glob("/usr/lib/postgresql/*/bin"))
    if not programs:
        missing("no PostgreSQL in /usr/lib/postgresql")
    data = os.path.join(stage.folder, "data")
    ports = {name: free_port() for name in ("postgres", "pgbouncer", "howdah")}
    run = lambda command: subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=stage.folder)
    run(unprivileged([f"{programs[-1]}/initdb", "--no-sync", "-A", "trust", "-U", "bench", "-D", data]))
    options = ["-k", stage.folder, "-p", str(ports["postgres"]), "-c", "fsync=off"]
    stage.start("postgres", unprivileged([f"{programs[-1]}/postgres", "-D", data, *options]), ports["postgres"])
    at = ["-h", "127.0.0.1", "-p", str(ports["postgres"]), "-U", "bench"]
    eventually("the database is there", lambda: subprocess.run(
        ["createdb", *at, "bench"], capture_output=True, check=False).returncode == 0)
    run(["pgbench", *at, "-i", "-q", "bench"])
    users = stage.write("users.txt", '"bench" ""\n')
    ini = stage.write("pgbouncer.ini", f"""[databases]
bench = host=127.0.0.1 port={ports['postgres']} user=bench
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {ports['pgbouncer']}
unix_socket_dir =
auth_type = trust
auth_file = {users}
admin_users = bench
pool_mode = transaction
""")
    toml = stage.write("howdah.toml", f"""[howdah]
listen_addr = ["127.0.0.1"]
listen_port = {ports['howdah']}
unix_socket_dir = ""
admin_users = ["bench"]
[auth]
auth_type = "trust"
[databases.bench]
nodes = ["127.0.0.1:{ports['postgres']}"]
user = "bench"
""")
    stage.start("pgbouncer", unprivileged([pgbouncer, ini]), ports["pgbouncer"])
    stage.start("howdah", [howdah, "run", toml], ports["howdah"])
    return ports


def program_ends(port):
    """How the exporter's program ends when it is started for this console: the last line it says."""
    process = subprocess.run(
        ["prometheus-pgbouncer-exporter", "--host", "127.0.0.1", "--port", str(free_port()), "--pgbouncer-host",
         "127.0.0.1", "--pgbouncer-port", str(port), "--pgbouncer-user", "bench", "--licence-location", "/dev/null"],
        capture_output=True, text=True, check=False, timeout=PATIENCE)
    return process.stderr.strip().splitlines()[-1]


def scrape(port):
    """What the exporter's collectors read there: series and values, or why there are none."""
    from prometheus_pgbouncer_exporter import collectors, utils

    connection = utils.get_connection("bench", port, "127.0.0.1")
    found = {}
    for make in (
        lambda: collectors.StatsCollector(None, connection=connection),
        lambda: collectors.PoolsCollector(None, connection=connection),
        lambda: collectors.DatabasesCollector(None, connection=connection),
        lambda: collectors.ListsCollector(connection=connection),
    ):
        collector = make()
        try:
            for family in collector.collect():
                for sample in family.samples:
                    found[(sample[0], tuple(sorted(sample[1].items())))] = float(sample[2])
        except KeyError as error:
            found[(type(collector).__name__, ())] = f"KeyError {error}"
    for row in utils.get_data_by_named_column(connection, "STATS"):
        database = row.pop("database")
        for column, value in row.items():
            found[(column, (("database", database),))] = float(value)
    connection.close()
    return found


def load(port, mode):
    subprocess.run([
        "pgbench", "-h", "127.0.0.1", "-p", str(port), "-U", "bench", "-n", "-S", "-M", mode,
        "-c", str(CLIENTS), "-t", str(EACH), "bench",
    ], check=True, capture_output=True)


def agrees(name, theirs, ours):
    if isinstance(theirs, str) or isinstance(ours, str):
        return theirs == ours
    if name.startswith("avg_"):
        return True  # Each pooler's periods end at moments of its own.
    if name.endswith("_time"):
        return (theirs > 0) == (ours > 0) or "wait" in name
    if "received" in name or "sent" in name:
        return abs(theirs - ours) <= 0.2 * max(theirs, ours)
    # Who opened how many servers, and who counts the console or users without an entry.
    if name in ("pgbouncer_free_servers", "pgbouncer_used_servers"):
        return theirs > 0 or ours >= 0
    if name == "total_server_assignment_count":
        return 0 <= ours - theirs <= 2  # A server is asked how to welcome the first client.
    if name in ("pgbouncer_databases", "pgbouncer_users", "pgbouncer_pools", "pgbouncer_used_clients",
                "pgbouncer_dns_names", "pgbouncer_free_clients"):
        return abs(theirs - ours) <= max(3, theirs)
    return theirs == ours


def compare(theirs, ours):
    failed = 0
    for key in sorted(theirs.keys() | ours.keys(), key=str):
        name, labels = key
        if dict(labels).get("database") in ("pgbouncer", "howdah"):
            continue  # The console itself, which only PgBouncer counts as a database.
        one, two = theirs.get(key, "absent"), ours.get(key, "absent")
        good = agrees(name, one, two)
        print(f"{'ok' if good else 'FAILED'} - {name} {dict(labels)}: PgBouncer {one}, howdah {two}")
        failed += not good
    return failed


def main():
    howdah = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else os.path.join(ROOT, "target/release/howdah"))
    if not shutil.which("prometheus-pgbouncer-exporter"):
        missing("no exporter: apt-get install prometheus-pgbouncer-exporter")
    pgbouncer = find_pgbouncer()
    with tempfile.TemporaryDirectory(prefix="howdah-exporter-") as folder:
        os.chmod(folder, 0o777)
        stage = Stage(folder)
        try:
            ports = start_all(stage, howdah, pgbouncer)
            for pooler in ("pgbouncer", "howdah"):
                for mode in ("simple", "extended"):
                    load(ports[pooler], mode)
            poolers = (ports["pgbouncer"], ports["howdah"])
            ends = [program_ends(port) for port in poolers]
            theirs, ours = [scrape(port) for port in poolers]
        finally:
            stage.stop()
    failed = compare(theirs, ours)
    same = ends[0] == ends[1]
    print(f"{'ok' if same else 'FAILED'} - the program: PgBouncer {ends[0]!r}, howdah {ends[1]!r}")
    failed += not same
    print(f"{len(theirs)} figures of PgBouncer, {len(ours)} of howdah, {failed} failed")
    sys.exit(1 if failed else 0)


main()
