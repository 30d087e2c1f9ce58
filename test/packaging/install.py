"""`meson install`, then programs that are built outside the tree through pkg-config, and run."""

import shlex
import sys

import support

options = support.arguments("build-root", "prefix")
compiler, *user_arguments = options.compiler

with support.scratch() as directory:
    root = directory / "root"
    support.run(["meson", "install", "-C", options.build_root, "--no-rebuild", "--destdir", root])
    installed = root / options.prefix.lstrip("/")
    if not (installed / "include/leat/leat.hpp").is_file():
        sys.exit("include/leat/leat.hpp is not installed")
    configurations = list(installed.glob("**/leat.pc"))
    if len(configurations) != 1:
        sys.exit(f"{len(configurations)} pkg-config files are installed")
    text = configurations[0].read_text(encoding="utf-8")
    if str(support.SOURCE_ROOT) in text or options.build_root in text:
        sys.exit(f"leat.pc names the build:\n{text}")

    environment = {
        "PKG_CONFIG_PATH": str(configurations[0].parent),
        "PKG_CONFIG_SYSROOT_DIR": str(root),
        "LD_LIBRARY_PATH": str(configurations[0].parent.parent),
    }

    def pkg_config(*words):
        return shlex.split(support.run(["pkg-config", *words, "leat"], env=environment).stdout)

    pkg_config("--print-errors", "--exists")
    cflags, libs = pkg_config("--cflags"), pkg_config("--libs", "--static")
    for flag in ("-DASIO_STANDALONE", "-pthread"):
        if flag not in cflags:
            sys.exit(f"leat.pc does not give {flag}: {cflags}")
    for warning in (flag for flag in cflags if flag.startswith("-W")):
        sys.exit(f"leat.pc exports {warning}")

    for name in ("main", "asio_main"):
        source = support.SOURCE_ROOT / f"test/packaging/consumer/{name}.cpp"
        program = directory / name
        support.run(
            [compiler, "-std=c++20", *user_arguments, *cflags, source, "-o", program, *libs], cwd=directory
        )
        print(f"{name}: {support.run([program], env=environment).stdout.strip()}")

