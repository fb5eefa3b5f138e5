#!/usr/bin/env python3
"""How many transactions end with a check: a question that howdah asks the server before it gives it back.

    HOWDAH_BIN=target/release/howdah benches/checks.py [--requests 4000] [--texts]

Each load runs twice on one PostgreSQL: directly, and through howdah in transaction mode. pg_stat_statements says what
PostgreSQL was asked. What it was asked only behind howdah is howdah's own; what is among that is told apart by its text
(CLASSES), so the figures need nothing from howdah and can be had of any binary. A load's transactions are those of its
direct run. The programs of benches/checks run in a venv with the versions of checks/requirements.txt.
"""
import argparse, os, re, shutil, subprocess, sys, tempfile, time

import cluster

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
VENV = os.path.join(ROOT, ".cache", "bench", "checks")
CLIENTS, POOL, SHOP_POOL = 32, 16, 4
SETTINGS = """
shared_preload_libraries = 'pg_stat_statements'
pg_stat_statements.max = 10000
pg_stat_statements.track = top
"""
CONFIG = """
[howdah]
listen_addr = ["127.0.0.1"]
listen_port = {port}
unix_socket_dir = ""
[pool]
pool_mode = "transaction"
default_pool_size = {pool}
[auth]
auth_type = "trust"
[tls.server]
sslmode = "disable"
[databases."*"]
nodes = ["127.0.0.1:{server}"]
"""
# The first whose pattern is found in a text of howdah's own names it.
CLASSES = (
    ("alignments", r"^(SELECT (pg_catalog\.)?set_config|SET |RESET )"),
    ("clean-ups", r"^(DISCARD|DEALLOCATE|CLOSE|UNLISTEN|ROLLBACK|ABORT)"),
    ("checks", r"pg_settings|pg_locks|current_setting"),
    ("catalog", r"pg_proc|pg_depend|pg_trigger|pg_rewrite|pg_policy"),
)
NAMES = [name for name, _ in CLASSES] + ["others"]


