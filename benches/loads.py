"""The loads of the benchmark. Each takes a running proxy and returns what one round of it measured."""
import concurrent.futures, glob, os, re, subprocess, sys, threading, time, urllib.request

import client

HERE = os.path.dirname(os.path.abspath(__file__))
ONE = ["-j", "1"]
PGBENCH = {
    "simple":   ["-S", "-M", "simple", "-c", "32", *ONE],
    "extended": ["-S", "-M", "extended", "-c", "32", *ONE],
    "prepared": ["-S", "-M", "prepared", "-c", "32", *ONE],
    "rate":     ["-S", "-M", "prepared", "-c", "32", *ONE],  # and -R, set by the caller
    "one":      ["-S", "-M", "simple", "-c", "1", *ONE],
    # A thread for each client: pgbench prepares with a call that blocks its thread. One that waits for a server would
    # keep those in transactions, of the same thread, from ever giving theirs back.
    "tpcb":     ["-M", "prepared", "-c", "32", "-j", "32"],
    "connect":  ["-S", "-M", "simple", "-c", "8", *ONE, "-C"],
}
# Rows of 8,000 bytes, so that what is measured is moving bytes and not counting messages.
WIDE_ROWS = 60_000
STREAM = {
    "copy": f"COPY (SELECT repeat('x', 8000) FROM generate_series(1, {WIDE_ROWS})) TO STDOUT",
    "wide": f"SELECT repeat('x', 8000) FROM generate_series(1, {WIDE_ROWS})",
}
LOGINS_EACH_SECOND = 200
BACKGROUND_RATE = 1000
IDLE_CLIENTS = 5000
IDLE_TRANSACTIONS = 20
IDLE_SECONDS = 10
GRACE = 20  # seconds that a load may last beyond its time


class Failed(Exception):
    """The load did not run as it should have; the text says how."""


def command(pgbench, port, args, seconds):
    return [pgbench, "-n", "-h", "127.0.0.1", "-p", str(port), "-U", client.USER, "-T", str(seconds), *args, client.DATABASE]


ENVIRONMENT = {**os.environ, "PGPASSWORD": client.PASSWORD, "PGSSLMODE": "disable", "PGGSSENCMODE": "disable"}


def pgbench(program, proxy, args, seconds):
    """{tps, us (CPU of the proxy a transaction), ms (latency)} of one pgbench run."""
    before = proxy.cpu()
    try:
        done = subprocess.run(command(program, proxy.port, args, seconds), capture_output=True, text=True, env=ENVIRONMENT,
                              timeout=seconds + GRACE)
    except subprocess.TimeoutExpired:
        raise Failed(f"pgbench still waited {GRACE} s after its end: the proxy hangs") from None
    used = proxy.cpu() - before
    def number(pattern):
        found = re.search(pattern, done.stdout)
        return float(found.group(1)) if found else 0.0
    count, failed = number(r"actually processed: (\d+)"), number(r"failed transactions: (\d+)")
    if done.returncode or not count or failed:
        raise Failed(f"pgbench: {failed:.0f} failed transactions; {done.stderr[-300:]}")
    tps = number(r"tps = ([\d.]+) \(without initial") or number(r"tps = ([\d.]+)")
    return {"tps": tps, "us": used / count * 1e6, "ms": number(r"latency average = ([\d.]+)")}


def scrape(port, until):
    """Reads /metrics once a second, as Prometheus does at its shortest, until the event is set."""
    while True:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            if b"howdah_" not in answer.read():
                raise Failed("/metrics has no metrics")
        if until.wait(1):
            return


def watched(program, proxy, kind, seconds):
    """As pgbench() at full load; of a proxy with HTTP, while somebody reads its metrics."""
    end = threading.Event()
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        reader = pool.submit(scrape, proxy.extra_port, end) if proxy.watched else None
        try:
            return pgbench(program, proxy, PGBENCH[kind], seconds)
        finally:
            end.set()
            if reader:
                reader.result()


def stream(proxy, kind):
    """{gbps, cpu_gb (CPU seconds of the proxy a GB)} of one huge answer."""
    c = client.Client(proxy.port)
    before, start = proxy.cpu(), time.monotonic()
    total = c.drink(STREAM[kind])
    used, took = proxy.cpu() - before, time.monotonic() - start
    c.close()
    if total < WIDE_ROWS * 8000:
        raise Failed(f"the answer had {total} bytes, fewer than its rows")
    return {"gbps": total / took / 1e9, "cpu_gb": used / total * 1e9}


def idle(proxy, size, tls):
    """{kib (memory a client), cpu (percent of a core while all are idle)}; the proxy must be freshly started."""
    warm = client.crowd(proxy.port, 64, IDLE_TRANSACTIONS, tls)  # pool open, shared texts and first buffers there
    before = proxy.memory()
    clients = client.crowd(proxy.port, size, IDLE_TRANSACTIONS, tls)
    time.sleep(1)
    after, cpu = proxy.memory(), proxy.cpu()
    time.sleep(IDLE_SECONDS)
    busy = proxy.cpu() - cpu
    for c in warm + clients:
        c.sock.close()
    return {"kib": (after - before) / size, "cpu": busy / IDLE_SECONDS * 100}


def tail(program, proxy, seconds, with_logins):
    """The 99th percentile, in ms, of an open-loop load, alone or while clients log in."""
    prefix = os.path.join(proxy.dir, "latency")
    for old in glob.glob(prefix + ".*"):
        os.remove(old)
    args = ["-S", "-M", "prepared", "-c", "16", *ONE, "-R", str(BACKGROUND_RATE), "-l", f"--log-prefix={prefix}"]
    run = subprocess.Popen(command(program, proxy.port, args, seconds), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                           text=True, env=ENVIRONMENT)
    if with_logins:
        crowd = subprocess.run([sys.executable, os.path.join(HERE, "client.py"), str(proxy.port), str(LOGINS_EACH_SECOND),
                                str(seconds - 1)], capture_output=True, text=True)
        if crowd.returncode:
            run.kill()
            raise Failed(f"logins: {crowd.stderr[-300:]}")
        done, took, _ = crowd.stdout.split()
        if int(done) / float(took) < LOGINS_EACH_SECOND * 0.95:
            run.kill()
            raise Failed(f"only {int(done) / float(took):.0f} logins a second came through")
    try:
        out, _ = run.communicate(timeout=seconds + GRACE)
    except subprocess.TimeoutExpired:
        run.kill()
        raise Failed("pgbench did not end: the proxy hangs") from None
    if run.returncode:
        raise Failed(f"pgbench: {out[-300:]}")
    took = sorted(int(line.split()[2]) for path in glob.glob(prefix + ".*") for line in open(path))
    if len(took) < BACKGROUND_RATE * seconds * 0.5:
        raise Failed(f"pgbench logged only {len(took)} transactions")
    return took[int(len(took) * 0.99)] / 1000
