#!/usr/bin/env python3
"""PostgreSQL's own regression suite, run by psql on PostgreSQL and through howdah: both must print the same.

    tests/compat/regress/run.py [--ways direct,session,transaction] [--keep FOLDER]

The suite runs as pg_regress runs it: the tests of a group of parallel_schedule at the same time, each in a psql of its
own, all in one database, with pg_regress's settings. Each way gets a fresh cluster. A test passes if its output is that
of the first way, but for what exceptions.txt names. HOWDAH_BIN names howdah's binary, COMPAT_POSTGRES_BIN
PostgreSQL's folder. Ends with 1 if a test differs.
"""
import argparse, difflib, os, pathlib, pwd, random, re, shutil, signal, socket, subprocess, sys, tempfile, time
from concurrent.futures import ThreadPoolExecutor

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[2]
TEST_SECONDS = 300
GROUP_MAX = 20  # pg_regress runs at most 20 at a time in this schedule
# In transaction mode fewer servers than tests at a time, so that tests move between servers.
POOL_SIZES = {"session": GROUP_MAX + 5, "transaction": 5}
# The same with reads on replicas: so many of them.
REPLICAS = 2
POSTGRES = """
listen_addresses = '127.0.0.1'
unix_socket_directories = '{stage}'
port = {port}
fsync = off
synchronous_commit = off
full_page_writes = off
autovacuum = off
max_prepared_transactions = 2
max_connections = 60
"""
HOWDAH = """
[howdah]
listen_addr = ["127.0.0.1"]
listen_port = {port}
unix_socket_dir = ""
admin_users = ["postgres"]
[pool]
pool_mode = "{mode}"
default_pool_size = {size}
[auth]
auth_type = "trust"
[timeouts]
query_wait_timeout = "{wait}s"
[tls.server]
sslmode = "disable"
[databases."*"]
nodes = [{nodes}]
"""
# In front of the other settings of a replica, which come from its primary.
REPLICA = """
port = {port}
wal_retrieve_retry_interval = 100ms
"""


def unprivileged():
    """Arguments for subprocess that drop root's rights: PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    user = pwd.getpwnam("postgres")
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def free_port():
    """Below the range from which the kernel gives ports to connections, so that nobody is given it by chance."""
    while True:
        with socket.socket() as found:
            try:
                found.bind(("127.0.0.1", random.randrange(20000, 32000)))
                return found.getsockname()[1]
            except OSError:
                pass


class Suite:
    """The files of one version, where PostgreSQL's user can read them, and the order in which they run."""

    def __init__(self, version, stage):
        source = ROOT / ".cache" / "compat" / "regress" / version
        subprocess.run([HERE / "fetch.sh", version], check=True)
        self.folder = stage / "suite"
        shutil.copytree(source, self.folder)
        lines = (self.folder / "parallel_schedule").read_text().splitlines()
        self.groups = [line[5:].split() for line in lines if line.startswith("test:")]

    def tests(self):
        return [test for group in self.groups for test in group]


