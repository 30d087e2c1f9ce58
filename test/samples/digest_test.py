"""digest_test.py DIGEST [--sanitized]: the sample against sha256sum, on a tree of awkward files."""

import ctypes
import errno
import fcntl
import os
import pty
import random
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
import unittest

DIGEST = os.path.abspath(sys.argv[1])
SANITIZED = "--sanitized" in sys.argv[2:]
SHORT = 60 if SANITIZED else 10  # seconds within which "at once" must have happened, on a busy machine
LONG = 120  # seconds after which a run counts as hung
C_LOCALE = dict(os.environ, LC_ALL="C")


def write(path, content):
    os.makedirs(os.path.dirname(path) or b".", exist_ok=True)
    with open(path, "wb") as file:
        file.write(content)


def until(condition):
    """Waits for something that another process does."""
    end = time.monotonic() + SHORT
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError
        time.sleep(0.01)


def catches_signals(process):
    """A signal that comes earlier ends the process as any other."""
    with open(f"/proc/{process.pid}/status", encoding="ascii") as file:
        caught = re.search(r"SigCgt:\s*([0-9a-f]+)", file.read())
    return caught and int(caught[1], 16) >> (signal.SIGTERM - 1) & 1


def bytes_in(pipe):
    return struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, b"\0" * 4))[0]


def write_to_reader(pipe, content):
    """Fails, instead of waiting for ever, if nobody comes to read the pipe."""
    descriptor = []

    def opened():
        try:
            descriptor.append(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))
        except OSError as problem:
            if problem.errno != errno.ENXIO:
                raise
        return descriptor

    until(opened)
    os.write(descriptor[0], content)
    os.close(descriptor[0])


def make_tree(root):
    """Files that are empty, small, big and many; names that need care; links of every kind."""
    dice = random.Random(1)
    for size in (0, 1, 4095, 4096, 4097, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 3 << 20):
        write(root + b"/sizes/%d" % size, dice.randbytes(size))
    for number in range(2):
        write(root + b"/big/%d" % number, dice.randbytes(1 << 20) * 30)
    for number in range(4000):
        write(root + b"/many/%d/%d" % (number % 60, number), b"%d\n" % number)
    for name in (b"space in name", b" leading", b"trailing ", b"new\nline", b"back\\slash", b"both\\\n",
                 b"\\n", b"\n", b"latin-\xe9", b"\xff\xfe\x80", b"-dash", b"--check", b"*star", b"tab\t",
                 b"quote'\"", b"\x01", "snow \u2603".encode(), b"n" * 254, b".hidden"):
        write(root + b"/names/" + name, b"content of " + name)
        write(root + b"/names in names/" + name + b"\\/" + name, name)
    # A directory sorts as if its name ended with a slash: a-b, a.b, a/x, a0.
    for path in (b"a-b", b"a.b", b"a/x", b"a/x-y/z", b"a/x.y", b"a0", b"a\x01b", b"A", b"a/\xff", b"a!/x"):
        write(root + b"/order/" + path, path)
    write(root + b"/deep/" + b"/".join([b"d" * 20] * 60) + b"/file", b"deep")
    os.makedirs(root + b"/empty directory")
    os.makedirs(root + b"/links")
    for name, target in ((b"file", b"../sizes/4096"), (b"directory", b"../sizes"), (b"dangling", b"nowhere"),
                         (b"loop", b"loop"), (b"up", b".."), (b"self", b".")):
        os.symlink(target, root + b"/links/" + name)
    os.mkfifo(root + b"/pipe")


