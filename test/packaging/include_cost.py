"""<leat/leat.hpp> includes nothing of Asio, and costs less than half of <asio.hpp> to compile."""

import math
import os
import pathlib
import shutil
import subprocess
import sys

import support

LIMIT = 0.5
# A compiler may be ccache in disguise, which takes its time to find that there is nothing to keep.
os.environ["CCACHE_DISABLE"] = "1"
# Whatever else the machine does only adds to what a run costs, so the least that has been seen of each comes down to
# what it really costs, and the ratio of the two gets better with every round, whichever way. The verdict is that
# ratio once it has held for a while: below the limit for some rounds on end, or not even that at the last. (The road not
# taken is a fixed number of rounds: on a machine that is busy throughout, few are not enough, and many are a waste
# everywhere else.)
ROUNDS = 40
STEADY = 5
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
        best = {ours: math.inf, theirs: math.inf}
        below = rounds = 0
        while below < STEADY and rounds < ROUNDS:
            rounds += 1
            # In turn, and each as often the first: what disturbs for a while disturbs both.
            for source in (ours, theirs) if rounds % 2 else (theirs, ours):
                best[source] = min(best[source], cpu_seconds([*command, source]))
            below = below + 1 if best[ours] < LIMIT * best[theirs] else 0
        print(
            f"{compiler}: <leat/leat.hpp> {best[ours]:.2f} s, <asio.hpp> {best[theirs]:.2f} s: "
            f"{best[ours] / best[theirs]:.1%}, best of {rounds}"
        )
        failed = failed or below == 0

if failed:
    sys.exit("<leat/leat.hpp> costs more than half of <asio.hpp>")
