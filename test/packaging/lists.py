"""What lies in the tree is in the lists of the build, and every public header in an umbrella."""

import re
import sys

import support

root = support.SOURCE_ROOT
failed = 0


def compare(what, present, build_file):
    """Each of the names that are present is quoted in the build file."""
    global failed
    words = re.findall(r"'([^'\n]*)'", (root / build_file).read_text(encoding="utf-8")) if present else []
    for name in sorted(present):
        if name not in words:
            failed += 1
            print(f"{build_file} does not list the {what} {name}")


def names(pattern, suffix=".cpp"):
    return {path.name[: -len(suffix)] for path in root.glob(pattern)}


compare("source", {name + ".cpp" for name in names("lib/*.cpp")}, "lib/meson.build")
compare("test", names("test/*_test.cpp", "_test.cpp"), "test/meson.build")
compare("sample", names("samples/*.cpp"), "samples/meson.build")
for folder in {path.parent for path in root.glob("samples/*/*.cpp")}:
    # Lists say what belongs to a sample that is a directory: NAME/FILE.cpp or FILE.cpp.
    text = (root / "samples/meson.build").read_text(encoding="utf-8")
    for path in sorted(folder.glob("*.cpp")):
        if path.name not in text:
            failed += 1
            print(f"samples/meson.build does not list {folder.name}/{path.name}")
compare("test of a sample", names("test/samples/*_test.cpp", "_test.cpp"), "test/samples/meson.build")
compare("measurement", names("perf/*.cpp"), "perf/meson.build")


def compare_umbrella(umbrella, public):
    """The umbrella gathers each of the public headers, and no other."""
    global failed
    text = (root / "include" / umbrella).read_text(encoding="utf-8")
    gathered = set(re.findall(r"#include <(leat/[^>]+)>", text))
    for header in sorted(public - gathered):
        failed += 1
        print(f"{umbrella} does not gather <{header}>")
    for header in sorted(gathered - public):
        failed += 1
        print(f"{umbrella} gathers <{header}>, which is not for it")


umbrellas = {"leat/leat.hpp", "leat/flow.hpp"}
public_headers = {
    str(path.relative_to(root / "include"))
    for path in root.glob("include/leat/**/*.hpp")
    if not {"detail", "asio"} & set(path.relative_to(root).parts)
} - umbrellas
flow = {header for header in public_headers if header.startswith("leat/flow/")}
compare_umbrella("leat/leat.hpp", public_headers - flow | {"leat/flow.hpp"})
compare_umbrella("leat/flow.hpp", flow)

print("the lists agree with the tree" if not failed else f"{failed} differences")
sys.exit(1 if failed else 0)
