"""log_report_test.py LOG_REPORT [--sanitized]: the sample against awk, on logs of all kinds."""

import gzip
import json
import os
import pty
import random
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

LOG_REPORT = os.path.abspath(sys.argv[1])
SANITIZED = "--sanitized" in sys.argv[2:]
SHORT = 60 if SANITIZED else 10  # seconds within which "at once" must have happened, on a busy machine
LONG = 120  # seconds after which a run counts as hung


def stamp(seconds):
    return time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime(seconds))


def make_log(lines, seed):
    """A log in the combined format; its lines are in order, nearly."""
    dice = random.Random(seed)
    now = 1714521600
    text = []
    for _ in range(lines):
        now += dice.random() * 3
        path = dice.choice(("/", "/index.html", f"/item?number={dice.randrange(40)}",
                            f"/images/{int(dice.expovariate(0.02))}.png", "/a\\\"quote", "/caf\u00e9"))
        status = dice.choice((200,) * 20 + (304, 404, 404, 500, 503))
        size = "-" if status == 304 else str(dice.randrange(100000))
        text.append(f'10.1.2.{dice.randrange(256)} - {dice.choice(("-", "ann"))} [{stamp(now - dice.randrange(3))}] '
                    f'"GET {path} HTTP/1.1" {status} {size} "-" "Mozilla/5.0 (X11; Linux)"\n')
    return "".join(text).encode("latin-1")


