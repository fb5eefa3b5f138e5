"""The measured programs: how each is found, configured and started, and what it costs (CPU, memory)."""
import os, re, shutil, signal, socket, subprocess, time

import client

POOL = 16
HZ = os.sysconf("SC_CLK_TCK")
HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
BUILT = os.path.join(ROOT, ".cache", "peers", "bin")


def write(path, text):
    with open(path, "w") as f:
        f.write(text)
    return path


def howdah(binary, p):
    text = open(os.environ.get("HOWDAH_BENCH_CONFIG", os.path.join(HERE, "peer.toml"))).read()
    for key, value in {"port": p.port, "pgport": p.pgport, "dir": p.dir, "workers": p.workers,
                       "auth_type": p.auth}.items():
        text = text.replace("{%s}" % key, str(value))
    if p.replicas:
        nodes = ", ".join(f'"127.0.0.1:{port}"' for port in (p.pgport, *p.replicas))
        text = text.replace(f'["127.0.0.1:{p.pgport}"]', f"[{nodes}]")
    if p.watched is False:
        text = text.replace("[howdah]", "[howdah]\nmax_tracked_queries = 0")
    elif p.watched:
        text += f'\n[http]\nlisten = "127.0.0.1:{p.extra_port}"\n'
    return [binary, "run", write(f"{p.dir}/howdah.toml", text)]


def pgbouncer(binary, p):
    conf = write(f"{p.dir}/pgbouncer.ini", f"""
[databases]
postgres = host=127.0.0.1 port={p.pgport} dbname=postgres user=postgres
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {p.port}
unix_socket_dir =
auth_type = {p.auth}
auth_file = {p.dir}/users.txt
pool_mode = transaction
default_pool_size = {POOL}
max_client_conn = 8000
max_prepared_statements = 200
log_connections = 0
log_disconnections = 0
client_tls_sslmode = allow
client_tls_cert_file = {p.dir}/server.crt
client_tls_key_file = {p.dir}/server.key
""")
    drop = ["-u", "postgres"] if os.geteuid() == 0 else []
    return [binary, *drop, conf]


def odyssey(binary, p):
    method = 'authentication "none"'
    if p.auth != "trust":
        method = f'authentication "{p.auth}"\n  password "{client.verifier()}"'
    conf = write(f"{p.dir}/odyssey.conf", f"""
daemonize no
log_format "%p %t %l [%i %s] (%c) %m\\n"
log_to_stdout no
log_file "{p.dir}/odyssey.log"
log_session no
log_stats no
workers {p.workers}
listen {{ host "127.0.0.1" port {p.port} }}
storage "s" {{ type "remote" host "127.0.0.1" port {p.pgport} }}
database default {{ user default {{
  {method}
  storage "s"
  storage_user "postgres"
  pool "transaction"
  pool_size {POOL}
  pool_reserve_prepared_statement yes
  pool_discard no
}} }}
""")
    return [binary, conf]


def pgpool(binary, p):
    backends = f"""
backend_hostname0 = '127.0.0.1'
backend_port0 = {p.pgport}
backend_flag0 = 'ALWAYS_PRIMARY'
sr_check_period = {1 if p.replicas else 0}
sr_check_user = 'postgres'
sr_check_database = 'postgres'
"""
    for number, port in enumerate(p.replicas, 1):
        backends += f"backend_hostname{number} = '127.0.0.1'\nbackend_port{number} = {port}\nbackend_weight{number} = 1\n"
    if p.replicas:  # reads to the replicas only, as howdah's; and no replica that is far behind
        backends += "backend_weight0 = 0\ndelay_threshold = 10000000\n"
    conf = write(f"{p.dir}/pgpool.conf", f"""
backend_clustering_mode = 'streaming_replication'
listen_addresses = '127.0.0.1'
port = {p.port}
socket_dir = '{p.dir}'
unix_socket_directories = '{p.dir}'
pcp_port = {p.extra_port}
pcp_socket_dir = '{p.dir}'
{backends}
num_init_children = 80
max_pool = 1
enable_pool_hba = off
pid_file_name = '{p.dir}/pgpool.pid'
logdir = '{p.dir}'
work_dir = '{p.dir}'
load_balance_mode = on
""")
    write(f"{p.dir}/pcp.conf", "")
    write(f"{p.dir}/pool_hba.conf", "")
    argv = [binary, "-n", "-f", conf, "-F", f"{p.dir}/pcp.conf", "-a", f"{p.dir}/pool_hba.conf"]
    return ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", *argv] if os.geteuid() == 0 else argv


def haproxy(binary, p):
    return [binary, "-f", write(f"{p.dir}/haproxy.cfg", f"""
global
  nbthread 1
  maxconn 8000
defaults
  mode tcp
  timeout connect 5s
  timeout client 1h
  timeout server 1h
listen pg
  bind 127.0.0.1:{p.port}
  server a 127.0.0.1:{p.pgport}
""")]


