"""`meson setup` with g++ 12.0 to 12.2 warns, and names the three rules; with another compiler there is nothing to
test."""

import re
import shlex
import sys

import support

SKIPPED = 77

options = support.arguments()

macros = support.run([*options.compiler, "-dM", "-E", "-x", "c++", "/dev/null"]).stdout
defined = dict(re.findall(r"^#define (__GNUC__|__GNUC_MINOR__|__clang__) (\d+)$", macros, re.MULTILINE))
if "__clang__" in defined or defined.get("__GNUC__") != "12" or int(defined.get("__GNUC_MINOR__", 0)) > 2:
    print(f"{options.compiler[0]} is no g++ 12.0 to 12.2")
    sys.exit(SKIPPED)

with support.scratch() as directory:
    environment = {"CXX": shlex.join(options.compiler)}
    switched_off = ["-Dtests=disabled", "-Dsamples=disabled", "-Dperf=disabled"]
    setup = ["meson", "setup", directory / "build", support.SOURCE_ROOT, *switched_off]
    printed = support.run(setup, env=environment).stdout

wanted = {
    "that it is a warning": r"WARNING: *\n?g\+\+ 12\.[0-2]\.\d+ compiles some coroutines wrongly",
    "rule 1": r"^ *1\. .*at least one local variable before an if, while, for or switch on a co_await",
    "how to keep to rule 1": r"`auto v = co_await f\(\); if \(v\)`",
    "rule 2": r"^ *2\. .*Name lambdas that own what they capture, and build no aggregate",
    "how to keep to rule 2": r"`auto job = \[p\] \{ \.\.\. \}; co_await run\(std::move\(job\)\);`",
    "rule 3": r"^ *3\. .*no co_await inside && \|\| \?: of a loop condition",
    "how to keep to rule 3": r"`while \(n\) \{ if \(!co_await f\(\)\) break; \.\.\. \}`",
    "a compiler without the faults": r"clang 19",
}
missing = [what for what, pattern in wanted.items() if not re.search(pattern, printed, re.MULTILINE)]
if missing:
    print(printed)
    sys.exit("the warning does not say: " + ", ".join(missing))
print("the warning names the three rules")
