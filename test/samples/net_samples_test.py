"""net_samples_test.py DIRECTORY [--sanitized]: the samples that are services, as their users meet them."""

import contextlib
import os
import resource
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import unittest

from service import DIRECTORY, LIMIT, Service, read_all


class Lines:
    """The client of a chat."""

    def __init__(self, service, name=None):
        self.socket = service.connect()
        self.file = self.socket.makefile("rwb")
        if name:
            assert self.read() == "* your name?"
            self.say(name)
            assert self.read() == "* welcome, " + name

    def say(self, text):
        self.file.write(text.encode() + b"\n")
        self.file.flush()

    def read(self):
        """The next line; nothing at the end, also at one with a reset, which is what unread bytes make of it."""
        try:
            return self.file.readline().decode().rstrip("\n")
        except ConnectionResetError:
            return ""

    def close(self):
        self.file.close()
        self.socket.close()


class EchoTest(unittest.TestCase):
    def test_what_is_sent_comes_back(self):
        with Service("echo", 0) as echo:
            data = os.urandom(1 << 20)
            with echo.connect() as client:
                sending = threading.Thread(target=lambda: (client.sendall(data), client.shutdown(socket.SHUT_WR)))
                sending.start()
                self.assertEqual(read_all(client), data)
                sending.join()
            echo.tell(signal.SIGTERM)
            status, errors = echo.end()
            self.assertEqual((status, errors), (0, "bye\n"))

    def test_nc(self):
        # The other nc does not end when its input does.
        if not shutil.which("nc") or b"OpenBSD" not in subprocess.run(["nc", "-h"], capture_output=True).stderr:
            self.skipTest("there is no nc of OpenBSD's")
        with Service("echo", 0) as echo:
            told = subprocess.run(["nc", "-N", "127.0.0.1", str(echo.port)], input=b"to and fro\n", stdout=subprocess.PIPE,
                                  timeout=LIMIT, check=True).stdout
            self.assertEqual(told, b"to and fro\n")
            echo.tell(signal.SIGTERM)
            self.assertEqual(echo.end(), (0, "bye\n"))

    def test_it_survives_connections_that_are_cut(self):
        with Service("echo", 0) as echo:
            for cut in range(100):
                client = echo.connect()
                client.sendall(b"x" * cut)
                if cut % 2:  # a reset
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                client.close()
            with echo.connect() as client:
                client.sendall(b"still there")
                client.shutdown(socket.SHUT_WR)
                self.assertEqual(read_all(client), b"still there")
            echo.tell(signal.SIGINT)
            self.assertEqual(echo.end(), (0, "bye\n"))

    def test_a_thousand_idle_connections_end_with_a_signal(self):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        allowed = 2000 if hard == resource.RLIM_INFINITY else min(2000, hard)
        if soft < allowed:  # the service inherits it
            resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
            self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        with Service("echo", 0) as echo, contextlib.ExitStack() as clients:
            idle = [clients.enter_context(echo.connect()) for _ in range(min(1000, max(soft, allowed) - 50))]
            for each in (idle[0], idle[-1]):
                each.sendall(b"ping")
                self.assertEqual(each.recv(4), b"ping")
            echo.tell(signal.SIGTERM)
            for each in idle:
                self.assertEqual(each.recv(1), b"")
                each.close()
            self.assertEqual(echo.end()[0], 0)


class ChatTest(unittest.TestCase):
    def test_rooms(self):
        with Service("chat", 0) as chat:
            ann, bob = Lines(chat, "ann"), Lines(chat, "bob")
            self.assertEqual(ann.read(), "* bob has come")
            bob.say("hello")
            self.assertEqual(ann.read(), "bob: hello")
            bob.say("/join attic")
            self.assertEqual(bob.read(), "* you are in attic")
            self.assertEqual(ann.read(), "* bob has left")
            bob.say("nobody hears this")
            bob.say("/who")
            self.assertEqual(bob.read(), "attic: bob")
            ann.say("/who")
            self.assertEqual(ann.read(), "hall: ann")
            second = Lines(chat)
            self.assertEqual(second.read(), "* your name?")
            second.say("ann")
            self.assertEqual(second.read(), "* this name is taken")
            self.assertEqual(second.read(), "")
            ann.say("/join attic")
            self.assertEqual(bob.read(), "* ann has come")
            ann.say("/quit")
            self.assertEqual(bob.read(), "* ann has left")
            # A line that is too long, and one that is cut: the others go on.
            carl = Lines(chat, "carl")
            carl.say("x" * 2000)
            self.assertEqual(carl.read(), "")
            chat.tell(signal.SIGTERM)
            self.assertEqual(bob.read(), "")
            for each in (ann, bob, carl, second):
                each.close()
            self.assertEqual(chat.end()[0], 0)

    def test_a_slow_reader_is_dropped_and_the_others_notice_nothing(self):
        with Service("chat", 0, 8) as chat:
            slow = Lines(chat, "slow")  # who is in the room, and reads no more
            slow.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            fast, speaker = Lines(chat, "fast"), Lines(chat, "speaker")
            while fast.read() != "* speaker has come":
                pass
            heard = []
            text = "y" * 1000
            # Until it is gone, which the others are told.
            for number in range(100000):
                speaker.say(f"{number} {text}")
                line = fast.read()
                if line == "* slow has left":
                    break
                heard.append(line)
            else:
                self.fail("the slow reader is still there")
            self.assertEqual(heard, [f"speaker: {i} {text}" for i in range(len(heard))])
            slow.close()
            chat.tell(signal.SIGTERM)
            for each in (fast, speaker):
                while each.read():
                    pass
                each.close()
            self.assertEqual(chat.end()[0], 0)