def run(*arguments, **options):
    return subprocess.run([DIGEST, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False,
                          timeout=LONG, **options)


def files_below(*roots, cwd=None):
    find = [b"find", b"-H", *roots, b"-type", b"f", b"-print0"]
    found = subprocess.run(find, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=cwd, check=False)
    return sorted(found.stdout.split(b"\0")[:-1])


def expected(*roots, cwd=None, tool="sha256sum"):
    found = files_below(*roots, cwd=cwd)
    return subprocess.run(["xargs", "-0", tool, "--"], input=b"\0".join(found), stdout=subprocess.PIPE,
                          cwd=cwd, check=True).stdout


def sum_of(content):
    return subprocess.run(["sha256sum"], input=content, stdout=subprocess.PIPE, check=True).stdout.split()[0]


def obey_permissions():
    """In the child, before it becomes another program: not even root reads what it has no permission for."""
    if os.geteuid() == 0:
        drop_from_bounding_set, dac_override, dac_read_search = 24, 1, 2
        for capability in (dac_override, dac_read_search):
            ctypes.CDLL(None).prctl(drop_from_bounding_set, capability, 0, 0, 0)


def permissions_bind():
    with tempfile.NamedTemporaryFile() as file:
        os.chmod(file.name, 0)
        return subprocess.run(["cat", file.name], stderr=subprocess.DEVNULL, preexec_fn=obey_permissions,
                              check=False).returncode != 0


class Digest(unittest.TestCase):
    maxDiff = 2000

    @classmethod
    def setUpClass(cls):
        cls.directory = tempfile.mkdtemp(prefix="digest_test.").encode()
        cls.tree = cls.directory + b"/tree"
        make_tree(cls.tree)

    @classmethod
    def tearDownClass(cls):
        subprocess.run([b"chmod", b"-R", b"u+rwX", cls.directory], check=False)
        shutil.rmtree(cls.directory)

    def setUp(self):
        self.place = tempfile.mkdtemp(dir=self.directory)

    def start(self, *arguments, **options):
        process = subprocess.Popen([DIGEST, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                   **options)
        self.addCleanup(process.stderr.close)
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def assert_lines(self, actual, wanted):
        """Like assertEqual, but points at the first line that differs."""
        if actual != wanted:
            for number, (a, w) in enumerate(zip(actual.split(b"\n"), wanted.split(b"\n")), 1):
                self.assertEqual(a, w, f"line {number}")
            self.assertEqual(len(actual), len(wanted), "one ends before the other")

    def assert_ok(self, ended, stdout):
        self.assert_lines(ended.stdout, stdout)
        self.assertEqual((ended.returncode, ended.stderr), (0, b""))

    # ---- Sums ----

    def test_agrees_with_sha256sum_line_for_line(self):
        wanted = expected(self.tree)
        self.assertGreater(wanted.count(b"\n"), 4000)
        for workers in ("1", "2", "7", "1000"):
            with self.subTest(workers=workers):
                self.assert_ok(run("--workers", workers, self.tree), wanted)
        self.assert_ok(run(self.tree), wanted)

    def test_agrees_with_sha1sum_and_md5sum(self):
        for algorithm in ("sha1", "md5", "sha256"):
            with self.subTest(algorithm=algorithm):
                wanted = expected(self.tree, tool=algorithm + "sum")
                self.assert_ok(run("--algorithm", algorithm, self.tree), wanted)

    def test_agrees_about_every_way_to_name_roots(self):
        for roots in ((b".",), (b"./",), (b"names",), (b"names/",), (b"names//",), (b"order", b"names"),
                      (b"sizes/1", b"sizes"), (b"order", b"order"), (b"order/a", b"order", b"order/a-b"),
                      (b"links",), (b"links/file",), (b"links/directory",), (b"links/directory/",),
                      (b"./names", b"names"), (b"sizes/../order",), (b"empty directory",),
                      (b"names/new\nline", b"names/\xff\xfe\x80")):
            with self.subTest(roots=roots):
                found = files_below(*roots, cwd=self.tree)
                wanted = expected(*roots, cwd=self.tree) if found else b""
                self.assert_ok(run(*roots, cwd=self.tree), wanted)

    def test_its_output_is_accepted_by_sha256sum(self):
        sums = run(self.tree).stdout
        checked = subprocess.run(["sha256sum", "--check", "--strict", "--quiet"], input=sums,
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
        self.assertEqual((checked.returncode, checked.stdout, checked.stderr), (0, b"", b""))

    def test_escapes_a_carriage_return(self):
        write(self.place + b"/a\rb", b"")
        ended = run(self.place)
        self.assertTrue(ended.stdout.startswith(b"\\") and ended.stdout.endswith(b"/a\\rb\n"), ended.stdout)

    def test_reads_a_pipe_that_is_named(self):
        content = random.Random(2).randbytes(3 << 20)
        self.assert_ok(run("/dev/stdin", input=content), sum_of(content) + b"  /dev/stdin\n")

    def test_reads_files_whose_size_is_not_known(self):
        self.assert_ok(run("/proc/version"), expected(b"/proc/version"))

    # ---- Lists ----

    def check_both(self, sums, tool="sha256", **options):
        """The list, checked by digest and by its relative: same lines, same warnings, same status."""
        path = self.place + b"/list"
        write(path, sums)
        ours = run("--algorithm", tool, "--check", path, **options)
        theirs = subprocess.run([tool + "sum", "--check", path], stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, env=C_LOCALE, check=False, **options)
        self.assert_lines(ours.stdout, theirs.stdout)
        self.assertEqual(ours.returncode, theirs.returncode)
        warnings = [re.findall(rb"(?m)^\w+: (WARNING.*)$", ended.stderr) for ended in (ours, theirs)]
        self.assertEqual(*warnings)
        return ours

    def test_checks_what_it_has_printed(self):
        for algorithm in ("sha256", "sha1", "md5"):
            ended = self.check_both(run("--algorithm", algorithm, self.tree).stdout, algorithm)
            self.assertEqual(ended.returncode, 0)
            self.assertEqual(ended.stderr, b"")

    def test_finds_what_has_changed(self):
        copy = self.place + b"/copy"
        for name in (b"same", b"other", b"gone", b"other\nline", b"gone\nline", b"other\\", b"directory"):
            write(copy + b"/" + name, name)
        sums = run(copy).stdout
        for name in (b"other", b"other\nline", b"other\\"):
            write(copy + b"/" + name, b"changed")
        for name in (b"gone", b"gone\nline", b"directory"):
            os.remove(copy + b"/" + name)
        os.mkdir(copy + b"/directory")
        ended = self.check_both(sums)
        self.assertEqual(ended.returncode, 1)
        self.assertIn(b"/same: OK\n", ended.stdout)
        self.assertIn(b"/other: FAILED\n", ended.stdout)
        self.assertIn(b"/gone: FAILED open or read\n", ended.stdout)
        self.assertIn(b"/gone: No such file or directory\n", ended.stderr)
        self.assertIn(b"/directory: Is a directory\n", ended.stderr)

    def test_reads_lists_as_sha256sum_does(self):
        write(self.place + b"/x", b"x")
        write(self.place + b"/new\nline", b"x")
        write(self.place + b"/*x", b"x")
        right = sum_of(b"x")
        wrong = b"0" * 64
        for name, sums in {
            "binary": right + b" *x\n",
            "asterisk in the name": right + b" **x\n",
            "no newline at the end": right + b"  x",
            "upper case": right.upper() + b"  x\n",
            "blanks in front": b" \t" + right + b"  x\n",
            "carriage return": right + b"  x\r\n",
            "comments and empty lines": b"# comment\n\n" + right + b"  x\n\n#\n",
            "escaped": b"\\" + right + b"  new\\nline\n",
            "escape without a backslash in front": right + b"  new\\nline\n",
            "bad escape": right + b"  x\n\\" + right + b"  \\x\n",
            "backslash at the end": right + b"  x\n\\" + right + b"  x\\\n",
            "nonsense": b"nonsense\n" + right + b"  x\nmore of it\n",
            "a sum that is too short": right + b"  x\n" + right[1:] + b"  x\n",
            "a sum that is too long": right + b"  x\n0" + right + b"  x\n",
            "not hexadecimal": right + b"  x\n" + b"g" * 64 + b"  x\n",
            "wrong twice": wrong + b"  x\n" + wrong + b"  x\n" + right + b"  x\n",
            "nothing": b"",
            "nothing but comments": b"# comment\n",
            "nothing but nonsense": b"nonsense\n",
        }.items():
            with self.subTest(name):
                self.check_both(sums, cwd=self.place)

    def test_reads_a_list_from_a_pipe(self):
        sums = run(self.tree).stdout
        for name in ("-", "/dev/stdin"):
            ended = run("--check", name, input=sums)
            self.assertEqual((ended.returncode, ended.stderr), (0, b""))
            self.assertEqual(ended.stdout.count(b": OK\n"), sums.count(b"\n"))

    def test_says_that_a_list_can_not_be_read(self):
        ended = run("--check", self.place + b"/none")
        self.assertEqual((ended.returncode, ended.stdout), (1, b""))
        self.assertEqual(ended.stderr, b"digest: %s/none: No such file or directory\n" % self.place)

    # ---- What can not be read ----

    def test_stops_at_the_first_that_can_not_be_read(self):
        missing = self.tree + b"/order/missing\nfile"
        ended = run(missing, self.tree + b"/names", self.tree + b"/order", self.tree + b"/sizes")
        self.assert_lines(ended.stdout, expected(self.tree + b"/names", self.tree + b"/order"))
        self.assertEqual(ended.returncode, 1)
        self.assertEqual(ended.stderr,
                         b"digest: " + self.tree + b"/order/missing\\nfile: No such file or directory\n")

    def test_keeps_going_if_told(self):
        missing, dangling = self.tree + b"/order/missing", self.tree + b"/links/dangling"
        ended = run("--keep-going", missing, self.tree, dangling)
        self.assert_lines(ended.stdout, expected(self.tree))
        self.assertEqual(ended.returncode, 1)
        self.assertEqual(ended.stderr.splitlines(), [b"digest: %s: No such file or directory" % path
                                                     for path in (dangling, missing)])

    def test_tells_an_error_while_reading(self):
        ended = run("--keep-going", self.tree + b"/sizes", "/proc/self/mem")
        self.assert_lines(ended.stdout, expected(self.tree + b"/sizes"))
        self.assertEqual(ended.returncode, 1)
        self.assertEqual(ended.stderr, b"digest: /proc/self/mem: Input/output error\n")

    def test_tells_that_a_directory_can_not_be_read(self):
        if not permissions_bind():
            self.skipTest("nothing is forbidden here")
        place = self.place
        for path in (b"a", b"secret/x", b"z", b"file"):
            write(place + b"/" + path, path)
        wanted = expected(self.place)
        os.chmod(place + b"/secret", 0)
        os.chmod(place + b"/file", 0)
        lines = {path: next(line for line in wanted.splitlines(True) if line.endswith(b"/" + path + b"\n"))
                 for path in (b"a", b"z")}

        ended = run(self.place, preexec_fn=obey_permissions)
        self.assertEqual((ended.returncode, ended.stdout), (1, lines[b"a"]))
        self.assertEqual(ended.stderr, b"digest: %s/file: Permission denied\n" % place)

        ended = run("--keep-going", self.place, preexec_fn=obey_permissions)
        self.assertEqual((ended.returncode, ended.stdout), (1, lines[b"a"] + lines[b"z"]))
        self.assertEqual(ended.stderr.splitlines(), [b"digest: %s/%s: Permission denied" % (place, path)
                                                     for path in (b"file", b"secret")])

    def test_says_that_its_output_can_not_be_written(self):
        with open("/dev/full", "wb") as full:
            ended = subprocess.run([DIGEST, self.tree], stdout=full, stderr=subprocess.PIPE, timeout=LONG,
                                   check=False)
        self.assertEqual((ended.returncode, ended.stderr),
                         (1, b"digest: standard output: No space left on device\n"))

    def test_refuses_wrong_use(self):
        for arguments in ([], ["--unknown", "x"], ["--algorithm", "crc", "x"], ["--check", "list", "path"],
                          ["--workers"], ["--workers", "0", "x"], ["--workers", "two", "x"]):
            with self.subTest(arguments=arguments):
                ended = run(*arguments)
                self.assertEqual((ended.returncode, ended.stdout), (2, b""))
                self.assertIn(b"usage: digest", ended.stderr)

    # ---- Signals ----

    def endless_tree(self):
        """Three small files, then one that takes hours, and occupies no space."""
        place = self.place + b"/endless"
        for name in (b"a", b"b", b"c"):
            write(place + b"/" + name, name)
        with open(place + b"/z", "wb") as file:
            file.truncate(1 << 42)
        return place

    def interrupt(self, process, number=signal.SIGINT):
        begin = time.monotonic()
        process.send_signal(number)
        # Not communicate(): a test may have left the output unread on purpose.
        self.assertEqual(process.wait(SHORT), 130)
        self.assertLess(time.monotonic() - begin, SHORT)
        return process.stdout.read(), process.stderr.read()

    def test_a_signal_ends_it_at_once_with_the_partial_count(self):
        tree = self.endless_tree()
        wanted = expected(*(tree + name for name in (b"/a", b"/b", b"/c")))
        for number in (signal.SIGINT, signal.SIGTERM):
            with self.subTest(number=number):
                process = self.start(tree)
                # All that there is: they need not have been printed at once.
                first = b"".join(process.stdout.readline() for _ in range(3))
                rest, said = self.interrupt(process, number)
                self.assert_lines(first + rest, wanted)
                self.assertRegex(said, rb"^digest: interrupted after 3 files, [0-9.]+ [kMGT]?B\n$")

    def test_a_signal_ends_it_while_it_walks_a_big_tree(self):
        process = self.start("/usr")
        first = process.stdout.readline()
        rest, said = self.interrupt(process)
        printed = (first + rest).count(b"\n")
        self.assertTrue((first + rest).endswith(b"\n"))
        self.assertIn(b"interrupted after %d file%s, " % (printed, b"" if printed == 1 else b"s"), said)

    def test_a_signal_ends_it_while_nothing_comes(self):
        pipe = self.place + b"/pipe"
        os.mkfifo(pipe)
        for arguments in ((pipe,), ("--workers", "1", pipe, self.tree + b"/sizes"), ("--check", "-")):
            with self.subTest(arguments=arguments):
                process = self.start(*arguments, stdin=subprocess.PIPE)
                self.addCleanup(process.stdin.close)
                until(lambda: catches_signals(process))
                time.sleep(0.5)
                self.assertIsNone(process.poll())
                self.interrupt(process)

    def test_a_signal_ends_it_while_nobody_reads(self):
        process = self.start(self.tree)
        until(lambda: bytes_in(process.stdout) > 16000)
        time.sleep(0.5)  # by now the pipe is full, unless the machine is slow, which does not matter
        self.assertIsNone(process.poll())
        printed, said = self.interrupt(process)
        self.assertTrue(printed.endswith(b"\n"))
        self.assertIn(b"interrupted after %d files, " % printed.count(b"\n"), said)

    # ---- Memory and terminals ----

    def peak_memory(self, *roots, lines):
        """In bytes, after so many lines, while it waits for a pipe that sorts behind all else."""
        pipe = self.place + b"/~"
        os.mkfifo(pipe)
        process = self.start("--workers", "4", *roots, pipe)
        for _ in range(lines):
            process.stdout.readline()
        self.assertIsNone(process.poll())
        with open(f"/proc/{process.pid}/status", encoding="ascii") as file:
            peak = int(re.search(r"VmHWM:\s*(\d+) kB", file.read())[1])
        write_to_reader(pipe, b"")
        self.assertEqual(process.wait(LONG), 0)
        os.remove(pipe)
        return peak << 10

    @unittest.skipIf(SANITIZED, "sanitizers remember what has been freed")
    def test_memory_grows_neither_with_the_tree_nor_with_what_waits_for_a_big_file(self):
        big, tree = self.place + b"/!", self.place + b"/tree"
        write(big, b"")
        for number in range(5000):
            write(tree + b"/%d/%s%d" % (number % 50, b"n" * 150, number), b"")
        again = [tree + b"/" * number for number in range(8)]  # the same tree by other names: 40,000 files
        small = self.peak_memory(big, tree, lines=5001)
        large = self.peak_memory(big, *again, lines=40001)
        os.truncate(big, 1 << 29)
        waiting = self.peak_memory(big, *again, lines=40001)
        # A path and a sum for each of 35,000 files would be more than 8 MB.
        self.assertLess(large - small, 4 << 20)
        self.assertLess(waiting - small, 4 << 20)

    def read_terminal(self, *arguments, stdout=None, pipe=None):
        """What is shown on a terminal; a pipe gets its end only after a while."""
        terminal, end = pty.openpty()
        process = subprocess.Popen([DIGEST, *arguments], stdin=end, stdout=stdout or end, stderr=end)
        os.close(end)
        shown = b""
        if pipe:
            end_of_wait = time.monotonic() + SHORT
            while shown.count(b"B/s") < 3 and time.monotonic() < end_of_wait:
                if select.select([terminal], [], [], 0.1)[0]:
                    shown += os.read(terminal, 65536)
            write_to_reader(pipe, b"x")
        while True:
            try:
                shown += os.read(terminal, 65536)
            except OSError:  # all writers have gone
                break
        os.close(terminal)
        self.assertEqual(process.wait(LONG), 0)
        return shown

    def test_shows_progress_on_a_terminal(self):
        pipe = self.place + b"/pipe"
        os.mkfifo(pipe)
        sizes = self.tree + b"/sizes"
        with tempfile.TemporaryFile() as file:
            shown = self.read_terminal(pipe, sizes, stdout=file, pipe=pipe)
            file.seek(0)
            lines = file.read().splitlines(True)
        self.assert_lines(b"".join(line for line in lines if not line.endswith(b"/pipe\n")), expected(sizes))
        self.assertEqual(len(lines), 10)
        progress = rb"(\d+) files?, [0-9.]+ [kMGT]?B, [0-9.]+ [kMGT]?B/s"
        self.assertRegex(shown, rb"^(\r\x1b\[K(" + progress + rb"(\r\n)?)?)+$")
        self.assertGreater(len(re.findall(progress, shown)), 2)
        self.assertEqual(re.findall(progress, shown)[-1], b"10")
        self.assertTrue(shown.endswith(b"\r\n"))

    def test_lines_and_progress_share_a_terminal(self):
        shown = self.read_terminal(self.tree + b"/sizes")
        text = re.sub(rb"[^\n]*\r\x1b\[K", b"", shown.replace(b"\r\n", b"\n"))  # what stays on the screen
        *lines, progress, rest = text.split(b"\n")
        self.assert_lines(b"\n".join(lines) + b"\n", expected(self.tree + b"/sizes"))
        self.assertRegex(progress, rb"^9 files, 6.3 MB, ")
        self.assertEqual(rest, b"")


unittest.main(argv=sys.argv[:1], verbosity=2)
