"""Tables of the rounds, and DESIGN's budgets held against them."""
import statistics

UNITS = {"tps": ("tps", 0), "us": ("CPU us/tx", 2), "ms": ("latency ms", 3), "gbps": ("GB/s", 2), "cpu_gb": ("CPU s/GB", 3),
         "kib": ("KiB/client", 2), "cpu": ("idle CPU %", 2), "quiet": ("p99 ms alone", 3), "busy": ("p99 ms +logins", 3),
         "primary": ("primary %", 1), "replica1": ("replica 1 %", 1), "replica2": ("replica 2 %", 1)}
ROUTED = ("routed simple", "routed prepared", "routed mix simple", "routed mix prepared")
POOLERS = ("pgbouncer", "odyssey", "pgpool")


def median(rounds, key):
    return statistics.median(r[key] for r in rounds)


def table(title, rows):
    """rows: {peer: list of measurements, or a text that says why there are none}."""
    print(f"\n{title}")
    measured = next((r[0] for r in rows.values() if isinstance(r, list) and r), None)
    if measured is None:
        for peer, why in rows.items():
            print(f"  {peer:12}{why or 'not measured'}")
        return
    print("  " + " " * 12 + "".join(f"{UNITS[k][0]:>16}{'(min-max)':>20}" for k in measured))
    for peer, rounds in rows.items():
        if not isinstance(rounds, list):
            print(f"  {peer:12}{rounds}")
            continue
        cells = ""
        for key in measured:
            places, values = UNITS[key][1], [r[key] for r in rounds if key in r]
            if not values:
                cells += f"{'-':>16}{'':>20}"
                continue
            spread = f"({min(values):.{places}f}-{max(values):.{places}f})"
            cells += f"{statistics.median(values):16.{places}f}{spread:>20}"
        print(f"  {peer:12}{cells}")


class Budgets:
    """Collects the lines 'budget, measured, met or missed by how much'."""

    def __init__(self, results):
        self.results, self.lines, self.missed = results, [], 0

    def value(self, row, peer, key):
        rounds = self.results.get(row, {}).get(peer)
        return median(rounds, key) if isinstance(rounds, list) and rounds and key in rounds[0] else None

    def hold(self, what, measured, limit, unit):
        """One budget: `measured` must be at most `limit`; either may be None (n/a)."""
        if measured is None or limit is None:
            self.lines.append((what, "n/a", "n/a", "not measured"))
            return
        verdict = "met"
        if measured > limit:
            self.missed += 1
            by = f", {(measured / limit - 1) * 100:.1f} %" if limit > 0 else ""
            verdict = f"MISSED by {measured - limit:.3g} {unit}{by}"
        self.lines.append((what, f"{limit:.3f} {unit}", f"{measured:.3f} {unit}", verdict))

    def ratio(self, row, peer, factor, key="us", unit="us"):
        other = self.value(row, peer, key)
        self.hold(f"{row}: {unit} <= {factor} x {peer}", self.value(row, "howdah", key),
                  None if other is None else other * factor, unit)

    def pairs(self, row, peer, key="us"):
        """The median of howdah's rounds, each divided by the peer's beside it: a drift of the machine meets both."""
        ours, theirs = (self.results.get(row, {}).get(name) for name in ("howdah", peer))
        if not isinstance(ours, list) or not isinstance(theirs, list):
            return None
        return statistics.median(a[key] / b[key] for a, b in zip(ours, theirs))

    def judge(self, pgbouncer_is_new):
        for row in ("simple", "extended", "prepared", "rate"):
            for peer in POOLERS:
                if peer != "pgbouncer" or pgbouncer_is_new:
                    self.ratio(row, peer, 0.85 if peer == "pgbouncer" else 1.0)
                else:
                    self.hold(f"{row}: us <= 0.85 x pgbouncer (1.24 or later)", None, None, "us")
        other = self.value("one", "pgbouncer", "ms")
        self.hold("one client: latency <= pgbouncer + 3 us", self.value("one", "howdah", "ms"),
                  None if other is None else other + 0.003, "ms")
        self.hold("idle client, plain: <= 3 KiB", self.value("idle", "howdah", "kib"), 3.0, "KiB")
        self.hold("idle client, TLS: <= 20 KiB", self.value("idle TLS", "howdah", "kib"), 20.0, "KiB")
        self.hold("5,000 idle clients: <= 0.5 % of a core", self.value("idle", "howdah", "cpu"), 0.5, "%")
        self.ratio("copy", "pgbouncer", 1.0, "cpu_gb", "s/GB")
        self.ratio("wide", "pgbouncer", 1.0, "cpu_gb", "s/GB")
        quiet = self.value("logins", "howdah", "quiet")
        self.hold("p99 under 200 logins/s: moves by < 20 %", self.value("logins", "howdah", "busy"),
                  None if quiet is None else quiet * 1.2, "ms")

        for kind in ("simple", "prepared"):
            self.hold(f"watched {kind}: <= 1.03 x unwatched", self.pairs(f"watched {kind}", "unwatched"), 1.03, "x")

        for row in ROUTED:
            self.hold(f"{row}: <= 1.10 x without routing", self.pairs(row, "unrouted"), 1.10, "x")
            self.hold(f"{row}: <= 0.40 x pgpool", self.pairs(row, "pgpool"), 0.40, "x")

    def show(self):
        print("\nBudgets")
        print(f"  {'what':48}{'at most':>14}{'measured':>14}   verdict")
        for what, limit, measured, verdict in self.lines:
            print(f"  {what:48}{limit:>14}{measured:>14}   {verdict}")
        measured = [l for l in self.lines if l[3] != "not measured"]
        print(f"  {len(measured) - self.missed} of {len(measured)} measured budgets met, {len(self.lines) - len(measured)} not measured")
