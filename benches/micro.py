#!/usr/bin/env python3
"""`make micro`: instructions of each piece of the warm path, counted by valgrind; see benches/README.md.

Counts do not depend on what else the machine does: each piece is run twice, with different repetitions, and the
difference is what a repetition costs.
"""
import json, re, subprocess, sys

SHORT, LONG = 200, 1200


def binary():
    build = ["cargo", "bench", "--locked", "--bench", "micro", "--no-run", "--message-format=json"]
    for line in subprocess.run(build, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines():
        message = json.loads(line)
        if message.get("executable") and message["target"]["name"] == "micro":
            return message["executable"]
    sys.exit("cargo built no benchmark named micro")


def instructions(program, name, count):
    command = ["valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null", program, name, str(count)]
    done = subprocess.run(command, capture_output=True, text=True)
    found = re.search(r"I\s+refs:\s+([\d,]+)", done.stderr)
    if done.returncode or not found:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    return int(found.group(1).replace(",", ""))


program = binary()
names = subprocess.run([program], capture_output=True, text=True, check=True).stdout.split()
print("instructions a repetition:")
for name in sys.argv[1:] or names:
    cost = (instructions(program, name, LONG) - instructions(program, name, SHORT)) / (LONG - SHORT)
    print(f"  {name:20}{cost:8.0f}")
