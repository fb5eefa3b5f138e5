#!/usr/bin/env python3
"""`make bench`: howdah and its peers side by side, on one machine, in one run. See benches/README.md.

Every proxy gets the same PostgreSQL, pool, load and machine; rounds are interleaved and their order alternates,
so that a drift of the machine's speed meets all of them. Results go to the screen and to .cache/bench/latest.json.
"""
import argparse, json, os, resource, shutil, statistics, subprocess, sys, tempfile, time, traceback

import client, cluster, loads, peers, report, routing

ROWS = ("simple", "extended", "prepared", "rate", "one", "tpcb", "connect", "copy", "wide", "idle", "logins", "watched", "routing")


class Direct:
    """PostgreSQL without a proxy: the floor of every latency. It has no CPU of a proxy to show."""

    name = "(direct)"

    def __init__(self, port, base):
        self.port, self.dir = port, base

    def cpu(self):
        return 0.0


class Bench:
    def __init__(self, options, base):
        self.o, self.base, self.results, self.running = options, base, {}, {}
        self.cluster = cluster.Cluster(base)
        self.pgbench = os.path.join(self.cluster.bin, "pgbench")
        self.binaries, self.versions = {}, {}
        for name in options.only:
            path = peers.find(name)
            if not path:
                print(f"  {name:12}not found, left out ({peers.CATALOG[name][0]} names a binary; "
                      + ("`make build` builds it)" if name == "howdah" else "benches/peers/build.sh brings it)"))
                continue
            self.binaries[name], self.versions[name] = path, peers.version(name, path)

    def start(self, name, auth="trust", watched=None):
        ports = (cluster.free_port(), cluster.free_port(), self.cluster.port)
        return peers.Proxy(name, self.binaries[name], self.base, ports, self.o.workers, auth, watched)

    def start_all(self):
        for name in list(self.binaries):
            try:
                self.running[name] = self.start(name)
            except (RuntimeError, OSError) as why:
                print(f"  {name:12}left out: {why}")
                self.binaries.pop(name)

    def able(self, row):
        """Peers that can do this row; for the others the reason is written down."""
        out = {}
        for name, proxy in self.running.items():
            if peers.too_old(name, row, self.versions[name][1]):
                self.results.setdefault(row, {})[name] = "n/a"
            else:
                out[name] = proxy
        return out

    def rounds(self, row, measure, proxies):
        """Interleaved rounds of `measure(proxy)`; a failure is a row of its own, never a silent gap."""
        out = self.results.setdefault(row, {})
        for turn in range(self.o.rounds):
            order = list(proxies.items())
            for name, proxy in order if turn % 2 == 0 else reversed(order):
                if isinstance(out.get(name, []), str):
                    continue
                try:
                    out.setdefault(name, []).append(measure(proxy))
                except (loads.Failed, client.Refused, OSError) as why:
                    ended = proxy.ended() if isinstance(proxy, peers.Proxy) else ""
                    out[name] = "FAILED: " + " ".join(f"{ended}{why}".split())[:400]

    def pgbench_row(self, row):
        args, proxies = list(loads.PGBENCH[row]), self.able(row)
        if row == "rate":
            half = self.slowest() // 2
            args += ["-R", str(half)]
        if row in ("one", "simple", "prepared", "tpcb", "connect"):
            proxies["(direct)"] = Direct(self.cluster.port, self.base)
        for name, proxy in proxies.items():  # caches and pools warm, unmeasured
            try:
                loads.pgbench(self.pgbench, proxy, args, 1)
            except loads.Failed as why:
                ended = proxy.ended() if isinstance(proxy, peers.Proxy) else ""
                self.results.setdefault(row, {})[name] = "FAILED: " + " ".join(f"{ended}{why}".split())[:400]
        self.rounds(row, lambda p: loads.pgbench(self.pgbench, p, args, self.o.seconds), proxies)
        self.show(row, f"{row}: pgbench {' '.join(args)}")

    def slowest(self):
        """Half of it is the fixed rate: below every proxy's saturation, where none can batch its way out."""
        rows = self.results.get("prepared", {})
        speeds = [report.median(r, "tps") for n, r in rows.items() if isinstance(r, list) and n != "(direct)"]
        return max(100, int(min(speeds))) if speeds else 6000

    def stream_row(self, row):
        self.rounds(row, lambda p: loads.stream(p, row), self.able(row))
        self.show(row, f"{row}: {loads.STREAM[row]}")

    def idle_row(self, row="idle", tls=False):
        """Fresh processes, so that memory freed by earlier rows can't hide what a client costs."""
        out = self.results.setdefault(row, {})
        for name in [n for n in self.able("idle") if not tls or n in ("howdah", "pgbouncer")]:
            for _ in range(min(self.o.rounds, 3)):
                fresh = None
                try:
                    fresh = self.start(name)
                    out.setdefault(name, []).append(loads.idle(fresh, loads.IDLE_CLIENTS, tls))
                except (RuntimeError, OSError, client.Refused) as why:
                    out[name] = "FAILED: " + " ".join(str(why).split())[:160]
                    break
                finally:
                    if fresh:
                        fresh.stop()
        self.show(row, f"{row}: {loads.IDLE_CLIENTS} clients, each ran {loads.IDLE_TRANSACTIONS} transactions, holds "
                       f"{len(client.STATEMENTS)} prepared statements; then {loads.IDLE_SECONDS} s of silence")

    def logins_row(self):
        """SCRAM from a stored verifier on all of them; quiet and busy runs alternate."""
        fresh = {}
        try:
            for name in self.able("logins"):
                fresh[name] = self.start(name, "scram-sha-256")
            span = max(5, self.o.seconds * 2)
            self.rounds("logins", lambda p: {"quiet": loads.tail(self.pgbench, p, span, False),
                                             "busy": loads.tail(self.pgbench, p, span, True)}, fresh)
        finally:
            for proxy in fresh.values():
                proxy.stop()
        self.show("logins", f"logins: p99 of pgbench -S at {loads.BACKGROUND_RATE}/s, alone and under "
                            f"{loads.LOGINS_EACH_SECOND} SCRAM logins a second")

    def watched_row(self):
        """What being watched costs: howdah against itself. Many rounds, because the difference is smaller than the noise."""
        if "howdah" not in self.binaries:
            return
        fresh = {}
        try:
            for name, watched in (("howdah", True), ("unwatched", False)):
                fresh[name] = self.start("howdah", watched=watched)
                loads.watched(self.pgbench, fresh[name], "simple", 1)  # warm, unmeasured
            for kind in ("simple", "prepared"):
                row, rounds = f"watched {kind}", self.o.rounds
                self.o.rounds = 3 * rounds
                self.rounds(row, lambda p: loads.watched(self.pgbench, p, kind, self.o.seconds), fresh)
                self.o.rounds = rounds
                self.show(row, f"{row}: as {kind}, with statistics of statements and a scrape of /metrics a second, and without both")
        finally:
            for proxy in fresh.values():
                proxy.stop()

    def routing_rows(self):
        rows = routing.Routing(self)
        try:
            rows.rows()
        finally:
            rows.stop()

    def show(self, row, title):
        for name in self.results.get(row, {}):
            rounds = self.results[row][name]
            if name == "(direct)" and isinstance(rounds, list):
                for r in rounds:
                    r.pop("us", None)
        report.table(title, self.results.get(row, {}))
        sys.stdout.flush()

    def measure(self):
        for row in self.o.rows:
            if row in loads.PGBENCH:
                self.pgbench_row(row)
            elif row in loads.STREAM:
                self.stream_row(row)
            elif row == "idle":
                self.idle_row()
                self.idle_row("idle TLS", tls=True)
            elif row == "logins":
                self.logins_row()
            elif row == "watched":
                self.watched_row()
            elif row == "routing":
                self.routing_rows()
        print("\nmemory after the load (PSS): " + ", ".join(f"{n} {p.memory() / 1024:.1f} MiB" for n, p in self.running.items()))

    def stop(self):
        for proxy in self.running.values():
            proxy.stop()
        self.cluster.stop()


