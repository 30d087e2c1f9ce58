#!/usr/bin/env python3
"""tally.py [--totals | --culprits] TESTLOG.json...: what the logs of `meson test` amount to.

A program of doctest counts with its test cases, any other with one. A program that ends badly (a crash, a timeout, a
finding of a sanitizer) counts as a failure even if no test case of it says so.

Prints one line of words; with --totals, just the two numbers; with --culprits, what failed and the end of what it said."""

import json
import re
import sys

CASES = re.compile(r"\[doctest\] test cases:\s*(\d+)\s*\|\s*(\d+) passed\s*\|\s*(\d+) failed")
CANARY = re.compile(r"canary (T\d+)[^:\n]*: this compiler")
GOOD = {"OK", "EXPECTEDFAIL"}
# Lines that --culprits shows of each program.
LAST = 25


def count(test):
    """How many passed and how many failed in one program."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", test.get("stdout") or "")
    if test["result"] in ("SKIP", "IGNORED"):
        return 0, 0
    found = CASES.findall(text)
    if not found:
        return (1, 0) if test["result"] in GOOD else (0, 1)
    passed = sum(int(match[1]) for match in found)
    failed = sum(int(match[2]) for match in found)
    if test["result"] not in GOOD and failed == 0:
        failed = 1
    return passed, failed


def number(item):
    """T12 comes after T2."""
    return int(item[1:])


def last_words(test):
    """The end of what a program printed, its complaints last."""
    text = (test.get("stdout") or "") + (test.get("stderr") or "")
    return "\n".join(f"    {line}" for line in text.rstrip().splitlines()[-LAST:])


def main():
    options = {argument for argument in sys.argv[1:] if argument.startswith("--")}
    logs = [argument for argument in sys.argv[1:] if argument not in options]
    passed = failed = programs = doctests = 0
    culprits = []
    faults = set()
    for name in logs:
        with open(name, encoding="utf-8", errors="replace") as log:
            for line in log:
                test = json.loads(line)
                good, bad = count(test)
                passed += good
                failed += bad
                programs += 1
                faults.update(CANARY.findall(test.get("stdout") or ""))
                doctests += bool(CASES.search(test.get("stdout") or ""))
                if bad or test["result"] not in GOOD | {"SKIP", "IGNORED"}:
                    culprits.append(f"{test['name']} ({test['result'].lower()})")
                    if "--culprits" in options:
                        print(f"{culprits[-1]}\n{last_words(test)}")
    if "--culprits" in options:
        return
    if "--totals" in options:
        print(passed, failed)
        return
    print(f"{programs} programs, {doctests} of them doctest's: {passed} test cases passed, {failed} failed")
    if culprits:
        print("failed: " + ", ".join(culprits))
    if faults:
        print("faults of this compiler, which the tests of traps report: " + ", ".join(sorted(faults, key=number)))


main()
