"""A PostgreSQL server of the benchmark's own, in a temporary folder, run by an unprivileged user."""
import glob, os, pwd, random, re, shutil, signal, socket, subprocess, time

# One line for each choice: a disk that waits would measure the disk, and the measured programs do no I/O.
SETTINGS = """
listen_addresses = '127.0.0.1'
unix_socket_directories = '{dir}'
port = {port}
max_connections = 300
shared_buffers = 256MB
fsync = off
synchronous_commit = off
autovacuum = off
max_wal_size = 4GB
checkpoint_timeout = 1h
log_min_messages = fatal
jit = off
"""
SCALE = 10


def programs():
    """The folder of the newest PostgreSQL that has a server and pgbench."""
    folders = glob.glob("/usr/lib/postgresql/*/bin") + os.environ["PATH"].split(os.pathsep)
    def usable(f):
        return all(os.access(os.path.join(f, p), os.X_OK) for p in ("initdb", "postgres", "pgbench", "pg_ctl"))
    def version(f):
        out = subprocess.run([os.path.join(f, "postgres"), "--version"], capture_output=True, text=True).stdout
        return int(re.search(r"(\d+)", out).group(1))
    found = [f for f in folders if usable(f)]
    if not found:
        raise SystemExit("no PostgreSQL server with pgbench on this machine: run scripts/install-postgresql.sh")
    return max(found, key=version)


def unprivileged():
    """Arguments for subprocess that drop root's rights; PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        try:
            user = pwd.getpwnam(name)
            return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        except KeyError:
            continue
    raise SystemExit("running as root, and there is neither a user postgres nor nobody to run PostgreSQL as")


def free_port():
    """Below the range from which the kernel gives ports to connections, so that nobody is given it by chance."""
    while True:
        with socket.socket() as found:
            try:
                found.bind(("127.0.0.1", random.randrange(20000, 32000)))
                return found.getsockname()[1]
            except OSError:
                pass


class Cluster:
    """initdb, start, pgbench -i; stop() ends it and leaves the folder to its owner."""

    def __init__(self, base, more_settings="", name="postgresql"):
        self.bin = programs()
        self.dir = os.path.join(base, name)
        self.data = os.path.join(self.dir, "data")
        self.port = free_port()
        os.mkdir(self.dir)
        drop = unprivileged()
        if drop:
            os.chown(self.dir, drop["user"], drop["group"])
        self.run("initdb", "-D", self.data, "-U", "postgres", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C")
        with open(f"{self.data}/postgresql.conf", "a") as f:
            f.write(SETTINGS.format(dir=self.dir, port=self.port) + more_settings)
        self.base, self.replicas = base, []
        self.server = self.serve(self.data, self.port)
        self.run("pgbench", "-i", "-q", "-s", str(SCALE), "-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres", "postgres")
        self.sql("VACUUM ANALYZE")
        self.sql("CHECKPOINT")

    def serve(self, data, port):
        """Starts the server in the folder and waits until it answers."""
        log = open(f"{self.base}/{os.path.basename(data)}.log", "w")
        server = subprocess.Popen([f"{self.bin}/postgres", "-D", data, "-p", str(port)], stderr=log, cwd="/", **unprivileged())
        end = time.monotonic() + 30
        while subprocess.run([f"{self.bin}/pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port), "-U", "postgres"]).returncode:
            if server.poll() is not None or time.monotonic() > end:
                raise SystemExit(f"PostgreSQL did not start: see {log.name}")
            time.sleep(0.05)
        return server

    def add_replica(self):
        """A streaming replica; returns its port."""
        port, data = free_port(), os.path.join(self.dir, f"replica{len(self.replicas) + 1}")
        self.run("pg_basebackup", "-D", data, "-R", "-c", "fast", "--no-sync", "-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres")
        self.replicas.append(self.serve(data, port))
        return port

    def run(self, program, *args):
        done = subprocess.run([f"{self.bin}/{program}", *args], capture_output=True, text=True, cwd="/", **unprivileged())
        if done.returncode:
            raise SystemExit(f"{program} failed: {(done.stderr or done.stdout)[-600:]}")
        return done.stdout

    def sql(self, text, port=None):
        return self.run("psql", "-X", "-A", "-t", "-h", "127.0.0.1", "-p", str(port or self.port), "-U", "postgres", "-c", text, "postgres")

    def version(self):
        return self.sql("SHOW server_version").strip()

    def stop(self):
        for server in (*reversed(self.replicas), self.server):
            server.send_signal(signal.SIGINT)  # a fast shutdown: a session of a proxy's may still be there
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()
        shutil.rmtree(self.dir, ignore_errors=True)