class Bench:
    def __init__(self, base, howdah, requests):
        self.base, self.howdah, self.requests = base, howdah, requests
        self.cluster = cluster.Cluster(base, SETTINGS)
        self.cluster.sql("CREATE EXTENSION pg_stat_statements")

    def environment(self, port, database):
        return dict(os.environ, PGHOST="127.0.0.1", PGPORT=str(port), PGUSER="postgres", PGDATABASE=database, PGSSLMODE="disable")

    def start_howdah(self, pool):
        port = cluster.free_port()
        file = os.path.join(self.base, "howdah.toml")
        with open(file, "w") as out:
            out.write(CONFIG.format(port=port, pool=pool, server=self.cluster.port))
        log = open(os.path.join(self.base, "howdah.log"), "a")
        process = subprocess.Popen([self.howdah, "run", file], stdout=log, stderr=log)
        end = time.monotonic() + 20
        ready = [f"{self.cluster.bin}/pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port), "-U", "postgres"]
        while subprocess.run(ready).returncode:
            if process.poll() is not None or time.monotonic() > end:
                raise SystemExit(f"howdah did not start: {open(log.name).read()[-600:]}")
            time.sleep(0.05)
        return process, port

    def counted(self, database, run):
        """Runs; gives the calls of each text, and the transactions."""
        self.cluster.sql("SELECT pg_stat_statements_reset()")
        before = self.transactions(database)
        run()
        self.everybody_has_left(database)
        # chr(31) cannot be in a text.
        rows = self.cluster.sql(
            "SELECT calls || chr(31) || regexp_replace(query, '\\s+', ' ', 'g') FROM pg_stat_statements s "
            f"JOIN pg_database d ON d.oid = dbid AND datname = '{database}'")
        calls = {}
        for line in filter(None, rows.split("\n")):
            count, text = line.split("\x1f")
            calls[text] = calls.get(text, 0) + int(count)
        return calls, self.transactions(database) - before

    def transactions(self, database):
        self.everybody_has_left(database)
        return int(self.cluster.sql(f"SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = '{database}'"))

    def everybody_has_left(self, database):
        """Backends report what they did at the latest when they end. Our own questions are asked elsewhere."""
        end = time.monotonic() + 30
        here = f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{database}' AND backend_type = 'client backend'"
        while int(self.cluster.sql(here)):
            if time.monotonic() > end:
                raise SystemExit(f"clients of {database} do not leave")
            time.sleep(0.05)

    def load(self, name, database, pool, command):
        """One load, directly and through howdah: (transactions, calls of howdah's own questions by text)."""
        def run(port):
            done = subprocess.run(command, env=self.environment(port, database), capture_output=True, text=True, cwd=HERE)
            if done.returncode or "aborted" in done.stderr:
                raise SystemExit(f"{name} failed: {(done.stderr or done.stdout)[-1500:]}")

        def run_through():
            process, port = self.start_howdah(pool)
            try:
                run(port)
            finally:
                process.terminate()
                process.wait(30)

        direct, transactions = self.counted(database, lambda: run(self.cluster.port))
        through, _ = self.counted(database, run_through)
        return transactions, {text: calls for text, calls in through.items() if text not in direct}


def class_of(text):
    return next((name for name, pattern in CLASSES if re.search(pattern, text)), "others")


def install():
    """The venv, made anew when requirements.txt has changed."""
    wanted, stamp = os.path.join(HERE, "checks", "requirements.txt"), os.path.join(VENV, "stamp")
    if not os.path.exists(stamp) or open(stamp).read() != open(wanted).read():
        shutil.rmtree(VENV, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", VENV], check=True)
        pip = [os.path.join(VENV, "bin", "pip"), "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
        subprocess.run([*pip, "-r", wanted], check=True)
        shutil.copy(wanted, stamp)
    return os.path.join(VENV, "bin", "python")


def loads(bench, python):
    """(name, database, pool, command) of each load; makes their databases."""
    count = str(max(1, bench.requests // CLIENTS))
    pgbench = [f"{bench.cluster.bin}/pgbench", "-n", "-c", str(CLIENTS), "-t", count, "--random-seed=1"]
    read, write = ["-S", "-j", "2"], ["-j", str(CLIENTS)]
    found = [(f"pgbench {name} -M {mode}", "bench", POOL, [*pgbench, *arguments, "-M", mode])
             for name, arguments in (("-S", read), ("tpcb", write)) for mode in ("simple", "extended", "prepared")]
    bench.cluster.sql("CREATE DATABASE bench")
    bench.cluster.run("pgbench", "-i", "-q", "-s", "10", "-h", "127.0.0.1", "-p", str(bench.cluster.port), "-U", "postgres", "bench")
    for name in ("django", "sqlalchemy"):
        program = [python, "-B", os.path.join(HERE, "checks", f"{name}_shop.py")]
        bench.cluster.sql(f"CREATE DATABASE {name}")
        subprocess.run([*program, "setup"], env=bench.environment(bench.cluster.port, name), check=True)
        found.append((name.capitalize(), name, SHOP_POOL, [*program, "run", str(bench.requests)]))
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=4000, help="of each load")
    parser.add_argument("--only", default="", help="loads whose name has this")
    parser.add_argument("--texts", action="store_true", help="print howdah's own questions too")
    options = parser.parse_args()
    howdah = os.path.abspath(os.environ.get("HOWDAH_BIN") or os.path.join(ROOT, "target", "release", "howdah"))
    if not os.access(howdah, os.X_OK):
        raise SystemExit(f"no howdah at {howdah}: build it, or name it in HOWDAH_BIN")
    python = install()
    base = tempfile.mkdtemp(prefix="howdah-checks-")
    os.chmod(base, 0o755)
    bench = Bench(base, howdah, options.requests)
    try:
        print(f"{'load':26}{'transactions':>13}{'checks':>9}{'share':>8}" + "".join(f"{n:>12}" for n in NAMES if n != "checks"))
        for name, database, pool, command in loads(bench, python):
            if options.only.lower() not in name.lower():
                continue
            transactions, own = bench.load(name, database, pool, command)
            sums = {one: sum(calls for text, calls in own.items() if class_of(text) == one) for one in NAMES}
            print(f"{name:26}{transactions:>13}{sums['checks']:>9}{sums['checks'] / transactions:>8.1%}"
                  + "".join(f"{sums[n]:>12}" for n in NAMES if n != "checks"), flush=True)
            for text, calls in sorted(own.items(), key=lambda item: -item[1]):
                if options.texts or class_of(text) == "others":
                    print(f"    {calls:>7} {class_of(text):11} {text[:150]}")
    finally:
        bench.cluster.stop()
        shutil.rmtree(base, ignore_errors=True)


if __name__ == "__main__":
    main()