def certificate(base):
    """A throw-away certificate for the TLS rows."""
    made = subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
                           "-keyout", f"{base}/server.key", "-out", f"{base}/server.crt"], capture_output=True, text=True)
    if made.returncode:
        raise SystemExit(f"openssl could not make a certificate: {made.stderr[-300:]}")


def others():
    """Says so when something else keeps the machine busy: latencies and rates are then worth little."""
    idle = lambda: [int(x) for x in open("/proc/stat").readline().split()[1:9]]
    before = idle()
    time.sleep(2)
    now = [b - a for a, b in zip(before, idle())]
    busy = 1 - (now[3] + now[4]) / max(1, sum(now))
    if busy > 0.1:
        print(f"  NOTE: the machine is {busy * 100:.0f} % busy with something else: expect noise, above all in latencies")


def options():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = lambda all_: lambda text: [x for x in text.split(",") if x in all_ or a.error(f"{x!r} is none of {', '.join(all_)}")]
    a.add_argument("--only", type=names(tuple(peers.CATALOG)), default=list(peers.CATALOG), help="programs, by comma")
    a.add_argument("--rows", type=names(ROWS), default=list(ROWS), help=f"rows, by comma, of {','.join(ROWS)}")
    a.add_argument("--rounds", type=int, default=7)
    a.add_argument("--seconds", type=int, default=4, help="of each pgbench run")
    a.add_argument("--workers", type=int, default=1, help="threads of howdah and Odyssey (PgBouncer has one)")
    a.add_argument("--strict", action="store_true", help="exit 1 when a budget is missed")
    return a.parse_args()


