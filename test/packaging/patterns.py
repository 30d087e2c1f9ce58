#!/usr/bin/env python3
"""Every row of docs/patterns.md names a header, a test and a sample, which exist, and in which its names are."""

import pathlib
import re
import sys

ROOT = pathlib.Path(sys.argv[1])
COLUMNS = {"header": "include/leat", "test": "test", "sample": "samples"}


def rows():
    """Each row as a mapping from the heads of its columns, in lower case, to what stands in backticks there."""
    heads = []
    for line in (ROOT / "docs/patterns.md").read_text(encoding="utf-8").splitlines():
        if not line.startswith("|"):
            heads = []
            continue
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not heads:
            heads = [cell.lower() for cell in cells]
        elif set(cells[0]) != {"-"}:
            yield cells[0], {head: re.findall("`([^`]+)`", cell) for head, cell in zip(heads, cells)}


def problems_of(row):
    if not row.get("leat"):
        yield "names nothing of leat's"
    for column, folder in COLUMNS.items():
        files = [ROOT / folder / name for name in row.get(column, [])]
        if not files:
            yield f"has no {column}"
        missing = [file for file in files if not file.is_file()]
        yield from (f"there is no {file.relative_to(ROOT)}" for file in missing)
        text = "\n".join(file.read_text(encoding="utf-8") for file in files if file not in missing)
        if not missing:
            yield from (f"{name} is not in its {column}" for name in row.get("leat", [])
                        if not re.search(rf"\b{re.escape(name)}\b", text))


def main():
    failed = 0
    count = 0
    for name, row in rows():
        count += 1
        for problem in problems_of(row):
            failed = 1
            print(f"docs/patterns.md: {name}: {problem}")
    print(f"{count} rows")
    return 1 if count < 40 else failed


if __name__ == "__main__":
    sys.exit(main())