class Way:
    """One way to reach one fresh cluster: directly, or through howdah in one pool mode."""

    def __init__(self, name, suite, stage, binaries):
        self.name, self.suite, self.stage, self.binaries = name, suite, stage, binaries
        self.mode = None if name.startswith("direct") else "transaction" if name == "replicas" else name
        self.results = stage / "results"
        self.data = stage / "data"
        self.server = self.howdah = None
        self.replicas = []

    def __enter__(self):
        drop = unprivileged()
        self.results.mkdir()
        if drop:
            os.chown(self.results, drop["user"], drop["group"])
        self.port = self.server_port = free_port()
        self.tool("initdb", "-D", self.data, "-U", "postgres", "-A", "trust", "--no-sync", "-E", "UTF8", "--no-locale")
        with open(self.data / "postgresql.conf", "a") as file:
            file.write(POSTGRES.format(stage=self.stage, port=self.server_port))
        self.server = self.start_postgres(self.data)
        self.until_ready(self.server, self.server_port, "PostgreSQL")
        self.tool("psql", "-X", "-q", "-h", "127.0.0.1", "-p", str(self.server_port), "-U", "postgres", "-c",
                  "CREATE DATABASE regression TEMPLATE template0", "-c", "ALTER SYSTEM SET lc_messages TO 'C'",
                  "-c", "".join(f"ALTER DATABASE regression SET {setting};" for setting in (
                      "lc_messages TO 'C'", "lc_monetary TO 'C'", "lc_numeric TO 'C'", "lc_time TO 'C'",
                      "bytea_output TO 'hex'", "timezone_abbreviations TO 'Default'")))
        if self.name == "replicas":
            self.psql(self.server_port, "CREATE ROLE howdah LOGIN; GRANT pg_monitor TO howdah")
            for number in range(REPLICAS):
                self.start_replica(self.stage / f"replica-{number}")
        if self.mode:
            self.start_howdah()
        return self

    def start_postgres(self, data):
        log = open(self.stage / "postgresql.log", "a")
        return subprocess.Popen(
            [self.binaries["postgres"] / "postgres", "-D", data], stdout=log, stderr=log, cwd="/",
            env=dict(os.environ, LC_ALL="C"), **unprivileged())

    def start_replica(self, data):
        port = free_port()
        self.tool("pg_basebackup", "-h", "127.0.0.1", "-p", str(self.server_port), "-U", "postgres", "-R", "-D", data,
                  "--checkpoint=fast", "--no-sync")
        with open(data / "postgresql.conf", "a") as file:
            file.write(REPLICA.format(port=port))
        replica = self.start_postgres(data)
        self.replicas.append((replica, port, data))
        self.until_ready(replica, port, "a replica")

    def psql(self, port, sql):
        done = subprocess.run(
            [self.binaries["postgres"] / "psql", "-XAtq", "-h", "127.0.0.1", "-p", str(port), "-U", "postgres", "-d",
             "postgres", "-c", sql], capture_output=True, text=True, env=dict(os.environ, PGOPTIONS=""))
        if done.returncode:
            raise SystemExit(f"{sql}: {done.stderr}")
        return done.stdout

    def start_howdah(self):
        self.port = free_port()
        file = self.stage / "howdah.toml"
        ports = [self.server_port, *(port for _, port, _ in self.replicas)]
        nodes = ", ".join(f'"127.0.0.1:{port}"' for port in ports)
        file.write_text(HOWDAH.format(
            port=self.port, mode=self.mode, size=POOL_SIZES[self.mode], nodes=nodes, wait=TEST_SECONDS))
        log = open(self.stage / f"howdah-{self.name}.log", "w")
        self.howdah = subprocess.Popen([self.binaries["howdah"], "run", file], stdout=log, stderr=log)
        self.until_ready(self.howdah, self.port, "howdah")

    def routes(self):
        """What howdah says of where statements went, and why: [database, target, reason, count]."""
        done = subprocess.run(
            [self.binaries["postgres"] / "psql", "-XAtq", "-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres",
             "-d", "pgbouncer", "-c", "SHOW ROUTES"], capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"SHOW ROUTES: {done.stderr}")
        return [line.split("|")[:4] for line in done.stdout.splitlines() if "|" in line]

    def __exit__(self, *_):
        replicas = [(process, signal.SIGINT) for process, _, _ in self.replicas]
        for process, end in ((self.howdah, signal.SIGTERM), *replicas, (self.server, signal.SIGINT)):
            if process and process.poll() is None:
                process.send_signal(end)
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
        for data in (self.data, *(data for _, _, data in self.replicas)):
            shutil.rmtree(data, ignore_errors=True)
        if self.results.exists():
            self.results.rename(self.stage / f"results-{self.name}")

    def tool(self, program, *arguments):
        done = subprocess.run(
            [self.binaries["postgres"] / program, *arguments], capture_output=True, text=True, cwd="/", **unprivileged())
        if done.returncode:
            raise SystemExit(f"{program} failed: {done.stderr or done.stdout}")

    def until_ready(self, process, port, what):
        end = time.monotonic() + 60
        ready = [self.binaries["postgres"] / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port), "-U", "postgres"]
        while subprocess.run(ready).returncode:
            if process.poll() is not None or time.monotonic() > end:
                raise SystemExit(f"{what} did not start; its log is in {self.stage}")
            time.sleep(0.05)

    def environment(self, test):
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "LC_", "LANG"))}
        return dict(
            clean, PGHOST="127.0.0.1", PGPORT=str(self.port), PGUSER="postgres", PGDATABASE="regression",
            PGAPPNAME=f"pg_regress/{test}", PGTZ="PST8PDT", PGDATESTYLE="Postgres, MDY", LC_MESSAGES="C",
            PGOPTIONS="-c intervalstyle=postgres_verbose", PGSSLMODE="disable", PSQL_HISTORY="/dev/null",
            PG_ABS_SRCDIR=str(self.suite.folder), PG_ABS_BUILDDIR=str(self.stage), PG_LIBDIR=str(self.suite.folder),
            PG_DLSUFFIX=".so")

    def run(self, test):
        out = self.results / f"{test}.out"
        psql = [self.binaries["postgres"] / "psql", "-X", "-a", "-q", "-v", "HIDE_TABLEAM=on", "-v",
                "HIDE_TOAST_COMPRESSION=on", "-d", "regression"]
        with open(self.suite.folder / "sql" / f"{test}.sql") as sql, open(out, "w") as written:
            try:
                code = subprocess.run(psql, stdin=sql, stdout=written, stderr=subprocess.STDOUT, cwd=self.results,
                                      env=self.environment(test), timeout=TEST_SECONDS).returncode
            except subprocess.TimeoutExpired:
                code = f"not finished after {TEST_SECONDS} s"
        with open(out, "a") as written:
            written.write(f"exit code {code}\n")

    def run_all(self):
        for group in self.suite.groups:
            with ThreadPoolExecutor(GROUP_MAX) as pool:
                list(pool.map(self.run, group))
            if self.howdah and self.howdah.poll() is not None:
                raise SystemExit(f"howdah ended with {self.howdah.returncode} in the group {' '.join(group)}")