def run(*arguments, **options):
    return subprocess.run([LOG_REPORT, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False,
                          timeout=LONG, **options)


def awk(program, *logs):
    done = subprocess.run(["awk", program, *logs], stdout=subprocess.PIPE, check=True, env=dict(os.environ, LC_ALL="C"))
    return dict(line.rsplit(b" ", 1) for line in done.stdout.splitlines())


class LogReport(unittest.TestCase):
    maxDiff = 2000

    @classmethod
    def setUpClass(cls):
        cls.directory = tempfile.mkdtemp(prefix="log_report_test.")
        cls.logs = []
        for seed in (1, 2, 3):
            cls.logs.append(f"{cls.directory}/{seed}.log")
            with open(cls.logs[-1], "wb") as file:
                file.write(make_log(20000, seed))

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.directory)

    def place(self, name, content):
        path = f"{self.directory}/{name}"
        with open(path, "wb") as file:
            file.write(content)
        self.addCleanup(os.unlink, path)
        return path

    def report(self, *arguments, status=0, **options):
        done = run("--json", "--top", "1000000", *arguments, **options)
        self.assertEqual(done.returncode, status, done.stderr)
        return json.loads(done.stdout)

    def test_agrees_with_awk(self):
        got = self.report(*self.logs)
        paths = awk("{n[$7]++} END {for (path in n) print path, n[path]}", *self.logs)
        self.assertEqual({each["path"].encode("latin-1"): each["requests"] for each in got["paths"]},
                         {path: int(n) for path, n in paths.items()})
        self.assertEqual(got["paths"], sorted(got["paths"],
                                              key=lambda each: (-each["requests"], each["path"].encode("latin-1"))))
        statuses = awk("{n[$9]++} END {for (status in n) print status, n[status]}", *self.logs)
        self.assertEqual(got["status"], {status.decode(): int(n) for status, n in statuses.items()})
        hours = awk("{n[substr($4, 2, 14)]++} END {for (hour in n) print hour, n[hour]}", *self.logs)
        windows = {time.strftime("%d/%b/%Y:%H", time.strptime(each["from"], "%Y-%m-%dT%H:%M:%SZ")): each["requests"]
                   for each in got["windows"]}
        self.assertEqual(windows, {hour.decode(): int(n) for hour, n in hours.items()})
        totals = awk("{bytes += $10; bad += $9 >= 500} END {printf \"bytes %.0f\\nbad %d\\n\", bytes, bad}", *self.logs)
        self.assertEqual(got["bytes"], int(totals[b"bytes"]))
        self.assertEqual(got["errors"], int(totals[b"bad"]))
        self.assertEqual(got["requests"], 60000)
        self.assertEqual(got["not_understood"], 0)
        self.assertEqual(got["paths_too_low_by"], 0)

    def test_however_it_is_read_it_says_the_same(self):
        expected = run(*self.logs)
        self.assertEqual(expected.returncode, 0)
        self.assertIn(b"60000 requests", expected.stdout)
        contents = []
        for path in self.logs:
            with open(path, "rb") as file:
                contents.append(file.read())
        whole = b"".join(contents)
        compressed = [self.place(f"{number}.gz", gzip.compress(text)) for number, text in enumerate(contents)]
        members = self.place("members.gz", b"".join(gzip.compress(text) for text in contents))
        for workers in ("1", "2", "7"):
            for how in (self.logs, compressed, [self.logs[0], *compressed[1:]], [members],
                        [f"{self.directory}/[1-3].log"]):
                with self.subTest(workers=workers, how=how):
                    self.assertEqual(run("--workers", workers, *how).stdout, expected.stdout)
        for text in (whole, gzip.compress(whole), whole[:-1]):
            self.assertEqual(run(input=text).stdout, expected.stdout)
            self.assertEqual(run("-", input=text).stdout, expected.stdout)
        self.assertEqual(run(*self.logs[:2], "-", input=contents[2]).stdout, expected.stdout)

    def test_lines_that_are_none_are_counted(self):
        good = b'h - - [01/May/2024:10:20:30 +0200] "GET /x HTTP/1.0" 200 5\n'
        bad = (b"\n", b"nonsense\n", b'h - - [01/Mai/2024:10:20:30 +0200] "GET /x HTTP/1.0" 200 5\n',
               b'h - - [31/Apr/2024:10:20:30 +0200] "GET /x HTTP/1.0" 200 5\n',
               b'h - - [01/May/2024:10:20:30 +0200] "GET /x HTTP/1.0 200 5\n',
               b'h - - [01/May/2024:10:20:30 +0200] "GET /x HTTP/1.0" two 5\n',
               b'h - - [01/May/2024:10:20:30 +0200] "GET /x HTTP/1.0" 200 many\n',
               b'h - - [01/May/2024:10:20:30 +0200] "GET /x HTTP/1.0" 200\n', b"\xff\0\x80" * 100 + b"\n",
               b"y" * (3 << 20) + b"\n")
        got = self.report(input=good + b"".join(bad) + good)
        self.assertEqual(got["requests"], 2)
        self.assertEqual(got["bytes"], 10)
        # An empty line is nothing; of the one that is too long each part is one.
        self.assertIn(got["not_understood"], range(len(bad) - 1, len(bad) + 4))
        self.assertEqual([each["from"] for each in got["windows"]], ["2024-05-01T08:00:00Z"])
        self.assertEqual(self.report(input=b"")["requests"], 0)
        odd = self.report(input=b'h - - [01/May/2024:10:20:30 +0000] "\\x16\\x03" 400 0\n'
                                b'h - a b [01/May/2024:10:20:31 +0000] "GET /a\\" HTTP/1.1" 200 1 "r" "u"\n')
        self.assertEqual({each["path"] for each in odd["paths"]}, {"-", "/a\\\""})

    def test_windows(self):
        lines = b"".join(f'h - - [{stamp(1714521600 + 10 * i)}] "GET / HTTP/1.0" 200 1\n'.encode() for i in range(60))
        for window, counts in (("10s", [1] * 60), ("1m", [6] * 10), ("4m", [24, 24, 12]), ("2h", [60])):
            got = self.report("--window", window, input=lines)
            self.assertEqual([each["requests"] for each in got["windows"]], counts)

    def test_what_can_not_be_read_is_said_and_the_rest_is_counted(self):
        cut = self.place("cut.gz", gzip.compress(make_log(3000, 4))[:-20])
        broken = self.place("broken.gz", gzip.compress(make_log(3000, 4))[:500] + b"nothing that was compressed" * 50)
        done = run(self.logs[0], f"{self.directory}/none.log", cut, broken, self.directory)
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stdout, rb"^2[0-9]{4} requests")
        for name in (b"none.log", b"cut.gz", b"broken.gz", self.directory.encode()):
            self.assertIn(name, done.stderr)
        self.assertEqual(len(done.stderr.splitlines()), 4)

    def test_wrong_use(self):
        for arguments in (["--window", "x"], ["--window", "0s"], ["--window", "5"], ["--workers", "0"],
                          ["--top", "-1"], ["--nothing"]):
            with self.subTest(arguments=arguments):
                done = run(*arguments, stdin=subprocess.DEVNULL)
                self.assertEqual(done.returncode, 2)
                self.assertIn(b"usage: log_report", done.stderr)
        self.assertEqual(run("--help").returncode, 0)

    def test_ctrl_c_ends_it_even_if_nothing_comes(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            process = subprocess.Popen([LOG_REPORT], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                       stderr=subprocess.PIPE)
            process.stdin.write(make_log(100, 5))
            process.stdin.flush()
            self.wait_for_signal_handler(process)
            process.send_signal(number)
            process.wait(timeout=SHORT)  # communicate() would close its input, and whichever comes first would win
            out, error = process.communicate(timeout=SHORT)
            self.assertEqual((process.returncode, out, error), (130, b"", b"log_report: interrupted\n"))

    def wait_for_signal_handler(self, process):
        """Until it is caught: a signal that comes earlier ends the process as any other."""
        for _ in range(SHORT * 100):
            with open(f"/proc/{process.pid}/status", encoding="ascii") as file:
                caught = [line for line in file if line.startswith("SigCgt")]
            if caught and int(caught[0].split()[1], 16) >> (signal.SIGTERM - 1) & 1:
                return
            time.sleep(0.01)
        self.fail("it does not catch signals")

    def test_progress_on_a_terminal(self):
        leader, follower = pty.openpty()
        process = subprocess.Popen([LOG_REPORT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=follower)
        os.close(follower)
        seen = b""
        process.stdin.write(make_log(100, 6))
        process.stdin.flush()
        until = time.monotonic() + SHORT
        while b"kB/s" not in seen and time.monotonic() < until:
            if select.select([leader], [], [], 0.1)[0]:
                seen += os.read(leader, 4096)
        out, _ = process.communicate(timeout=SHORT)
        os.close(leader)
        self.assertIn(b"kB/s", seen)
        self.assertIn(b"100 requests", out)

    def peak_memory(self, text, times, requests):
        """In kB, of one process that reads the text so many times."""
        process = subprocess.Popen([LOG_REPORT, "--workers", "2"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for _ in range(times):
            process.stdin.write(text)
        process.stdin.close()
        out = process.stdout.read()
        process.stdout.close()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        self.assertEqual(process.returncode, 0)
        self.assertIn(b"%d requests" % (times * requests), out)
        self.assertIn(b"may be too low", out)
        return usage.ru_maxrss

    @unittest.skipIf(SANITIZED, "sanitizers take memory")
    def test_memory_does_not_grow_with_the_input(self):
        # More paths than it keeps, so that its tables are full when it has read them once.
        paths = 300000
        text = b"".join(b'h - - [01/May/2024:10:20:30 +0000] "GET /once/%d HTTP/1.0" 200 1\n' % i for i in range(paths))
        for how, block in (("plain", text), ("compressed", gzip.compress(text, 1))):
            with self.subTest(how):
                once = self.peak_memory(block, 1, paths)
                ten_times = self.peak_memory(block, 10, paths)
                # Of the other nine parts it has kept less than one.
                self.assertLess(ten_times - once, len(text) / 1024)
                self.assertLess(ten_times, 200 * 1024)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0]], verbosity=1)