def main():
    o = options()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard < 3 * loads.IDLE_CLIENTS and "idle" in o.rows:
        raise SystemExit(f"the limit of open files is {hard}; {3 * loads.IDLE_CLIENTS} are needed (ulimit -n)")
    base = tempfile.mkdtemp(prefix="howdah-bench-")
    os.chmod(base, 0o755)
    certificate(base)
    bench, began = None, time.monotonic()
    try:
        bench = Bench(o, base)
        print(f"PostgreSQL {bench.cluster.version()}, {os.cpu_count()} cores, {o.rounds} rounds of {o.seconds} s, workers = {o.workers}")
        for name, (text, _) in bench.versions.items():
            print(f"  {name:12}{text}")
        others()
        bench.start_all()
        bench.measure()
        budgets = report.Budgets(bench.results)
        budgets.judge(bench.versions.get("pgbouncer", ("", (0, 0)))[1] >= (1, 24))
        if "howdah" in bench.running:
            budgets.show()
        folder = os.path.join(peers.ROOT, ".cache", "bench")
        os.makedirs(folder, exist_ok=True)
        with open(f"{folder}/latest.json", "w") as f:
            json.dump({"versions": {n: t for n, (t, _) in bench.versions.items()}, "results": bench.results,
                       "budgets": budgets.lines}, f, indent=1)
        print(f"\ntook {(time.monotonic() - began) / 60:.1f} minutes; every round is in .cache/bench/latest.json")
    finally:
        if bench:
            bench.stop()
        shutil.rmtree(base, ignore_errors=True)
    failed = [f"{row}/{name}" for row, r in bench.results.items() for name, v in r.items() if isinstance(v, str) and v != "n/a"]
    if failed:
        print("did not run (why is in the tables): " + ", ".join(failed))
    if any(name.endswith("/howdah") for name in failed):
        raise SystemExit(1)
    if o.strict and budgets.missed:
        raise SystemExit(f"{budgets.missed} budgets missed")


if __name__ == "__main__":
    main()
