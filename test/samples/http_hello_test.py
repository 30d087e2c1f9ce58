"""http_hello_test.py DIRECTORY [--sanitized]: http_hello, as its clients meet it."""

import contextlib
import http.client
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import unittest

from service import LIMIT, Service, read_all

SANITIZED = "--sanitized" in sys.argv[2:]
HELLO = b"Hello, world!\n"


def without_dates(answer):
    return re.sub(rb"Date: [A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT\r\n", b"", answer)


def chunked(*pieces):
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


class HttpTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Service("http_hello", 0, 100, 60000, LIMIT * 1000)

    @classmethod
    def tearDownClass(cls):
        cls.server.tell(signal.SIGTERM)
        status, errors = cls.server.end()
        cls.server.__exit__(None, None, None)
        assert (status, errors) == (0, "bye\n"), (status, errors)

    def raw(self, sent, end=True):
        """All that the server answers before it closes; by default after the client has closed its side."""
        with self.server.connect() as client:
            client.sendall(sent)
            if end:
                client.shutdown(socket.SHUT_WR)
            return without_dates(read_all(client))

    def test_requests_on_one_connection(self):
        client = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=LIMIT)
        body = bytes(range(256)) * 1000
        for _ in range(3):
            for method, target, sent, status, got in (
                ("GET", "/", None, 200, HELLO),
                ("HEAD", "/", None, 200, b""),
                ("POST", "/echo", body, 200, body),
                ("POST", "/echo", iter([b"a", b"bc"]), 200, b"abc"),
                ("GET", "/count/3?x=y", None, 200, b"1\n2\n3\n"),
                ("GET", "/count/3x", None, 404, b"there is nothing\n"),
                ("GET", "/none", None, 404, b"there is nothing\n"),
                ("POST", "/", b"x", 405, b"GET it\n"),
                ("GET", "/echo", None, 405, b"POST something\n"),
            ):
                client.request(method, target, sent)
                answer = client.getresponse()
                self.assertEqual((answer.status, answer.read()), (status, got), (method, target))
                self.assertIsNone(answer.getheader("Connection"))
        client.close()

    def test_what_is_sent(self):
        hello = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 14\r\n\r\n" + HELLO
        closes = hello.replace(b"plain\r\n", b"plain\r\nConnection: close\r\n")
        keeps = hello.replace(b"plain\r\n", b"plain\r\nConnection: keep-alive\r\n")
        get = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
        self.assertEqual(self.raw(get), hello)
        self.assertEqual(self.raw(get * 20), hello * 20)
        self.assertEqual(self.raw(get.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n") + get, False), closes)
        self.assertEqual(self.raw(b"GET / HTTP/1.0\r\n\r\n", False), closes)
        self.assertEqual(self.raw(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" * 2), keeps * 2)
        self.assertEqual(
            self.raw(b"GET /count/2 HTTP/1.1\r\n\r\n" + get),
            b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(b"1\n", b"2\n") + hello,
        )
        self.assertEqual(
            self.raw(b"GET /count/2 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", False),
            b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n1\n2\n",
        )
        self.assertEqual(self.raw(b"HEAD / HTTP/1.1\r\n\r\n" + get), hello[: -len(HELLO)] + hello)

    def test_a_request_that_is_cut_anywhere(self):
        head = b"POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
        for body in ((b"hello", b"x" * 20), ()):
            request = head + chunked(*body)
            for cut in range(1, len(request)):
                with self.server.connect() as client:
                    client.sendall(request[:cut])
                    if cut % 3 == 0:
                        continue  # and gone
                    client.sendall(request[cut:])
                    client.shutdown(socket.SHUT_WR)
                    self.assertTrue(read_all(client).endswith(b"\r\n\r\n" + b"".join(body)))
        # As slowly as can be.
        with self.server.connect() as client:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for byte in head + chunked():
                client.sendall(bytes([byte]))
                time.sleep(0.001)
            client.shutdown(socket.SHUT_WR)
            self.assertTrue(read_all(client).endswith(b"Content-Length: 0\r\n\r\n"))

    def test_a_client_that_wants_encouragement(self):
        with self.server.connect() as client:
            client.sendall(b"POST /echo HTTP/1.1\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
            self.assertEqual(client.recv(100), b"HTTP/1.1 100 Continue\r\n\r\n")
            client.sendall(b"abc")
            self.assertTrue(client.recv(1000).endswith(b"\r\n\r\nabc"))

    def test_what_is_refused(self):
        for sent, status in (
            (b"nonsense\r\n\r\n", 400),
            (b"GET / HTTP/1.1\r\nno field\r\n\r\n", 400),
            (b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n", 400),
            (b"GET / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
            (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", 400),
            (b"GET / HTTP/3.0\r\n\r\n", 505),
            (b"GET / HTTP/1.1\r\nX: " + b"x" * 20000, 431),
            (b"GET / HTTP/1.1\r\n" + b"X: x\r\n" * 3000, 431),
            (b"GET /" + b"x" * 20000, 431),
            (b"POST /echo HTTP/1.1\r\nContent-Length: 1048577\r\n\r\n", 413),
            (b"POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(*[b"x" * 65536] * 17), 413),
        ):
            answer = self.raw(sent, False)
            self.assertTrue(answer.startswith(b"HTTP/1.1 %d " % status), (sent[:100], answer))
            self.assertIn(b"\r\nConnection: close\r\n", answer)
        largest = b"x" * 1048576
        self.assertTrue(self.raw(b"POST /echo HTTP/1.1\r\nContent-Length: 1048576\r\n\r\n" + largest).endswith(largest))

    def test_half_a_request_does_not_stay(self):
        # A server of its own: no other test has to send its requests within a time.
        with Service("http_hello", 0, 100, 60000, 500) as server, contextlib.ExitStack() as clients:
            slow = [clients.enter_context(server.connect()) for _ in range(20)]
            for number, each in enumerate(slow):
                each.sendall(b"POST /echo HTTP/1.1\r\nContent-Length: 10\r\n\r\n"[: 5 + number * 2])
            for each in slow:
                self.assertTrue(read_all(each).startswith(b"HTTP/1.1 408 Request Timeout\r\n"))
            with server.connect() as client:
                client.sendall(b"GET / HTTP/1.1\r\n\r\n")
                client.shutdown(socket.SHUT_WR)
                self.assertTrue(read_all(client).endswith(HELLO))
            server.tell(signal.SIGTERM)
            self.assertEqual(server.end(), (0, "bye\n"))

    def test_curl(self):
        if not shutil.which("curl"):
            self.skipTest("there is no curl")
        url = f"http://127.0.0.1:{self.server.port}"

        def curl(*arguments, **how):
            return subprocess.run(["curl", "-sS", *arguments], stdout=subprocess.PIPE, timeout=LIMIT, check=True, **how).stdout

        self.assertEqual(curl(url, url), HELLO * 2)
        data = b"y" * 300_000
        self.assertEqual(curl("--data-binary", "@-", url + "/echo", input=data), data)
        self.assertEqual(curl("-T", "-", "-X", "POST", url + "/echo", input=data), data)
        self.assertEqual(curl("--http1.0", url + "/count/5"), b"1\n2\n3\n4\n5\n")


    def test_wrk(self):
        if not shutil.which("wrk"):
            self.skipTest("there is no wrk")
        url = f"http://127.0.0.1:{self.server.port}/"
        for _ in range(30):  # a second may be short
            told = subprocess.run(["wrk", "-t", "1", "-c", "20", "-d", "1s", "--timeout", "60s", url],
                                  stdout=subprocess.PIPE, timeout=LIMIT, check=True, text=True).stdout
            self.assertNotIn("Non-2xx", told)
            self.assertNotIn("errors", told)
            if int(re.search(r"(?m)^ *(\d+) requests in ", told)[1]) != 0:
                return
        self.fail("nothing was answered")


class EndTest(unittest.TestCase):
    def test_idle_clients_go(self):
        with Service("http_hello", 0, 10, 100) as server:
            with server.connect() as client:
                self.assertEqual(read_all(client), b"")
            server.tell(signal.SIGTERM)
            self.assertEqual(server.end(), (0, "bye\n"))

    def test_a_signal_under_load_leaves_no_half_answer(self):
        for _ in range(2 if SANITIZED else 5):
            with Service("http_hello", 0) as server:
                answers = []

                def load():
                    with contextlib.suppress(ConnectionError), server.connect() as client:
                        received = b""
                        while True:
                            client.sendall(b"GET / HTTP/1.1\r\n\r\n" * 10)
                            piece = client.recv(65536)
                            if not piece:
                                break
                            received += piece
                        if received:  # else the server ended before anything was asked
                            answers.append(received)

                loads = [threading.Thread(target=load) for _ in range(4)]
                for each in loads:
                    each.start()
                with server.connect() as busy, server.connect() as idle:
                    # Both have been accepted, and one is in the middle of a request: its answers tell.
                    idle.sendall(b"GET / HTTP/1.1\r\n\r\n")
                    answer = b""
                    while not answer.endswith(HELLO):
                        answer += idle.recv(1000)
                    busy.sendall(b"POST /echo HTTP/1.1\r\nContent-Length: 10\r\nExpect: 100-continue\r\n\r\n")
                    self.assertEqual(busy.recv(100), b"HTTP/1.1 100 Continue\r\n\r\n")
                    busy.sendall(b"first")
                    server.tell(signal.SIGTERM)
                    self.assertEqual(idle.recv(1), b"")
                    busy.sendall(b"later")
                    answer = read_all(busy)
                    self.assertTrue(answer.endswith(b"\r\n\r\nfirstlater"))
                    self.assertIn(b"\r\nConnection: close\r\n", answer)
                for each in loads:
                    each.join()
                self.assertEqual(server.end(), (0, "bye\n"))
                for answer in answers:
                    self.assertTrue(answer.endswith(HELLO))


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
