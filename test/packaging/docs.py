#!/usr/bin/env python3
"""Compiles the C++ in README.md and docs/: all blocks of a page, in order, are one program.

    docs.py ROOT LIBRARY COMPILER [ARGUMENT ...]

A page that says that it is a program is also run: what it prints has to be what its blocks of text say, in order."""

import difflib
import pathlib
import re
import subprocess
import sys
import tempfile

PRELUDE = """#include <leat/leat.hpp>
#include <memory>
#include <optional>
#include <string>
using namespace std::chrono_literals;
"""


IS_PROGRAM = "<!-- This page is a program:"


def blocks_of(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page, re.S | re.M)


def run(*command: str) -> subprocess.CompletedProcess:
    return subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)


def differs(program: str, expected: str) -> bool:
    printed = run(program)
    if printed.returncode == 0 and printed.stdout == expected:
        return False
    sys.stdout.writelines(difflib.unified_diff(expected.splitlines(True), printed.stdout.splitlines(True), "the page",
                                               f"its program, which ended with {printed.returncode}"))
    print(printed.stderr)
    return True


def main() -> int:
    root, library, *compiler = sys.argv[1:]
    pages = [pathlib.Path(root) / "README.md", *sorted((pathlib.Path(root) / "docs").glob("*.md"))]
    failed = 0
    for page in pages:
        text = page.read_text(encoding="utf-8")
        blocks = blocks_of(text, "cpp")
        if not blocks:
            continue
        is_program = IS_PROGRAM in text
        with tempfile.TemporaryDirectory() as directory:
            source = pathlib.Path(directory) / "page.cpp"
            program = str(pathlib.Path(directory) / "page")
            source.write_text(PRELUDE + "\n".join(blocks), encoding="utf-8")
            how = [library, "-o", program] if is_program else ["-fsyntax-only"]
            done = run(*compiler, str(source), *how)
            print(f"{page.name}: {len(blocks)} blocks: {'compile' if done.returncode == 0 else 'DO NOT COMPILE'}")
            if done.returncode != 0:
                print(done.stderr)
                failed = 1
            elif is_program and differs(program, "".join(blocks_of(text, "text"))):
                print(f"{page.name}: prints something else than it says")
                failed = 1
    return failed


if __name__ == "__main__":
    sys.exit(main())
