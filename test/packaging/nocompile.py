"""Mistakes that must not compile, and the message that must be given.

Each file of nocompile/ is compiled twice: as it is it must compile; with -DMISTAKE it must fail, with a message that
matches the regular expression in its first line, `// expect: ...`."""

import re
import sys

import support

options = support.arguments()
failed = 0
files = sorted((support.SOURCE_ROOT / "test/packaging/nocompile").glob("*.cpp"))
for path in files:
    first_line = path.read_text(encoding="utf-8").splitlines()[0]
    expected = re.fullmatch(r"// expect: (.+)", first_line)
    if not expected:
        sys.exit(f"{path}: the first line is not `// expect: REGULAR EXPRESSION`")
    command = [*options.compiler, "-Wall", "-Wextra", "-Werror=unused-result", "-fsyntax-only", path]
    right = support.run(command, check=False)
    wrong = support.run([*command, "-DMISTAKE"], check=False)
    if right.returncode != 0:
        print(f"{path.name}: does not compile even without the mistake:\n{right.stdout}")
    elif wrong.returncode == 0:
        print(f"{path.name}: the mistake compiles")
    elif not re.search(expected[1], wrong.stdout):
        print(f"{path.name}: the mistake does not compile, but not for want of {expected[1]}:\n{wrong.stdout}")
    else:
        print(f"{path.name}: the mistake is found")
        continue
    failed += 1

sys.exit(1 if failed or not files else 0)
