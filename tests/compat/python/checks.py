"""What the Python drivers' scripts share: checks that print a line each, and what run.sh tells them."""

import os
import sys
import time

POOL_SIZE = int(os.environ["COMPAT_POOL_SIZE"])
VERSION = int(os.environ["COMPAT_VERSION"])
USER = os.environ["PGUSER"]
PASSWORD = os.environ["PGPASSWORD"]


def ok(name):
    print(f"ok - {name}", flush=True)


def fail(name, said):
    print(f"FAILED - {name}: {said}", flush=True)
    sys.stdout.flush()
    os._exit(1)  # also from a thread, or with others still at work


def same(name, want, got):
    if want != got:
        fail(name, f"expected {want!r}, got {got!r}")
    ok(name)


def true(name, value, said=""):
    if not value:
        fail(name, said or "it is not so")
    ok(name)


def shared_servers(name, pids_by_client):
    """The clients have met the same few servers, and at least one client more than one of them."""
    pids = set().union(*pids_by_client)
    true(f"{name}: {len(pids)} servers for {len(pids_by_client)} clients", 1 < len(pids) <= POOL_SIZE, f"servers {pids}")
    true(f"{name}: clients changed servers", any(len(mine) > 1 for mine in pids_by_client))


class quick:
    """Fails if what is inside takes longer than it may: a cancelled query must not run to its end."""

    def __init__(self, name, seconds=20):
        self.name, self.seconds = name, seconds

    def __enter__(self):
        self.began = time.monotonic()

    def __exit__(self, kind, value, trace):
        took = time.monotonic() - self.began
        if kind is None and took > self.seconds:
            fail(self.name, f"took {took:.1f} s")
