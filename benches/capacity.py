#!/usr/bin/env python3
"""`SHOW CAPACITY` held against reality: an open load of known size on pools of known sizes. See benches/README.md.

Transactions arrive at random (pgbench -R, a Poisson process) and keep a server for a random time (pg_sleep, exponential), which
is what the prediction assumes. Each line is one window: what howdah measured in it, what it predicted from the rate and the mean
service time alone, and, in a second window with the size that it recommended, whether waits were then as short as it promised.
"""
import argparse, os, re, resource, shutil, subprocess, tempfile, time

import client, cluster, loads, peers, run

CLIENTS = 250        # more than ever wait: arrivals must not depend on answers
TARGET = 1.0         # ms: p99 of the wait that a recommended size allows
SERVICE = {"exponential": "SELECT pg_sleep(-ln(1 - random()) * {mean});", "fixed": "SELECT pg_sleep({mean});"}
HEAD = ("W", "A /s", "S ms", "A·S/W", "p50 ms", "predicted", "p99 ms", "predicted", "recommended", "p99 ms with it", "predicted")


class Pool:
    """A fresh howdah with a pool of `size`; its only period of figures is the window."""

    def __init__(self, bench, size):
        self.bench, self.size = bench, size
        with open(os.path.join(peers.HERE, "peer.toml")) as f:
            text = f.read()
        text = re.sub(r"default_pool_size = \d+", f"default_pool_size = {size}\nmin_pool_size = {size}", text)
        text = text.replace("[howdah]\n", f'[howdah]\nadmin_users = ["{client.USER}"]\n')
        text = text.replace("[databases.postgres]\n", f'[databases.postgres]\nuser = "{client.USER}"\n')
        text += f'\n[log]\nstats_period = "{bench.o.seconds}s"\n'
        os.environ["HOWDAH_BENCH_CONFIG"] = peers.write(os.path.join(bench.base, "peer.toml"), text)
        self.proxy = peers.Proxy("howdah", bench.binary, bench.base,
                                 (cluster.free_port(), cluster.free_port(), bench.cluster.port))
        self.began = time.monotonic()
        self.await_servers()

    def await_servers(self):
        """min_pool_size opens them: who had to wait for that would count as one who waited in line."""
        end = time.monotonic() + 10
        while sum(row["sv_idle"] for row in self.show("POOLS") if row["database"] == client.DATABASE) < self.size:
            if time.monotonic() > end:
                raise SystemExit(f"howdah did not open {self.size} servers")
            time.sleep(0.05)

    def show(self, view):
        """A view of the console; numbers as such."""
        out = self.bench.cluster.run("psql", "-X", "-A", "-h", "127.0.0.1", "-p", str(self.proxy.port), "-U", client.USER,
                                     "-c", f"SHOW {view}", "howdah").splitlines()
        def value(text):
            try:
                return float(text)
            except ValueError:
                return text
        names = out[0].split("|")
        return [dict(zip(names, map(value, line.split("|")))) for line in out[1:] if "|" in line]

    def window(self, rate, script):
        """One window under load: the row, and the milliseconds by which pgbench was late on average."""
        seconds = self.bench.o.seconds
        args = ["-M", "simple", "-c", str(CLIENTS), "-j", "1", "-R", f"{rate:.3f}", "-f", script]
        load = subprocess.Popen(loads.command(self.bench.pgbench, self.proxy.port, args, seconds + 2), stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, text=True, env=loads.ENVIRONMENT)
        try:
            time.sleep(max(0, self.began + seconds - time.monotonic()))
            row = None
            while row is None and load.poll() is None:
                row = next(iter(self.show("CAPACITY")), None)
                time.sleep(0.1)
            said, _ = load.communicate(timeout=loads.GRACE)
        finally:
            if load.poll() is None:
                load.kill()
        late = re.search(r"schedule lag: avg ([\d.]+)", said)
        if load.returncode or row is None or not late:
            raise SystemExit(f"pgbench did not do its work: {said[-600:]}")
        return row, float(late.group(1))


class Bench:
    def __init__(self, options, base):
        self.o, self.base = options, base
        self.service = options.service_ms / 1000  # as asked for; then as it is on this machine
        self.binary = peers.find("howdah")
        if not self.binary:
            raise SystemExit("no howdah: `make build` builds it, or PEER_HOWDAH names one")
        self.cluster = cluster.Cluster(base)
        self.pgbench = os.path.join(self.cluster.bin, "pgbench")

    def measure(self, size, rate, script):
        pool = Pool(self, size)
        try:
            return pool.window(rate, script)
        finally:
            pool.proxy.stop()

    def line(self, size, share, script):
        rate = share * size / self.service
        row, late = self.measure(size, rate, script)
        self.service = row["service_time_ms"] / 1000
        enough = int(row["recommended_size"])
        again, _ = self.measure(enough, rate, script)
        ms = lambda row, name: f"{row[name]:.1f}"
        cells = [str(size), ms(row, "arrival_rate"), ms(row, "service_time_ms"), f"{row['utilisation']:.2f}"]
        cells += [ms(row, name) for name in ("wait_p50_ms", "predicted_p50_ms", "wait_p99_ms", "predicted_p99_ms")]
        cells += [str(enough), f"{again['wait_p99_ms']:.2f}", f"{again['predicted_p99_ms']:.2f}"]
        print("| " + " | ".join(cells) + " |", flush=True)
        return late, again["wait_p99_ms"]


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    numbers = lambda kind: lambda text: [kind(x) for x in text.split(",")]
    a.add_argument("--sizes", type=numbers(int), default=[4, 8], help="pool sizes, by comma")
    a.add_argument("--loads", type=numbers(float), default=[0.5, 0.7, 0.85, 0.95], help="utilisations to aim at, by comma")
    a.add_argument("--seconds", type=int, default=60, help="of each window")
    a.add_argument("--service", choices=SERVICE, default="exponential", help="how long a transaction keeps its server")
    a.add_argument("--service-ms", type=float, default=50, help="the same, on average")
    o = a.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    base = tempfile.mkdtemp(prefix="howdah-bench-")
    os.chmod(base, 0o755)
    run.certificate(base)
    bench, lates, short = None, [], 0
    try:
        bench = Bench(o, base)
        print(f"PostgreSQL {bench.cluster.version()}, {os.cpu_count()} cores, {peers.version('howdah', bench.binary)[0]}; "
              f"{o.service} service of {o.service_ms:g} ms, windows of {o.seconds} s")
        run.others()
        script = peers.write(os.path.join(base, "script"), SERVICE[o.service].format(mean=o.service_ms / 1000) + "\n")
        print("| " + " | ".join(HEAD) + " |\n|" + "---|" * len(HEAD))
        for size in o.sizes:
            for share in o.loads:
                late, p99 = bench.line(size, share, script)
                lates.append(late)
                short += p99 <= TARGET
        print(f"\np99 with the recommended size was at most {TARGET:g} ms in {short} of {len(lates)}; "
              f"pgbench was late by {min(lates):.2f} to {max(lates):.2f} ms on average")
    finally:
        if bench:
            bench.cluster.stop()
        shutil.rmtree(base, ignore_errors=True)


if __name__ == "__main__":
    main()
