"""<leat/leat.hpp> includes nothing of Asio, and costs less than half of <asio.hpp> to compile."""

import os
import pathlib
import shutil
import subprocess
import sys

import support

RUNS = 9
options = support.arguments()


def cpu_seconds(command):
    """What a command costs. Processor time, because wall time also measures what else the machine does."""
    with subprocess.Popen(command) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"{command[0]} ended with status {process.returncode}")
    return usage.ru_utime + usage.ru_stime


with support.scratch() as directory:

    def source_for(header):
        path = directory / (pathlib.Path(header).stem + "_cost.cpp")
        path.write_text(f"#include <{header}>\n", encoding="utf-8")
        return str(path)

    ours, theirs = source_for("leat/leat.hpp"), source_for("asio.hpp")

    rule = support.run([*options.compiler, "-M", ours]).stdout
    included = rule.replace("\\\n", " ").split()
    foreign = [
        path
        for path in included
        if "asio" in pathlib.Path(path).parts[:-1] or pathlib.Path(path).name == "asio.hpp"
    ]
    if foreign:
        trace = support.run([*options.compiler, "-fsyntax-only", "-H", ours]).stdout.splitlines()
        first = next((i for i, line in enumerate(trace) if foreign[0] in line), 0)
        print("\n".join(trace[max(0, first - 20) : first + 1]))
        sys.exit(f"<leat/leat.hpp> includes {len(foreign)} headers of Asio; this is how it comes to the first")

    compilers = [options.compiler[0]]
    if shutil.which("g++") and compilers != ["g++"]:
        compilers.append("g++")
    failed = False
    for compiler in compilers:
        command = [compiler, *options.compiler[1:], "-O0", "-c", "-o", os.devnull]
        costs = {source: [] for source in (ours, theirs)}
        for _ in range(RUNS):
            for source, seconds in costs.items():
                seconds.append(cpu_seconds([*command, source]))
        our_cost, their_cost = (min(costs[source]) for source in (ours, theirs))
        print(f"{compiler}: <leat/leat.hpp> {our_cost:.2f} s, <asio.hpp> {their_cost:.2f} s, best of {RUNS}")
        failed = failed or our_cost >= their_cost / 2

if failed:
    sys.exit("<leat/leat.hpp> costs more than half of <asio.hpp>")
