"""A project with leat under subprojects/ builds, runs its tests, and is not given ours."""

import shlex
import shutil
import sys

import support

options = support.arguments()

with support.scratch() as directory:
    project = directory / "consumer"
    shutil.copytree(support.SOURCE_ROOT / "test/packaging/consumer", project)
    (project / "subprojects").mkdir()
    (project / "subprojects/leat").symlink_to(support.SOURCE_ROOT, target_is_directory=True)
    build = directory / "build"
    environment = {"CXX": shlex.join(options.compiler)}
    support.run(["meson", "setup", build, project, "-Doptimization=0", "-Ddebug=false"], env=environment)
    targets = support.run(["meson", "introspect", "--tests", build]).stdout
    if "packaging" in targets:
        sys.exit(f"leat's own tests became the consumer's:\n{targets}")
    print(support.run(["meson", "test", "-C", build, "--print-errorlogs"]).stdout)
