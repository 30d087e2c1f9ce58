"""The traps that show while compiling, or only with flags that no flavour of the build uses.

Each file of traps/ says in its first lines what it is:

    // T5 canary: what this compiler cannot do
    // instead: what to write
    // flags: -O2 ...

A canary that does not compile is reported and does not fail. A regression must compile; if it has a main(), it is
linked with the library, and must run, with each set of flags (they are separated by |)."""

import pathlib
import re
import sys

import support

options = support.arguments("library")
failed = 0


def fail(message):
    global failed
    failed += 1
    print(message)


def try_file(path):
    text = path.read_text(encoding="utf-8")
    head = re.match(r"// (T\d+) (canary|regression): (.+)\n(?:// instead: (.+)\n)?// flags: (.*)\n", text)
    if not head:
        fail(f"{path.name} does not begin as it should")
        return
    item, kind, what, instead, sets = head.groups()
    program = "int main()" in text
    for flags in (flags.split() for flags in sets.split("|")):
        with support.scratch() as directory:
            output = directory / ("program" if program else "object.o")
            link = [options.library] if program else ["-c"]
            command = [*options.compiler, "-Wall", "-Wextra", *flags, path, *link, "-o", output]
            ended = support.run(command, check=False)
            if ended.returncode == 0 and program:
                ended = support.run([output], check=False)
        label = f"{item} {' '.join(flags)}".strip()
        if ended.returncode == 0:
            print(f"{label}: right ({what})")
        elif kind == "canary":
            print(f"canary {label}: this compiler {what}. {instead}")
        else:
            fail(f"{label}: {what}\n{ended.stdout}")


def no_source_says(item, pattern, why, *folders):
    """No file of ours has the pattern outside a comment."""
    found = 0
    for folder in folders:
        for path in sorted((support.SOURCE_ROOT / folder).glob("**/*.[ch]pp")):
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
                if re.search(pattern, line.split("//")[0]):
                    found += 1
                    fail(f"{item}: {path.relative_to(support.SOURCE_ROOT)}:{number}: {why}")
    if not found:
        print(f"{item}: no source says {pattern}")


for source in sorted(pathlib.Path(__file__).with_name("traps").glob("*.cpp")):
    try_file(source)

no_source_says("T8", r"atomic_(thread|signal)_fence", "ThreadSanitizer does not see fences", "include", "lib")
no_source_says("T19", r"asio::experimental|make_parallel_group|cancel_after|asio/experimental",
               "not in every Asio that leat supports, or not right in some", "include", "lib", "samples")
no_source_says("T11", r"coro_await_elidable", "the attribute has been wrong in several releases of clang",
               "include", "lib")
no_source_says("T16", r"co_await \(.*->\*", "g++ 15 fails on member pointers in an awaited expression",
               "include", "lib")

sys.exit(1 if failed else 0)