# name: (environment variable, file names to look for, how to start it, argument that prints the version)
CATALOG = {
    "howdah": ("PEER_HOWDAH", (os.path.join(ROOT, os.environ.get("CARGO_TARGET_DIR", "target"), "release/howdah"),), howdah, "--version"),
    "pgbouncer": ("PEER_PGBOUNCER", (os.path.join(BUILT, "pgbouncer"), "pgbouncer"), pgbouncer, "--version"),
    "odyssey": ("PEER_ODYSSEY", (os.path.join(BUILT, "odyssey"), "odyssey"), odyssey, "--version"),
    "pgpool": ("PEER_PGPOOL", ("pgpool",), pgpool, "--version"),
    "haproxy": ("PEER_HAPROXY", ("haproxy",), haproxy, "-v"),
}
POOLERS = ("pgbouncer", "odyssey", "pgpool")

# What a row asks of a peer: the first version that can do it. None: no version can, as configured here.
NEEDS = {
    ("pgbouncer", "prepared"): (1, 21), ("pgbouncer", "tpcb"): (1, 21), ("pgbouncer", "rate"): (1, 21),
    ("pgbouncer", "idle"): (1, 21), ("pgbouncer", "logins"): (1, 21),
    ("odyssey", "prepared"): (1, 4), ("odyssey", "rate"): (1, 4), ("odyssey", "idle"): (1, 4), ("odyssey", "logins"): (1, 4),
    ("odyssey", "tpcb"): (1, 4),
    ("pgpool", "idle"): None,      # a process for each client
    ("pgpool", "logins"): None,    # needs its own password store
    ("haproxy", "idle"): None,     # a server connection for each client
    ("haproxy", "logins"): None,   # does not authenticate
}


def find(name):
    """The program's path, or an empty text."""
    variable, names, _, _ = CATALOG[name]
    if os.environ.get(variable):
        if not os.access(os.environ[variable], os.X_OK):
            raise SystemExit(f"{variable}={os.environ[variable]} is not an executable file")
        return os.environ[variable]
    path = os.environ["PATH"] + ":/usr/sbin:/usr/local/sbin"
    return next(filter(None, (shutil.which(n, path=path) for n in names)), "")


def version(name, binary):
    """(text to print, numbers to compare)."""
    done = subprocess.run([binary, CATALOG[name][3]], capture_output=True, text=True)
    text = (done.stdout + done.stderr).strip().split("\n")[0]
    numbers = re.search(r"(\d+)\.(\d+)", text)
    return text, (int(numbers.group(1)), int(numbers.group(2))) if numbers else (0, 0)


def too_old(name, row, numbers):
    if (name, row) not in NEEDS:
        return False
    need = NEEDS[name, row]
    return need is None or numbers < need


class Proxy:
    """One running program in a folder of its own."""

    def __init__(self, name, binary, base, ports, workers=1, auth="trust", watched=None, replicas=()):
        self.name, self.workers, self.auth, self.watched, self.replicas = name, workers, auth, watched, replicas
        self.port, self.extra_port, self.pgport = ports
        self.dir = os.path.join(base, f"{name}-{self.port}")
        os.mkdir(self.dir)
        write(f"{self.dir}/users.txt", f'"{client.USER}" "{client.verifier()}"\n')
        for secret in ("server.crt", "server.key"):
            shutil.copy(os.path.join(base, secret), self.dir)
        argv = CATALOG[name][2](binary, self)
        if os.geteuid() == 0:  # those that drop root's rights themselves read their files afterwards
            subprocess.run(["chown", "-R", "postgres", self.dir], check=True)
        log = open(f"{self.dir}/out", "w")
        self.process = subprocess.Popen(argv, stdout=log, stderr=subprocess.STDOUT, cwd=self.dir, start_new_session=True)
        self.wait()

    def wait(self):
        end = time.monotonic() + 10
        while time.monotonic() < end and self.process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.port), 0.3).close()
                return
            except OSError:
                time.sleep(0.05)
        self.stop()
        raise RuntimeError(f"{self.name} does not listen: {open(self.dir + '/out').read()[-500:]}")

    def ended(self):
        """How the program ended and its last words, if it did."""
        status = self.process.poll()
        if status is None:
            return ""
        return f"{self.name} ended with status {status}: {open(self.dir + '/out').read()[-300:].strip()}; "

    def tree(self):
        """Process ids of the program and all its descendants."""
        children, todo, out = {}, [self.process.pid], []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            fields = stat(pid)
            if fields:
                children.setdefault(int(fields[1]), []).append(int(pid))
        while todo:
            pid = todo.pop()
            out.append(pid)
            todo += children.get(pid, [])
        return out

    def cpu(self):
        """CPU seconds, user and system, of the tree and of its ended threads and awaited children."""
        fields = filter(None, map(stat, self.tree()))
        return sum(sum(map(int, f[11:15])) for f in fields) / HZ

    def memory(self):
        """KiB of proportional set size of the tree."""
        total = 0
        for pid in self.tree():
            try:
                for line in open(f"/proc/{pid}/smaps_rollup"):
                    if line.startswith("Pss:"):
                        total += int(line.split()[1])
            except OSError:
                pass
        return total

    def stop(self):
        """Ends the program's own session of processes, first politely."""
        for how in (signal.SIGINT, signal.SIGKILL):
            try:
                os.killpg(self.process.pid, how)
            except ProcessLookupError:
                break
            try:
                self.process.wait(3)
            except subprocess.TimeoutExpired:
                pass
        self.process.wait()


def stat(pid):
    """Fields of /proc/PID/stat after the name, or nothing if the process is gone."""
    try:
        text = open(f"/proc/{pid}/stat").read()
    except OSError:
        return None
    return text[text.rindex(")") + 2:].split()
