"""crawl_test.py CRAWL [--sanitized]: the sample against a server with faults, on this machine."""

import collections
import http.server
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import unittest

CRAWL = os.path.abspath(sys.argv[1])
SANITIZED = "--sanitized" in sys.argv[2:]
SHORT = 60 if SANITIZED else 10  # seconds within which "at once" must have happened, on a busy machine
LONG = 120  # seconds after which a run counts as hung


def links(*targets):
    return "<html>" + "".join(f'<a href="{target}">x</a>' for target in targets) + "</html>"


class Site(http.server.ThreadingHTTPServer):
    """Pages by path: a text of HTML, or a function of the request's handler."""

    daemon_threads = True
    request_queue_size = 100

    def __init__(self, pages):
        super().__init__(("127.0.0.1", 0), Handler)
        self.pages = pages
        self.lock = threading.Lock()
        self.asked = collections.Counter()
        self.at = []
        self.running = 0
        self.most = 0
        self.stopping = threading.Event()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, request, client_address):
        pass

    @property
    def root(self):
        return f"http://127.0.0.1:{self.server_address[1]}"

    def stop(self):
        self.stopping.set()
        self.shutdown()
        self.server_close()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        site = self.server
        self.close_connection = True
        with site.lock:
            site.asked[self.path] += 1
            site.at.append(time.monotonic())
        page = site.pages.get(self.path)
        if callable(page):
            page(self)
        elif page is None:
            self.answer(404, "gone")
        else:
            self.answer(200, page)

    def answer(self, status, text, **headers):
        self.send_response(status)
        self.send_header("Content-Type", headers.pop("type", "text/html; charset=utf-8"))
        self.send_header("Content-Length", str(len(text)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(text.encode())


def redirect(to):
    return lambda handler: handler.answer(302, "", Location=to)


def chunked(text):
    def page(handler):
        handler.send_response(200)
        handler.send_header("Content-Type", "TEXT/HTML")
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for i in range(0, len(text), 5):
            part = text[i:i + 5].encode()
            handler.wfile.write(b"%x;note=1\r\n%s\r\n" % (len(part), part))
            handler.wfile.flush()
        handler.wfile.write(b"0\r\nX-Trailer: 1\r\n\r\n")
    return page


def until_the_end(text):
    return lambda handler: handler.wfile.write(b"HTTP/1.0 200 OK\r\nContent-Type: text/html\r\n\r\n" + text.encode())


def raw(content):
    return lambda handler: handler.wfile.write(content)


def fails_first(times, text, how=None):
    left = [times]

    def page(handler):
        with handler.server.lock:
            left[0] -= 1
            fail = left[0] >= 0
        if not fail:
            handler.answer(200, text)
        elif how is not None:
            how(handler)
        else:
            handler.answer(503, "later")
    return page


def reset(handler):
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()
    handler.wfile = open(os.devnull, "wb")  # pylint: disable=consider-using-with


def hangs(handler):
    handler.server.stopping.wait(LONG)


def run(*arguments):
    return subprocess.run([CRAWL, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False,
                          timeout=LONG, text=True)


def parse(out):
    """Status by address, and what is said about each."""
    pages = {}
    for line in out.splitlines()[:-1]:
        status, size, rest = re.fullmatch(r"(...) +([0-9.]+ k?M?B)  (.*)", line).groups()
        address, _, note = rest.partition("  ")
        pages[address] = (status.strip(), size, note)
    return pages


class Crawl(unittest.TestCase):
    maxDiff = 4000

    def site(self, pages):
        site = Site(pages)
        self.addCleanup(site.stop)
        return site

    def crawl(self, site, *arguments, status=0):
        done = run("--rate", "100000", *arguments, site.root)
        self.assertEqual(done.returncode, status, done.stdout + done.stderr)
        pages = parse(done.stdout)
        self.assertEqual(list(pages), sorted(pages))
        return {address.removeprefix(site.root): page for address, page in pages.items()}

    def test_finds_every_page_once_whatever_the_links_look_like(self):
        site = self.site({
            "/": "<html><!-- <a href=/not> --><A HREF='a/b?x=1&amp;y=2#part'>1</A><img src = a.png >"
                 "<a class=\"a > b\" href=\"/dir/\">2</a><a href=mailto:ann@example.org>3</a>"
                 "<a href=https://127.0.0.1/secure>4</a><a href=\"http://example.org/far\">5</a>"
                 "<a href=\"javascript:void(0)\">6</a><a href=''>7</a><a href>8</a><a href=\"/sp ace\">9</a>",
            "/a/b?x=1&y=2": chunked(links("../c", "./d", "?z", "/dir/../e", "//" + "127.0.0.1:1/") + "<a href=/f"),
            "/a/b?z": links("/"),
            "/a.png": lambda handler: handler.answer(200, links("/in-a-picture"), type="image/png"),
            "/dir/": until_the_end(links("page", "../../../c", "deeper/./x/../y")),
            "/dir/page": links("#top", "page", "/dir/page#end"),
            "/dir/deeper/y": "no links < here > at all <",
            "/c": "c", "/a/d": "d", "/e": "e", "/f": raw(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 Fine\n\n"),
        })
        for workers in ("1", "8"):
            site.asked.clear()
            pages = self.crawl(site, "--workers", workers, status=1)
            dead = "http://127.0.0.1:1/"
            self.assertEqual(pages.pop(dead)[0], "---")
            self.assertEqual({path: page[0] for path, page in pages.items()},
                             {path: "200" for path in site.pages if path != "/f"} | {"/f": "204"})
            self.assertEqual(site.asked, collections.Counter([*site.pages, "/robots.txt"]))

    def test_what_is_broken_is_told_with_who_links_to_it(self):
        site = self.site({
            "/": links("/gone", "/moved", "/loop", "/garbage", "/big", "/short", "/head", "/ok"),
            "/moved": redirect("/moved/here"), "/moved/here": "here", "/loop": redirect("/loop"),
            "/garbage": raw(b"\0\1\2 this is no HTTP\r\n\r\n"),
            "/big": raw(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n"),
            "/short": raw(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort"),
            "/head": raw(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 50000 + b"\r\n"),
            "/ok": "ok",
        })
        pages = self.crawl(site, "--workers", "1", status=1)
        note = f"linked from {site.root}/"
        self.assertEqual(pages["/gone"], ("404", "4 B", note))
        self.assertEqual(pages["/moved"], ("302", "0 B", "to /moved/here"))
        self.assertEqual(pages["/moved/here"][0], "200")
        self.assertEqual(pages["/loop"][0], "302")
        self.assertEqual(site.asked["/loop"], 1)
        for path, why in (("/garbage", "answer"), ("/big", "the answer is too large"),
                          ("/short", "the connection has ended before the answer"),
                          ("/head", "the head of the answer is too large")):
            with self.subTest(path=path):
                self.assertEqual(pages[path][0], "---")
                self.assertIn(why, pages[path][2])
                self.assertIn(note, pages[path][2])
        self.assertEqual(pages["/ok"][0], "200")

    def test_what_fails_is_tried_again(self):
        site = self.site({
            "/": links("/twice", "/reset", "/always", "/slow"),
            "/twice": fails_first(2, "at last"), "/reset": fails_first(1, "here", reset),
            "/always": lambda handler: handler.answer(500, "never"), "/slow": fails_first(1, "in time", hangs),
        })
        # Long enough that only the one who hangs is too late, as another failure would change the numbers.
        pages = self.crawl(site, "--workers", "1", "--timeout", "4", status=1)
        self.assertEqual({path: page[0] for path, page in pages.items()},
                         {"/": "200", "/twice": "200", "/reset": "200", "/always": "500", "/slow": "200"})
        self.assertEqual((site.asked["/twice"], site.asked["/reset"], site.asked["/always"], site.asked["/slow"]),
                         (3, 2, 3, 2))

    def test_a_server_that_is_down_is_left_in_peace(self):
        down = self.site({"/robots.txt": ""} | {f"/{i}": (lambda handler: handler.answer(503, "")) for i in range(60)})
        site = self.site({"/": links(*(f"{down.root}/{i}" for i in range(60)), "/fine"), "/fine": "fine"})
        pages = self.crawl(site, "--workers", "4", status=1)
        self.assertEqual(pages["/fine"][0], "200")
        refused = [page for page in pages.values() if "failed too often" in page[2]]
        self.assertGreater(len(refused), 40)
        # Five in a row, and those that were under way.
        self.assertLess(sum(down.asked.values()), 1 + 5 + 4 + 4)

    def test_is_polite(self):
        count = 30
        site = self.site({"/": links(*(f"/{i}" for i in range(count)), "/private/x", "/open/y"),
                          "/robots.txt": "User-agent: other\nDisallow: /\n\nUser-agent: *  # all\nDisallow: /private\n",
                          "/open/y": "y"} | {f"/{i}": "x" for i in range(count)})
        done = run("--rate", "50", "--workers", "8", site.root)
        self.assertEqual(done.returncode, 1, done.stderr)
        pages = parse(done.stdout)
        self.assertEqual(len(pages), count + 3)
        self.assertIn("robots.txt", pages[site.root + "/private/x"][2])
        self.assertEqual(site.asked["/private/x"], 0)
        self.assertEqual(site.asked["/robots.txt"], 1)
        # 33 requests with a token each; as they arrive they may be nearer to each other.
        self.assertGreater(site.at[-1] - site.at[0], (count + 2) / 50 - 0.1)

    def test_numbers_are_bounds(self):
        def slowly(handler):
            with site.lock:
                site.running += 1
                site.most = max(site.most, site.running)
            time.sleep(0.02)
            with site.lock:
                site.running -= 1
            handler.answer(200, "x")
        site = self.site({"/": links(*(f"/{i}" for i in range(100)))} | {f"/{i}": slowly for i in range(100)})
        self.crawl(site, "--workers", "5")
        self.assertLessEqual(site.most, 5)
        site.asked.clear()
        self.assertEqual(len(self.crawl(site, "--pages", "20")), 20)
        self.assertEqual(sum(site.asked.values()), 21)

    def test_goes_nowhere_else(self):
        for address in ("http://example.org/", "https://localhost/", "localhost", "http://", "http://127.0.0.1:x/",
                        "http://user@localhost/"):
            done = run(address)
            self.assertEqual(done.returncode, 2, address)
            self.assertIn("usage: crawl", done.stderr)
        self.assertEqual(run().returncode, 2)
        self.assertEqual(run("--workers", "0", "http://localhost/").returncode, 2)
        self.assertEqual(run("--help").returncode, 0)

    def test_ctrl_c_ends_it_with_what_it_has(self):
        # Who asks for what a page links to has read the page.
        site = self.site({"/": links("/quick", "/hangs"), "/quick": links("/after"), "/hangs": hangs, "/after": hangs})
        process = subprocess.Popen([CRAWL, "--timeout", "3600", "--workers", "2", site.root], stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, text=True)
        until = time.monotonic() + SHORT
        while not (site.asked["/hangs"] and site.asked["/after"]) and time.monotonic() < until:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        out, error = process.communicate(timeout=SHORT)
        self.assertEqual(process.returncode, 130, error)
        self.assertEqual({address.removeprefix(site.root): page[0] for address, page in parse(out).items()},
                         {"/": "200", "/quick": "200"})


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0]], verbosity=1)
