"""What the scripts of this directory share. Each is called as

    SCRIPT [--OPTION=VALUE ...] -- COMPILER [ARGUMENT ...]

where the arguments are those a user of leat compiles with."""

import argparse
import contextlib
import os
import pathlib
import subprocess
import sys
import tempfile

SOURCE_ROOT = pathlib.Path(__file__).resolve().parents[2]
WARNINGS = ["-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Wconversion"]


def arguments(*options):
    """The options as attributes, and the compiler with its arguments as `compiler`."""
    parser = argparse.ArgumentParser()
    for option in options:
        parser.add_argument("--" + option, required=True)
    parser.add_argument("compiler", nargs="+")
    return parser.parse_args()


def run(command, *, check=True, cwd=None, env=None):
    """Runs a command; what it prints, both ways, is returned, and shown if it fails."""
    ended = subprocess.run(
        [str(word) for word in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        check=False,
        cwd=cwd,
        env={**os.environ, "LC_ALL": "C", **(env or {})},
    )
    if check and ended.returncode != 0:
        print("$", *command)
        print(ended.stdout)
        sys.exit(f"{command[0]} ended with status {ended.returncode}")
    return ended


@contextlib.contextmanager
def scratch():
    """A directory that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="leat-") as name:
        yield pathlib.Path(name)