class ProxyTest(unittest.TestCase):
    def test_both_directions_and_half_close(self):
        with Service("echo", 0) as echo, Service("proxy", 0, "127.0.0.1", echo.port) as proxy:
            data = os.urandom(1 << 20)
            with proxy.connect() as client:
                sending = threading.Thread(target=lambda: (client.sendall(data), client.shutdown(socket.SHUT_WR)))
                sending.start()
                self.assertEqual(read_all(client), data)
                sending.join()
            proxy.tell(signal.SIGTERM)
            self.assertEqual(proxy.end(), (0, ""))

    def test_idle_connections_are_closed_and_reported(self):
        with Service("echo", 0) as echo, Service("proxy", 0, "127.0.0.1", echo.port, 10, 2000) as proxy:
            with proxy.connect() as client:
                client.sendall(b"hello")
                self.assertEqual(client.recv(5), b"hello")
                self.assertEqual(client.recv(5), b"")
            proxy.tell(signal.SIGTERM)
            status, errors = proxy.end()
            self.assertEqual(status, 0)
            self.assertIn("leat: connection 127.0.0.1:", errors)

    def test_no_more_connections_than_allowed(self):
        with Service("echo", 0) as echo, Service("proxy", 0, "127.0.0.1", echo.port, 1) as proxy:
            with proxy.connect() as first:
                first.sendall(b"1")
                self.assertEqual(first.recv(1), b"1")
                second = proxy.connect()  # the kernel's doing
                second.sendall(b"2")
                second.settimeout(0.2)
                with self.assertRaises(TimeoutError):
                    second.recv(1)
            second.settimeout(LIMIT)
            self.assertEqual(second.recv(1), b"2")
            second.close()
            proxy.tell(signal.SIGTERM)
            self.assertEqual(proxy.end()[0], 0)

    def test_a_server_that_is_not_there_costs_one_connection(self):
        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))
            with Service("proxy", 0, "127.0.0.1", nobody.getsockname()[1]) as proxy:
                for _ in range(3):
                    with proxy.connect() as client:
                        with contextlib.suppress(ConnectionError):
                            self.assertEqual(client.recv(1), b"")
                proxy.tell(signal.SIGTERM)
                status, errors = proxy.end()
                self.assertEqual(status, 0)
                self.assertEqual(errors.count("connect: 127.0.0.1:"), 3)


class PortScannerTest(unittest.TestCase):
    def scan(self, *arguments):
        done = subprocess.run(
            [os.path.join(DIRECTORY, "port_scanner"), *map(str, arguments)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=LIMIT,
        )
        return done.returncode, done.stdout.split(), done.stderr

    def test_it_finds_the_open_ports(self):
        with contextlib.ExitStack() as all_of:
            servers = []
            for _ in range(3):
                server = all_of.enter_context(socket.create_server(("127.0.0.1", 0)))
                servers.append(server.getsockname()[1])
            shut = all_of.enter_context(socket.socket())
            shut.bind(("127.0.0.1", 0))
            for port in servers:
                self.assertEqual(self.scan("127.0.0.1", port, port), (0, [str(port)], ""))
            first = max(1, min(servers) - 20)
            status, found, _ = self.scan("127.0.0.1", first, min(65535, first + 200), 10, 100000)
            self.assertEqual(status, 0)
            self.assertIn(str(min(servers)), found)
            self.assertNotIn(str(shut.getsockname()[1]), found)
            self.assertEqual(found, sorted(found, key=int))

    def test_what_it_can_not_do(self):
        self.assertEqual(self.scan("127.0.0.1", 0, 10)[0], 2)
        status, found, errors = self.scan("no-such-host.invalid", 1, 2)
        self.assertEqual((status, found), (1, []))
        self.assertIn("lookup of no-such-host.invalid", errors)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