def read_exceptions():
    """(Test, way) → patterns of what may differ. Each line of the file has a test, ways, a pattern and a reason."""
    found = {}
    for number, line in enumerate((HERE / "exceptions.txt").read_text().splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        parts = [part.strip() for part in line.split(" | ")]
        if len(parts) != 4 or not all(parts):
            raise SystemExit(f"exceptions.txt, line {number}: not “test | ways | pattern | reason”")
        ways = set(parts[1].split(","))
        # With replicas a session is also in transaction mode.
        ways |= {"replicas"} if "transaction" in ways else set()
        for way in ways:
            found.setdefault((parts[0], way), []).append(re.compile(parts[2], re.MULTILINE))
    return found


def output(stage, way, test, port, exceptions):
    """The lines that the test has printed, without what is different in each run and without what may differ."""
    text = (stage / f"results-{way}" / f"{test}.out").read_text(errors="backslashreplace")
    text = text.replace(f"port {port} ", "port PORT ")
    for pattern in exceptions:
        text = pattern.sub("", text)
    return text.splitlines()


def compare(stage, ports, tests, exceptions):
    """Prints what differs from the first way; gives the number of equal and of different outputs."""
    (first, *others), same, different = list(ports), 0, 0
    for way in others:
        for test in tests:
            allowed = exceptions.get((test, way), [])
            want, got = (output(stage, one, test, ports[one], allowed) for one in (first, way))
            if not want and not got:
                print(f"not compared - {test} in {way}: exceptions.txt names all of it")
                continue
            if want == got:
                same += 1
                print(f"ok - {test} in {way}")
                continue
            different += 1
            diff = list(difflib.unified_diff(want, got, first, way, lineterm="", n=3))
            (stage / f"{test}-{way}.diff").write_text("\n".join(diff) + "\n")
            changed = sum(line[0] in "+-" for line in diff) - 2
            print(f"DIFFERENT - {test} in {way}: {changed} lines", *diff[2:60], sep="\n    ")
    return same, different


def is_the_suite(stage, suite, first):
    """Whether PostgreSQL itself gives what its developers expect: else both ways may fail alike, and show nothing."""
    expected = suite.folder / "expected"
    good = 0
    for test in suite.tests():
        text = (stage / f"results-{first}" / f"{test}.out").read_bytes()
        text = text.rpartition(b"exit code")[0]
        good += any(file.read_bytes() == text for file in [expected / f"{test}.out", *expected.glob(f"{test}_[0-9].out")])
    print(f"{first}: {good} of {len(suite.tests())} outputs are what PostgreSQL's developers expect")
    return good >= 0.9 * len(suite.tests())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ways", default="direct,session,transaction")
    parser.add_argument("--keep", type=pathlib.Path, help="an empty folder for outputs, differences and logs")
    options = parser.parse_args()
    postgres = pathlib.Path(os.environ.get("COMPAT_POSTGRES_BIN", "/usr/lib/postgresql/15/bin"))
    howdah = pathlib.Path(os.environ.get("HOWDAH_BIN") or os.environ.get("COMPAT_HOWDAH") or ROOT / "target/release/howdah")
    if not os.access(howdah, os.X_OK):
        raise SystemExit(f"no howdah at {howdah}: build it, or name it in HOWDAH_BIN")
    banner = subprocess.run([postgres / "postgres", "--version"], capture_output=True, text=True, check=True).stdout
    version = re.search(r"\) (\d+)", banner).group(1)
    stage = options.keep or pathlib.Path(tempfile.mkdtemp(prefix="howdah-regress-"))
    stage.mkdir(exist_ok=True)
    # PostgreSQL's user makes files here.
    stage.chmod(0o777)
    ports, passed = {}, False
    try:
        suite = Suite(version, stage)
        for name in options.ways.split(","):
            began = time.monotonic()
            with Way(name, suite, stage, {"postgres": postgres, "howdah": howdah.resolve()}) as way:
                way.run_all()
                ports[name] = way.port
                for route in way.routes() if way.replicas else ():
                    print("    " + " ".join(route))
            print(f"{name}: {len(suite.tests())} tests in {time.monotonic() - began:.0f} s", flush=True)
        usable = is_the_suite(stage, suite, next(iter(ports)))
        same, different = compare(stage, ports, suite.tests(), read_exceptions())
        print(f"{same} outputs are the same, {different} differ")
        passed = usable and same > 0 and different == 0
    finally:
        if not options.keep:
            shutil.rmtree(stage, ignore_errors=True)
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
