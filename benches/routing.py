"""The rows of `routing`: one primary, two replicas, and what it costs to send each statement to the right one."""
import time

import cluster, loads, peers

# Acknowledged is flushed, as elsewhere than in a benchmark: what is not flushed reaches no replica for a while.
SETTINGS = """
synchronous_commit = on
shared_preload_libraries = 'pg_stat_statements'
pg_stat_statements.track = top
"""
READ = r"""\set aid random(1, 100000 * :scale)
SELECT abalance FROM pgbench_accounts WHERE aid = :aid;
"""
WRITE = r"""\set aid random(1, 100000 * :scale)
\set delta random(-5000, 5000)
UPDATE pgbench_accounts SET abalance = abalance + :delta WHERE aid = :aid;
"""
# As many clients as in the other rows, pools of 16 on each node.
CLIENTS = ["-c", "32", *loads.ONE]
NAMES = ("howdah", "unrouted", "pgbouncer", "pgpool")


class Routing:
    """The cluster and the programs of these rows; stop() ends them."""

    def __init__(self, bench):
        self.bench, self.running = bench, {}
        self.cluster = cluster.Cluster(bench.base, SETTINGS, "routed")
        try:
            self.ports = [self.cluster.port, self.cluster.add_replica(), self.cluster.add_replica()]
            self.cluster.sql("CREATE EXTENSION pg_stat_statements")
            self.cluster.sql("CREATE ROLE howdah LOGIN; GRANT pg_monitor TO howdah")
            self.caught_up()
            self.start()
        except BaseException:
            self.stop()
            raise
        read = peers.write(f"{bench.base}/read.sql", READ)
        write = peers.write(f"{bench.base}/write.sql", WRITE)
        mix = ["-D", f"scale={cluster.SCALE}", "-f", f"{read}@9", "-f", f"{write}@1"]
        self.loads = {
            "routed simple": ["-S", "-M", "simple", *CLIENTS],
            "routed prepared": ["-S", "-M", "prepared", *CLIENTS],
            "routed mix simple": [*mix, "-M", "simple", *CLIENTS],
            "routed mix prepared": [*mix, "-M", "prepared", *CLIENTS],
        }

    def start(self):
        for name in NAMES:
            program = "howdah" if name == "unrouted" else name
            if program not in self.bench.binaries:
                continue
            replicas = self.ports[1:] if name in ("howdah", "pgpool") else ()
            ports = (cluster.free_port(), cluster.free_port(), self.ports[0])
            binary, workers = self.bench.binaries[program], self.bench.o.workers
            try:
                self.running[name] = peers.Proxy(program, binary, self.bench.base, ports, workers, replicas=replicas)
            except (RuntimeError, OSError) as why:
                print(f"  {name:12}left out of routing: {why}")

    def caught_up(self):
        """Waits until both replicas show all that the primary has."""
        written = self.cluster.sql("SELECT pg_current_wal_lsn()").strip()
        end = time.monotonic() + 60
        for port in self.ports[1:]:
            while self.cluster.sql(f"SELECT pg_last_wal_replay_lsn() >= '{written}'", port).strip() != "t":
                if time.monotonic() > end:
                    raise SystemExit("a replica of the benchmark does not catch up")
                time.sleep(0.05)

    def calls(self):
        """How often each node has run a statement of the load, all programs together."""
        sql = ("SELECT coalesce(sum(calls), 0) FROM pg_stat_statements"
               " WHERE query ~ '^(SELECT abalance FROM|UPDATE pgbench_accounts SET)'")
        return [int(self.cluster.sql(sql, port)) for port in self.ports]

    def measure(self, proxy, args, seconds):
        """One round, with the share of each node in percent."""
        before = self.calls()
        out = loads.pgbench(self.bench.pgbench, proxy, args, seconds)
        ran = [now - then for then, now in zip(before, self.calls())]
        for name, count in zip(("primary", "replica1", "replica2"), ran):
            out[name] = 100 * count / max(1, sum(ran))
        return out

    def rows(self):
        for row, args in self.loads.items():
            able = {}
            for name, proxy in self.running.items():
                if name == "pgbouncer" and "prepared" in row and peers.too_old(name, "prepared", self.bench.versions[name][1]):
                    self.bench.results.setdefault(row, {})[name] = "n/a"
                    continue
                able[name] = proxy
                try:
                    loads.pgbench(self.bench.pgbench, proxy, args, 1)  # warm, unmeasured
                except loads.Failed as why:
                    self.bench.results.setdefault(row, {})[name] = "FAILED: " + " ".join(str(why).split())[:400]
            self.bench.rounds(row, lambda p: self.measure(p, args, self.bench.o.seconds), able)
            self.bench.show(row, f"{row}: pgbench {' '.join(args)}")

    def stop(self):
        for proxy in self.running.values():
            proxy.stop()
        self.cluster.stop()
