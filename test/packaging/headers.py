"""Every public header compiles alone, twice in a row, without a warning."""

import concurrent.futures
import sys

import support

options = support.arguments("jobs", "tls")
include = support.SOURCE_ROOT / "include"
headers = sorted(str(path.relative_to(include)) for path in include.glob("leat/**/*.hpp"))
if options.tls != "true":  # no OpenSSL
    headers.remove("leat/asio/net/tls.hpp")


def compile_alone(header):
    tu = f"#include <{header}>\n#include <{header}>\n"
    with support.scratch() as directory:
        source = directory / "alone.cpp"
        source.write_text(tu, encoding="utf-8")
        return header, support.run(
            [*options.compiler, *support.WARNINGS, "-Werror", "-fsyntax-only", source], check=False
        )


failed = 0
with concurrent.futures.ThreadPoolExecutor(int(options.jobs)) as pool:
    for name, ended in pool.map(compile_alone, headers):
        if ended.returncode != 0:
            failed += 1
            print(f"<{name}> does not compile alone:\n{ended.stdout}")

print(f"{len(headers) - failed} of {len(headers)} headers compile alone")
sys.exit(1 if failed or not headers else 0)
