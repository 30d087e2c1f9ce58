#!/usr/bin/env python3
"""Compiles the C++ in README.md and docs/: all blocks of a page, in order, are one program."""

import pathlib
import re
import subprocess
import sys
import tempfile

PRELUDE = """#include <leat/leat.hpp>
#include <optional>
#include <string>
using namespace std::chrono_literals;
"""


def main() -> int:
    root, *compiler = sys.argv[1:]
    pages = [pathlib.Path(root) / "README.md", *sorted((pathlib.Path(root) / "docs").glob("*.md"))]
    failed = 0
    for page in pages:
        blocks = re.findall(r"^```cpp\n(.*?)^```", page.read_text(), re.S | re.M)
        if not blocks:
            continue
        with tempfile.NamedTemporaryFile("w", suffix=".cpp") as source:
            source.write(PRELUDE + "\n".join(blocks))
            source.flush()
            done = subprocess.run([*compiler, "-fsyntax-only", source.name], capture_output=True, text=True)
        print(f"{page.name}: {len(blocks)} blocks: {'compile' if done.returncode == 0 else 'DO NOT COMPILE'}")
        if done.returncode != 0:
            print(done.stderr)
            failed = 1
    return failed


if __name__ == "__main__":
    sys.exit(main())
