#!/usr/bin/env python3
"""instructions.py [--update] --built-with KEY PROGRAM...: how many instructions the heart of leat takes, per operation.

Unlike time, this does not depend on how busy the machine is. Each row runs under callgrind twice, with one worker and
two amounts of work; the difference, divided by that of the amounts, is free of what starting costs.

instructions.json holds what is expected, by what it was built with. It is an error if a row takes over a tenth more;
--update writes down what there is (meson test instructions --test-args=--update). Exit 77 (skipped): no Valgrind, or nothing recorded for this build."""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROWS = [
    "call_overhead",
    "spawn_join",
    "yield",
    "chan_pingpong",
    "chan_spsc.cap128",
    "timer_churn.timer",
    "mutex_uncontended",
    "rw_read",  # of eight tasks
]
LITTLE, MUCH = 10_000, 110_000
TOLERANCE = 0.10
WAITING = re.compile(r"thread_parker::")  # spins for a while before it sleeps, in the main thread above all
SKIPPED = 77
RECORD = Path(__file__).with_suffix(".json")


def instructions(program, row, amount):
    """How many a whole run takes, without those that threads spend on waiting."""
    # Meson lets the tests' malloc() overwrite what it gives out.
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    with tempfile.NamedTemporaryFile() as profile:
        run = subprocess.run(
            ["valgrind", "--tool=callgrind", f"--callgrind-out-file={profile.name}"]
            + [program, row, "--workers", "1", "--amount", str(amount)],
            capture_output=True,
            text=True,
            env=clean,
            check=False,
        )
        count = sum(cost for name, cost in costs(Path(profile.name).read_text()) if not WAITING.search(name))
    if run.returncode != 0 or count == 0:
        sys.exit(f"{row} did not run under callgrind:\n{run.stderr}")
    return count


def costs(profile):
    """The lines of a callgrind profile: a function, and what it spends there itself."""
    names, name, of_callee = {}, "", False
    for line in profile.splitlines():
        function = re.fullmatch(r"(c?)fn=(\(\d+\))(?: (.*))?", line)
        if function:
            if function[3]:
                names[function[2]] = function[3]
            if not function[1]:
                name = names[function[2]]
        elif line.startswith("calls="):
            of_callee = True
        elif re.match(r"[\d+*-]", line):
            if not of_callee:
                yield name, int(line.split()[1])
            of_callee = False


def per_operation(program, row):
    return (instructions(program, row, MUCH) - instructions(program, row, LITTLE)) / (MUCH - LITTLE)


def programs_by_row(programs, directory):
    """Copies without debug information: Valgrind 3.19 gives up on what clang 19 writes there."""
    found = {}
    for original in programs:
        program = os.path.join(directory, os.path.basename(original))
        subprocess.run(["strip", "--strip-debug", "-o", program, original], check=True)
        listing = subprocess.run([program, "--list"], capture_output=True, text=True, check=True).stdout
        found.update({line.split()[0]: program for line in listing.splitlines()})
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--built-with", required=True, metavar="KEY", help="compiler, version and optimisation")
    parser.add_argument("--update", action="store_true", help="write down what there is")
    parser.add_argument("programs", nargs="+", metavar="PROGRAM")
    options = parser.parse_args()

    if not shutil.which("valgrind") or not shutil.which("strip"):
        print("skipped: there is no Valgrind, or no strip")
        return SKIPPED
    record = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    expected = record.get(options.built_with)
    if expected is None and not options.update:
        print(f"skipped: nothing is recorded for {options.built_with}, but for {', '.join(record) or 'nothing'}")
        return SKIPPED

    with tempfile.TemporaryDirectory() as directory:
        program_of = programs_by_row(options.programs, directory)
        measured = {row: round(per_operation(program_of[row], row), 1) for row in ROWS}
    if options.update:
        record[options.built_with] = measured
        RECORD.write_text(json.dumps(record, indent=2, sort_keys=True) + "\n")
        expected = measured

    worse = False
    for row, count in measured.items():
        change = count / expected[row] - 1
        verdict = ""
        if change > TOLERANCE:
            verdict, worse = "  too many", True
        elif change < -TOLERANCE:
            verdict = "  better: record it with --update"
        print(f"{row:<20} {count:8.1f} instructions, {expected[row]:8.1f} expected  {change:+7.1%}{verdict}")
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main())
