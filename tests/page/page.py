#!/usr/bin/env python3
"""The page at / in a headless Chromium.

    tests/page/page.py [HOWDAH [SCREENSHOT]]

Starts a PostgreSQL, howdah and some load, opens the page, waits until its script has drawn the figures,
and looks at the document: every table is there, what clients have chosen appears as text and not as
HTML, and nothing was refused by the page's own policy. Needs PostgreSQL, pgbench and Chromium; where
one is missing it says so and ends with exit code 2.
"""

import glob
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PATIENCE = 60
EVIL = "<img src=x onerror=document.title='evil'>"


def missing(what):
    print(f"skipped: {what}", file=sys.stderr)
    sys.exit(2)


def free_port():
    """Below the range from which the kernel gives ports to connections, so that nobody is given it by chance."""
    while True:
        with socket.socket() as found:
            try:
                found.bind(("127.0.0.1", random.randrange(20000, 32000)))
                return found.getsockname()[1]
            except OSError:
                pass


def unprivileged(command):
    if os.getuid() == 0:
        return ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", "--", *command]
    return command


def await_port(port):
    end = time.monotonic() + PATIENCE
    while True:
        with socket.socket() as found:
            if found.connect_ex(("127.0.0.1", port)) == 0:
                return
        if time.monotonic() > end:
            sys.exit(f"FAILED - nobody listens on port {port}")
        time.sleep(0.1)


def chromium(browser, folder, arguments, url):
    # No sandbox: it cannot be had as root in a container, and what it opens is ours.
    command = [browser, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
               f"--user-data-dir={folder}/profile", "--enable-logging=stderr", "--v=0",
               "--virtual-time-budget=15000", "--timeout=15000", *arguments, url]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=PATIENCE)


def check(document, said):
    problems = []
    for table in ("pools", "capacity", "queries", "clients", "events"):
        if f'<div id="{table}"><table>' not in document:
            problems.append(f"no table of {table}")
    for text in ("select abalance from pgbench_accounts where aid = $1", "process up", "ready</span>"):
        if text not in document:
            problems.append(f"no {text!r}")
    if "<img" in document or "&lt;img src=x" not in document:
        problems.append("what a client chose is not shown as text")
    if "<polyline" not in document:
        problems.append("no charts")
    problems += [line for line in said.splitlines() if "Content Security Policy" in line or "CONSOLE" in line]
    return problems


def main():
    howdah = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else os.path.join(ROOT, "target/release/howdah"))
    shot = os.path.abspath(sys.argv[2]) if len(sys.argv) > 2 else None
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or missing("no chromium")
    programs = sorted(glob.glob("/usr/lib/postgresql/*/bin")) or missing("no PostgreSQL")
    running = []
    with tempfile.TemporaryDirectory(prefix="howdah-page-") as folder:
        os.chmod(folder, 0o777)
        data, (postgres, pooler, http) = os.path.join(folder, "data"), [free_port() for _ in range(3)]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": folder}
        try:
            subprocess.run(unprivileged([f"{programs[-1]}/initdb", "--no-sync", "-A", "trust", "-U", "app", "-D", data]),
                           check=True, **quiet)
            options = ["-k", folder, "-p", str(postgres), "-c", "fsync=off"]
            running.append(subprocess.Popen(unprivileged([f"{programs[-1]}/postgres", "-D", data, *options]), **quiet))
            await_port(postgres)
            with open(os.path.join(folder, "howdah.toml"), "w", encoding="utf-8") as file:
                file.write(f'[howdah]\nlisten_addr = ["127.0.0.1"]\nlisten_port = {pooler}\nunix_socket_dir = ""\n'
                           f'[log]\nstats_period = "2s"\n[auth]\nauth_type = "trust"\n[http]\nlisten = "127.0.0.1:{http}"\n'
                           f'[databases.shop]\nnodes = ["127.0.0.1:{postgres}"]\ndbname = "postgres"\nuser = "app"\n')
            running.append(subprocess.Popen([howdah, "run", "howdah.toml"], **quiet))
            await_port(pooler)
            await_port(http)
            at = ["-h", "127.0.0.1", "-p", str(pooler)]
            subprocess.run(["pgbench", *at, "-U", "app", "-i", "-q", "shop"], check=True, **quiet)
            subprocess.run(["psql", "-X", *at, "-U", "app", "-d", "shop", "-c", f'SELECT 1 AS "{EVIL}"'], check=True, **quiet)
            subprocess.run(["psql", "-X", *at, "-U", EVIL, "-d", "nowhere"], check=False, **quiet)
            for kind in (["-S"], ["-N"]):
                running.append(subprocess.Popen(
                    ["pgbench", *at, "-U", "app", "-n", *kind, "-c", "8", "-R", "300", "-T", "90", "shop"], **quiet))
            url = f"http://127.0.0.1:{http}/"
            # The averages are those of a whole period.
            time.sleep(4)
            found = chromium(browser, folder, ["--dump-dom"], url)
            problems = check(found.stdout, found.stderr)
            if shot:
                chromium(browser, folder, [f"--screenshot={shot}", "--window-size=1280,1500"], url)
        finally:
            for process in reversed(running):
                process.terminate()
                process.wait()
    for problem in problems:
        print(f"FAILED - {problem}")
    print(f"{len(problems)} problems")
    sys.exit(1 if problems else 0)


main()
