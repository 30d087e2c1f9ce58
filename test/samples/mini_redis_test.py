"""mini_redis_test.py DIRECTORY [--sanitized]: mini_redis, as its clients meet it.

LEAT_ROUNDS is how many times the server is killed under load (default: a hundred times); LEAT_SEED says after which
write each time (default: another one each time, which is printed).
"""

import contextlib
import os
import random
import resource
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unittest

from service import DIRECTORY, LIMIT, Service, read_all

SANITIZED = "--sanitized" in sys.argv[2:]
ROUNDS = int(os.environ.get("LEAT_ROUNDS", 10 if SANITIZED else 100))
SEED = int(os.environ.get("LEAT_SEED", random.randrange(1 << 31)))


class Error(str):
    """An error reply."""


def encode(*words):
    words = [word if isinstance(word, bytes) else str(word).encode() for word in words]
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)


class Client:
    def __init__(self, server):
        self.socket = server.connect()
        self.file = self.socket.makefile("rb")

    def send(self, *words):
        self.socket.sendall(encode(*words))

    def read(self):
        line = self.file.readline()
        if not line:
            raise EOFError
        assert line.endswith(b"\r\n"), line
        kind, rest = line[:1], line[1:-2]
        if kind == b"+":
            return rest.decode()
        if kind == b"-":
            return Error(rest.decode())
        if kind == b":":
            return int(rest)
        length = int(rest)
        if length < 0:
            return None
        if kind == b"$":
            data = self.file.read(length + 2)
            if len(data) != length + 2:
                raise EOFError
            return data[:-2]
        assert kind == b"*", line
        return [self.read() for _ in range(length)]

    def __call__(self, *words):
        self.send(*words)
        return self.read()

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        self.close()

    def close(self):
        self.file.close()
        self.socket.close()

    def reset(self):
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()


def until(condition):
    """Waits for something that another process does."""
    end = time.monotonic() + LIMIT
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError
        time.sleep(0.005)


class ServerTest(unittest.TestCase):
    """One server for all tests of a class, on a port of its own, empty at the beginning of each."""

    options = ()

    @classmethod
    def setUpClass(cls):
        cls.server = Service("mini_redis", "--port", 0, *cls.options)

    @classmethod
    def tearDownClass(cls):
        cls.server.tell(signal.SIGTERM)
        status, errors = cls.server.end()
        cls.server.__exit__(None, None, None)
        assert (status, errors) == (0, "bye\n"), (status, errors)

    def setUp(self):
        self.redis = self.connect()
        self.assertEqual(self.redis("FLUSHALL"), "OK")

    def connect(self):
        client = Client(self.server)
        self.addCleanup(client.close)
        return client

    def expect(self, reply, *words):
        self.assertEqual(self.redis(*words), reply, words)

    def refuse(self, beginning, *words):
        reply = self.redis(*words)
        self.assertIsInstance(reply, Error, words)
        self.assertTrue(str(reply).startswith(beginning), (words, reply))

    def blocked(self):
        for line in self.redis("INFO", "clients").decode().split("\r\n"):
            if line.startswith("blocked_clients:"):
                return int(line.split(":")[1])


class CommandTest(ServerTest):
    def test_strings(self):
        self.expect("PONG", "PING")
        self.expect(b"hello", "ping", "hello")
        self.expect(b"a\0\r\nb", "ECHO", b"a\0\r\nb")
        self.expect(None, "GET", "k")
        self.expect("OK", "SET", "k", "v")
        self.expect(b"v", "GET", "k")
        self.expect(None, "SET", "k", "w", "NX")
        self.expect("OK", "SET", "k", "w", "XX")
        self.expect(None, "SET", "other", "w", "XX")
        self.expect("OK", "SET", "other", "w", "NX")
        self.expect(b"w", "SET", "k", "x", "GET")
        self.expect(2, "EXISTS", "k", "other", "none")
        self.expect(2, "EXISTS", "k", "k")
        self.expect(2, "DEL", "k", "other", "none")
        self.expect(0, "EXISTS", "k")
        self.expect("OK", "MSET", "a", "1", "b", "2", "a", "3")
        self.expect([b"3", b"2", None], "MGET", "a", "b", "c")
        self.expect("string", "TYPE", "a")
        self.expect("none", "TYPE", "c")
        self.expect(2, "DBSIZE")
        big = os.urandom(3_000_000)
        self.expect("OK", "SET", "big", big)
        self.expect(big, "GET", "big")

    def test_numbers(self):
        self.expect(1, "INCR", "n")
        self.expect(11, "INCRBY", "n", 10)
        self.expect(10, "DECR", "n")
        self.expect(-5, "DECRBY", "n", 15)
        self.expect("OK", "SET", "n", 2**63 - 1)
        self.refuse("ERR increment or decrement would overflow", "INCR", "n")
        self.expect("OK", "SET", "n", "1.5")
        self.refuse("ERR value is not an integer", "INCR", "n")
        self.refuse("ERR value is not an integer", "INCRBY", "n", "x")
        self.refuse("ERR decrement would overflow", "DECRBY", "n", -(2**63))

    def expect_time_left(self, seconds):
        """Or less: time goes on meanwhile."""
        self.assertIn(self.redis("TTL", "k"), range(seconds - 20, seconds + 1))

    def test_expiry(self):
        self.expect(-2, "TTL", "k")
        self.expect("OK", "SET", "k", "v")
        self.expect(-1, "TTL", "k")
        self.expect(1, "EXPIRE", "k", 100)
        self.expect_time_left(100)
        self.expect(1, "PERSIST", "k")
        self.expect(0, "PERSIST", "k")
        self.expect(0, "EXPIRE", "none", 100)
        self.expect("OK", "SET", "k", "v", "EX", 50)
        self.expect_time_left(50)
        self.expect("OK", "SET", "k", "w", "KEEPTTL")
        self.expect_time_left(50)
        self.expect("OK", "SET", "k", "v")
        self.expect(-1, "TTL", "k")
        self.expect("OK", "SET", "k", "v", "PX", 30)
        self.assertLessEqual(self.redis("PTTL", "k"), 30)
        until(lambda: self.redis("GET", "k") is None)
        self.expect(-2, "TTL", "k")
        # Nobody looks at these.
        for number in range(100):
            self.redis("SET", f"gone{number}", "v", "PX", 1)
        until(lambda: self.redis("DBSIZE") == 0)
        self.expect("OK", "SET", "k", "v")
        self.expect(1, "EXPIRE", "k", -1)
        self.expect(0, "EXISTS", "k")
        self.expect(5, "RPUSH", "l", *"abcde")
        self.expect(1, "PEXPIRE", "l", 1)
        until(lambda: self.redis("LLEN", "l") == 0)
        for wrong in ("0", "-1", str(2**62)):
            self.refuse("ERR invalid expire time in 'set'", "SET", "k", "v", "EX", wrong)
        self.refuse("ERR value is not an integer", "SET", "k", "v", "EX", "x")
        self.refuse("ERR invalid expire time in 'expire'", "EXPIRE", "k", 2**62)

    def test_lists(self):
        self.expect(3, "LPUSH", "l", "a", "b", "c")
        self.expect(4, "RPUSH", "l", "d")
        self.expect([b"c", b"b", b"a", b"d"], "LRANGE", "l", 0, -1)
        self.expect([b"a", b"d"], "LRANGE", "l", -2, 100)
        self.expect([], "LRANGE", "l", 3, 1)
        self.expect(b"c", "LPOP", "l")
        self.expect(b"d", "RPOP", "l")
        self.expect([b"b", b"a"], "LPOP", "l", 5)
        self.expect(0, "EXISTS", "l")
        self.expect(None, "LPOP", "l")
        self.expect(None, "RPOP", "l", 2)
        self.expect(0, "LLEN", "l")
        self.expect("list", "TYPE", "k") if self.redis("LPUSH", "k", "x") == 2 else None
        self.refuse("ERR value is out of range, must be positive", "LPOP", "k", -1)

    def test_a_key_of_the_wrong_kind(self):
        self.redis("SET", "s", "v")
        self.redis("LPUSH", "l", "v")
        for words in (("GET", "l"), ("INCR", "l"), ("LPUSH", "s", "x"), ("LPOP", "s"), ("LLEN", "s"),
                      ("LRANGE", "s", 0, 1), ("BLPOP", "s", 0), ("SET", "l", "x", "GET")):
            self.refuse("WRONGTYPE", *words)
        self.expect([b"v", None], "MGET", "s", "l")
        self.expect("OK", "SET", "l", "now a string")
        self.expect(b"now a string", "GET", "l")

    def test_what_is_refused(self):
        for words in (("GET",), ("GET", "a", "b"), ("SET", "k"), ("MSET", "a"), ("MSET", "a", "1", "b"), ("PING", "a", "b"),
                      ("LPOP", "l", "1", "2"), ("BLPOP", "l")):
            self.refuse("ERR wrong number of arguments for '" + words[0].lower(), *words)
        for words in (("SET", "k", "v", "NX", "XX"), ("SET", "k", "v", "EX"), ("SET", "k", "v", "EX", "1", "PX", "1"),
                      ("SET", "k", "v", "WHAT"), ("SHUTDOWN", "PERHAPS")):
            self.refuse("ERR syntax error", *words)
        self.refuse("ERR unknown command 'foo', with args beginning with: 'bar' ", "foo", "bar")
        self.refuse("ERR DB index is out of range", "SELECT", 1)
        self.expect("OK", "SELECT", 0)
        self.refuse("ERR timeout is not a float", "BLPOP", "l", "x")
        self.refuse("ERR timeout is negative", "BLPOP", "l", -1)
        self.expect("PONG", "PING")

    def test_about_the_server(self):
        info = self.redis("INFO").decode()
        for line in (f"tcp_port:{self.server.port}", "# Clients", "connected_clients:", "# Stats", "aof_enabled:0"):
            self.assertIn(line, info)
        self.redis("SET", "k", "v", "EX", "100")
        self.assertIn("db0:keys=1,expires=1,", self.redis("INFO", "Keyspace").decode())
        self.assertNotIn("# Stats", self.redis("INFO", "Keyspace").decode())
        self.expect([b"port", str(self.server.port).encode()], "CONFIG", "GET", "PORT")
        self.expect([b"appendfsync", b"everysec", b"appendonly", b"no"], "CONFIG", "GET", "append[fo]*[cy]")
        self.refuse("ERR unknown subcommand", "CONFIG", "SET", "port", 1)
        commands = self.redis("COMMAND")
        self.assertEqual(len(commands), self.redis("COMMAND", "COUNT"))
        self.assertIn([b"mset", -3, ["write"], 1, -1, 2], commands)
        self.expect([[b"get", 2, ["readonly"], 1, 1, 1], None], "COMMAND", "INFO", "get", "none")
        self.expect([], "COMMAND", "DOCS")

    def test_clients(self):
        other = self.connect()
        self.assertIsNone(other("CLIENT", "GETNAME"))
        self.assertEqual(other("CLIENT", "SETNAME", "ann"), "OK")
        self.assertEqual(other("CLIENT", "GETNAME"), b"ann")
        self.refuse("ERR Client names", "CLIENT", "SETNAME", "a b")
        number = other("CLIENT", "ID")
        self.assertIn(f"id={number} addr=127.0.0.1:", self.redis("CLIENT", "LIST").decode())
        self.assertIn(" name=ann ", other("CLIENT", "INFO").decode())
        other.send("BLPOP", "never", 0)
        until(lambda: self.blocked() == 1)
        self.expect(1, "CLIENT", "KILL", "ID", number)
        with self.assertRaises((EOFError, ConnectionError)):
            other.read()
        self.expect(0, "CLIENT", "KILL", "ID", number)
        self.refuse("ERR No such client", "CLIENT", "KILL", "1.2.3.4:5")
        self.refuse("ERR unknown subcommand", "CLIENT", "WHAT")
        until(lambda: self.blocked() == 0)

    def test_pipelines_and_lines(self):
        words = [encode("INCR", "n") for _ in range(5000)]
        self.redis.socket.sendall(b"".join(words))
        self.assertEqual([self.redis.read() for _ in words], list(range(1, 5001)))
        self.redis.socket.sendall(b'SET k "a b\\n"\r\nGET k\n\r\n  PING \r\n' + encode("GET", "n"))
        self.assertEqual([self.redis.read() for _ in range(4)], ["OK", b"a b\n", "PONG", b"5000"])
        self.redis.socket.sendall(b"PING\r\nQUIT\r\nPING\r\n")
        self.assertEqual(read_all(self.redis.socket), b"+PONG\r\n+OK\r\n")

    def test_what_is_no_request_is_answered_and_ends_the_connection(self):
        for sent, complaint in (
            (b"*1\r\nPING\r\n", b"expected '$', got 'P'"),
            (b"*x\r\n", b"invalid multibulk length"),
            (b"*2000000\r\n", b"invalid multibulk length"),
            (b"*1\r\n$99999999999\r\n", b"invalid bulk length"),
            (b"*3\r\n$3\r\nSET\r\n$-5\r\n", b"invalid bulk length"),
            (b"SET k 'v\r\n", b"unbalanced quotes in request"),
            (b"x" * 70000, b"too big inline request"),
        ):
            client = self.connect()
            client.socket.sendall(encode("PING") + sent)
            self.assertEqual(read_all(client.socket), b"+PONG\r\n-ERR Protocol error: " + complaint + b"\r\n")

    def test_connections_that_are_cut_at_every_byte(self):
        request = encode("SET", "cut", "v") + encode("LPUSH", "l", "x")
        for cut in range(len(request)):
            client = self.connect()
            client.socket.sendall(request[:cut])
            client.reset() if cut % 2 else client.close()
        garbage = random.Random(1)
        for _ in range(50):
            client = self.connect()
            with contextlib.suppress(ConnectionError):
                client.socket.sendall(bytes(garbage.randrange(256) for _ in range(300)))
            client.close()
        self.expect("PONG", "PING")
        # What they have sent is not to be done in the middle of the next test.
        until(lambda: b"connected_clients:1\r" in self.redis("INFO", "clients"))

    def test_who_does_not_read_is_not_read_from(self):
        slow = self.connect()
        self.redis("SET", "big", "x" * 1_000_000)
        slow.socket.settimeout(1)
        request = encode("GET", "big") * 10000
        sent = 0
        with self.assertRaises(TimeoutError):
            while True:
                sent += slow.socket.send(request)
        # What it has asked for and not read is not in the server's memory.
        with open(f"/proc/{self.server.process.pid}/status") as status:
            resident = int(next(line for line in status if line.startswith("VmRSS")).split()[1])
        if not SANITIZED:
            self.assertLess(resident, 200_000)
        slow.reset()
        self.expect("PONG", "PING")


class BlockingPopTest(ServerTest):
    def test_what_is_there_is_taken_at_once(self):
        self.redis("RPUSH", "b", "1", "2")
        self.expect([b"b", b"1"], "BLPOP", "a", "b", 0)
        self.expect([b"b", b"2"], "BRPOP", "a", "b", 0)
        self.assertEqual(self.redis("EXISTS", "b"), 0)

    def test_a_limit(self):
        before = time.monotonic()
        self.expect(None, "BLPOP", "a", "0.05")
        self.assertGreaterEqual(time.monotonic() - before, 0.05)
        self.assertEqual(self.redis("LPUSH", "a", "x"), 1)

    def test_who_came_first_is_served_first(self):
        waiters = [self.connect() for _ in range(5)]
        for number, each in enumerate(waiters):
            each.send("BLPOP", "other", "l", 0)
            until(lambda: self.blocked() == number + 1)
        self.expect(3, "RPUSH", "l", "a", "b", "c")
        self.expect(1, "RPUSH", "l", "d")
        self.assertEqual([each.read() for each in waiters[:4]], [[b"l", value] for value in (b"a", b"b", b"c", b"d")])
        self.expect(2, "RPUSH", "other", "e", "f")
        self.assertEqual(waiters[4].read(), [b"other", b"e"])
        self.expect([b"f"], "LRANGE", "other", 0, -1)
        until(lambda: self.blocked() == 0)

    def test_what_came_before_in_the_pipeline_is_answered_and_what_comes_after_waits(self):
        other = self.connect()
        other.socket.sendall(encode("PING") + encode("BLPOP", "l", 0) + encode("ECHO", "after"))
        self.assertEqual(other.read(), "PONG")
        until(lambda: self.blocked() == 1)
        other.send("ECHO", "later")
        self.expect(1, "LPUSH", "l", "v")
        self.assertEqual([other.read() for _ in range(3)], [[b"l", b"v"], b"after", b"later"])

    def test_who_has_gone_gets_nothing(self):
        for end in ("close", "reset"):
            gone = self.connect()
            gone.send("BLPOP", "l", 0)
            until(lambda: self.blocked() == 1)
            getattr(gone, end)()
            until(lambda: self.blocked() == 0)
            self.expect(1, "LPUSH", "l", "v")
            self.expect(b"v", "LPOP", "l")

    def test_nothing_is_lost_or_given_twice(self):
        count = 200 if SANITIZED else 1000
        got = []
        lock = threading.Lock()

        def consume():
            with Client(self.server) as client:
                while (reply := client("BLPOP", "a", "b", "c", "0.01")) is None or reply[1] != b"end":
                    if reply:
                        with lock:
                            got.append(reply[1])

        def produce(number):
            with Client(self.server) as client:
                for item in range(count):
                    client(random.choice(["LPUSH", "RPUSH"]), random.choice("abc"), f"{number}.{item}")

        consumers = [threading.Thread(target=consume) for _ in range(4)]
        producers = [threading.Thread(target=produce, args=(number,)) for number in range(3)]
        for each in consumers + producers:
            each.start()
        for each in producers:
            each.join()
        until(lambda: [self.redis("LLEN", key) for key in "abc"] == [0, 0, 0])
        for _ in consumers:
            self.redis("RPUSH", "a", "end")
        for each in consumers:
            each.join()
        expected = sorted(f"{number}.{item}".encode() for number in range(3) for item in range(count))
        self.assertEqual(sorted(got), expected)


class PubSubTest(ServerTest):
    def test_channels_and_patterns(self):
        ann, bob = self.connect(), self.connect()
        ann.send("SUBSCRIBE", "news", "sport")
        self.assertEqual(ann.read(), [b"subscribe", b"news", 1])
        self.assertEqual(ann.read(), [b"subscribe", b"sport", 2])
        self.assertEqual(bob("PSUBSCRIBE", "n[a-f]ws*"), [b"psubscribe", b"n[a-f]ws*", 1])
        self.expect(2, "PUBLISH", "news", "hello")
        self.expect(1, "PUBLISH", "newspaper", "paper")
        self.expect(0, "PUBLISH", "noise", "nobody hears it")
        self.expect(1, "PUBLISH", "sport", b"\0\r\n")
        self.assertEqual(ann.read(), [b"message", b"news", b"hello"])
        self.assertEqual(ann.read(), [b"message", b"sport", b"\0\r\n"])
        self.assertEqual(bob.read(), [b"pmessage", b"n[a-f]ws*", b"news", b"hello"])
        self.assertEqual(bob.read(), [b"pmessage", b"n[a-f]ws*", b"newspaper", b"paper"])
        self.assertIn("pubsub_channels:2\r\npubsub_patterns:1", self.redis("INFO", "stats").decode())
        self.assertEqual(ann("PING"), [b"pong", b""])
        self.assertEqual(ann("PING", "x"), [b"pong", b"x"])
        self.assertTrue(ann("GET", "k").startswith("ERR Can't execute 'get': only (P)SUBSCRIBE"))
        self.assertEqual(ann("UNSUBSCRIBE", "news"), [b"unsubscribe", b"news", 1])
        self.expect(1, "PUBLISH", "news", "for bob")
        self.assertEqual(ann("PSUBSCRIBE", "*"), [b"psubscribe", b"*", 2])
        self.assertEqual(ann("UNSUBSCRIBE"), [b"unsubscribe", b"sport", 1])
        self.assertEqual(ann("UNSUBSCRIBE"), [b"unsubscribe", None, 1])
        self.assertEqual(ann("PUNSUBSCRIBE"), [b"punsubscribe", b"*", 0])
        self.assertEqual(ann("GET", "k"), None)  # a client like any other again
        self.assertEqual(ann("UNSUBSCRIBE", "x"), [b"unsubscribe", b"x", 0])
        self.assertEqual(ann("SUBSCRIBE", "again"), [b"subscribe", b"again", 1])
        bob.reset()
        until(lambda: self.redis("PUBLISH", "news", "is bob still there?") == 0)

    def test_protocol_errors_and_quit_end_a_subscription(self):
        for sent, last in ((encode("QUIT"), b"+OK\r\n"), (b"*1\r\nx", b"-ERR Protocol error: expected '$', got 'x'\r\n")):
            client = self.connect()
            self.assertEqual(client("SUBSCRIBE", "c"), [b"subscribe", b"c", 1])
            client.socket.sendall(sent)
            self.assertEqual(read_all(client.socket), last)
        until(lambda: self.redis("PUBLISH", "c", "x") == 0)

    def test_many_publishers_and_subscribers_in_order(self):
        count = 100 if SANITIZED else 500
        subscribers = [self.connect() for _ in range(4)]
        for each in subscribers:
            each("SUBSCRIBE", "c")
            each("PSUBSCRIBE", "?")

        def publish(name):
            with Client(self.server) as client:
                client.socket.sendall(b"".join(encode("PUBLISH", "c", f"{name}{i}") for i in range(count)))
                for _ in range(count):
                    self.assertEqual(client.read(), 8)

        publishers = [threading.Thread(target=publish, args=(name,)) for name in "xyz"]
        for each in publishers:
            each.start()
        for each in subscribers:
            got = [each.read() for _ in range(6 * count)]
            for kind in (b"message", b"pmessage"):
                for name in "xyz":
                    mine = [m[-1] for m in got if m[0] == kind and m[-1].startswith(name.encode())]
                    self.assertEqual(mine, [f"{name}{i}".encode() for i in range(count)])
        for each in publishers:
            each.join()


class SlowSubscriberTest(unittest.TestCase):
    def test_it_is_dropped_and_nobody_else_notices(self):
        with Service("mini_redis", "--port", 0) as server:
            with Client(server) as slow, Client(server) as fast, Client(server) as publisher:
                slow("SUBSCRIBE", "c")
                fast("SUBSCRIBE", "c")
                text = b"x" * 1_000_000
                sent = 0
                while publisher("PUBLISH", "c", text) == 2:
                    sent += 1
                    self.assertEqual(fast.read()[2], text)
                    self.assertLess(sent, 200)
                self.assertGreater(sent, 20)
                self.assertEqual(fast.read()[2], text)
                with contextlib.suppress(ConnectionError):
                    read_all(slow.socket)  # to the end, which the server has made
            server.tell(signal.SIGTERM)
            status, errors = server.end()
            self.assertEqual(status, 0)
            self.assertIn("a subscriber that does not read", errors)


class FileTest(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix="mini_redis.")
        self.addCleanup(shutil.rmtree, self.directory)
        self.file = os.path.join(self.directory, "appendonly.aof")

    def start(self, *options, **how):
        return Service("mini_redis", "--port", 0, "--appendonly", "yes", "--dir", self.directory, *options, **how)

    def stop(self, server):
        server.tell(signal.SIGTERM)
        self.assertEqual(server.end(), (0, "bye\n"))

    def kill(self, server):
        server.process.kill()
        server.process.communicate()

    def test_everything_is_there_after_a_restart(self):
        for policy in ("always", "everysec", "no"):
            with contextlib.suppress(FileNotFoundError):
                os.remove(self.file)
            with self.start("--appendfsync", policy) as server, Client(server) as redis, Client(server) as other:
                redis("MSET", "a", "1", b"\0\r\n", b"\xff$*")
                redis("SET", "ttl", "v", "EX", 1000)
                redis("SET", "ttl", "w", "KEEPTTL")
                redis("SET", "short", "5", "PX", 20)
                redis("SET", "gone", "x")
                redis("EXPIRE", "gone", 0)
                redis("SET", "kept", "x", "EX", 1000)
                redis("PERSIST", "kept")
                until(lambda: redis("GET", "short") is None)
                redis("INCR", "short")  # a new one, without an end
                redis("DECRBY", "n", 7)
                redis("RPUSH", "l", "a", "b", "c", "d")
                redis("LPOP", "l")
                redis("RPOP", "l", 1)
                redis("DEL", "none")
                other.send("BLPOP", "q", 0)
                until(lambda: b"blocked_clients:1" in redis("INFO", "clients"))
                redis("LPUSH", "q", "first", "second")
                self.assertEqual(other.read(), [b"q", b"second"])
                redis("SET", "no", "x", "XX")
                redis("SET", "a", "x", "NX")
                self.kill(server)
            for how in (self.kill, self.stop):
                with self.start() as server, Client(server) as redis:
                    self.assertEqual(redis("MGET", "a", b"\0\r\n", "ttl", "short", "kept", "n", "gone", "no"),
                                     [b"1", b"\xff$*", b"w", b"1", b"x", b"-7", None, None])
                    self.assertEqual(redis("TTL", "kept"), -1)
                    self.assertEqual(redis("TTL", "short"), -1)
                    self.assertAlmostEqual(redis("TTL", "ttl"), 990, delta=11)
                    self.assertEqual(redis("LRANGE", "l", 0, -1), [b"b", b"c"])
                    self.assertEqual(redis("LRANGE", "q", 0, -1), [b"first"])
                    self.assertEqual(redis("INFO", "keyspace").count(b"keys=8,"), 1)
                    how(server)

    def test_a_file_that_is_cut_anywhere_can_be_read(self):
        with self.start() as server, Client(server) as redis:
            for number in range(4):
                redis("SET", f"k{number}", "v" * number)
            self.stop(server)
        with open(self.file, "rb") as file:
            whole = file.read()
        ends = [len(b"".join(encode("SET", f"k{n}", "v" * n) for n in range(count))) for count in range(5)]
        self.assertEqual(ends[-1], len(whole))
        for cut in range(0, len(whole) + 1, 17 if SANITIZED else 3):
            with open(self.file, "wb") as file:
                file.write(whole[:cut])
            complete = max(n for n, end in enumerate(ends) if end <= cut)
            with self.start() as server, Client(server) as redis:
                self.assertEqual(redis("DBSIZE"), complete)
                self.assertEqual(redis("SET", "after", "x"), "OK")
                self.assertEqual("cut off" in "".join(server.before), cut not in ends)
                self.kill(server)
            with open(self.file, "rb") as file:
                self.assertEqual(file.read(), whole[: ends[complete]] + encode("SET", "after", "x"))

    def test_a_damaged_file_is_not_used(self):
        good = encode("SET", "k", "v")
        for bad in (b"*x\r\n", b"*1\r\n$3\r\nGE\r\n\r\n", encode("WHAT"), encode("LPUSH", "k", "v"), encode("SUBSCRIBE", "k"),
                    b"\0\0\0\0\n", encode("SHUTDOWN"), encode("CLIENT", "ID"), encode("BLPOP", "k", 0)):
            with open(self.file, "wb") as file:
                file.write(good + bad + good)
            with self.assertRaises(RuntimeError) as failed:
                self.start()
            self.assertRegex(str(failed.exception), "is damaged at byte|can not be repeated|has no place")
            with open(self.file, "rb") as file:
                self.assertEqual(file.read(), good + bad + good)

    def test_two_servers_do_not_share_a_file(self):
        with self.start() as server:
            with self.assertRaises(RuntimeError) as failed:
                self.start()
            self.assertIn("is in use by another process", str(failed.exception))
            self.stop(server)

    def test_what_was_acknowledged_survives_kills_under_load(self):
        """Also that nothing comes back that was not sent, and that the order of each client's writes is kept."""
        print(f"LEAT_SEED={SEED}", file=sys.stderr)
        chance = random.Random(SEED)
        clients = 4
        sent = [0] * clients
        acknowledged = [0] * clients
        halves = []
        wrong = []

        def check(redis):
            for number in range(clients):
                value = int(redis("GET", f"c{number}") or 0)
                self.assertTrue(acknowledged[number] <= value <= sent[number], (acknowledged, value, sent))
                values = [int(v) for v in redis("LRANGE", f"l{number}", 0, -1)]
                self.assertIn(values, (list(range(1, value + 1)), list(range(1, value))))
                # Half of the last pair may be missing.
                if len(values) < value:
                    redis("RPUSH", f"l{number}", value)
                sent[number] = acknowledged[number] = value

        def write(server, number, batches, end_at, end):
            with contextlib.suppress(EOFError, ConnectionError), Client(server) as client:
                while True:
                    batch = range(sent[number] + 1, sent[number] + 1 + batches.randrange(1, 20))
                    sent[number] = batch[-1]
                    client.socket.sendall(b"".join(encode("SET", f"c{number}", i) + encode("RPUSH", f"l{number}", i)
                                                   for i in batch))
                    for i in batch:
                        for answer in (b"+OK", b":"):
                            line = client.file.readline()
                            if not line.endswith(b"\r\n"):
                                halves.append(line) if line else None
                                return
                            if not line.startswith(answer):
                                wrong.append(line)
                                return
                        acknowledged[number] = i
                        if sum(acknowledged) >= end_at:
                            end()

        for number_of_round in range(ROUNDS + 1):
            policy = ("always", "everysec")[number_of_round % 2]
            # Now and then it is asked nicely.
            end_with = signal.SIGTERM if number_of_round % 10 == 7 else signal.SIGKILL
            with self.start("--appendfsync", policy) as server:
                with Client(server) as redis:
                    check(redis)
                    if number_of_round == ROUNDS:
                        self.stop(server)
                        break
                    # What has been checked need not be read again each time.
                    if number_of_round % 5 == 4:
                        self.assertEqual(redis("FLUSHALL"), "OK")
                        sent, acknowledged = [0] * clients, [0] * clients
                end_at = sum(acknowledged) + chance.randrange(1, 120)
                once = threading.Lock()
                end = lambda: server.tell(end_with) if once.acquire(blocking=False) else None
                writers = [threading.Thread(target=write, args=(server, n, random.Random(chance.random()), end_at, end))
                           for n in range(clients)]
                for each in writers:
                    each.start()
                for each in writers:
                    each.join()
                self.assertEqual(wrong, [])
                self.assertGreaterEqual(sum(acknowledged), end_at)
                if end_with == signal.SIGTERM:
                    self.assertEqual(halves, [])
                    self.assertEqual(server.end(), (0, "bye\n"))
                else:
                    self.assertEqual(server.process.wait(LIMIT), -signal.SIGKILL)
                halves.clear()

    def test_a_signal_while_it_starts(self):
        """Whenever it comes, also while the file is read: it ends, and nothing has happened to the file."""
        with open(self.file, "wb") as file:
            file.write(encode("SET", "k", "v") * (2000 if SANITIZED else 20000))
        with open(self.file, "rb") as file:
            whole = file.read()
        chance = random.Random(SEED)
        program = os.path.join(DIRECTORY, "mini_redis")
        for _ in range(5 if SANITIZED else 20):
            with subprocess.Popen([program, "--port", "0", "--appendonly", "yes", "--dir", self.directory],
                                  stderr=subprocess.PIPE) as process:
                time.sleep(chance.uniform(0, 0.05))
                process.send_signal(signal.SIGTERM)
                _, errors = process.communicate(timeout=LIMIT)
                # Before it has asked for them, signals do what they do to everybody.
                self.assertIn(process.returncode, (0, -signal.SIGTERM), errors)
            with open(self.file, "rb") as file:
                self.assertEqual(file.read(), whole)

    def test_a_full_disk(self):
        """Nothing is acknowledged that is not in the file; when there is room again, all goes on."""
        resource_limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        with self.start("--appendfsync", "always", restore_signals=False) as server:
            with Client(server) as redis, Client(server) as stuck:
                self.assertEqual(redis("SET", "before", "v"), "OK")
                resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (1000, resource_limits[1]))
                stuck.send("SET", "large", "x" * 2000)
                until(lambda: b"aof_last_write_status:err" in redis("INFO", "persistence"))
                self.assertTrue(redis("SET", "small", "v").startswith("MISCONF"))
                self.assertEqual(redis("GET", "before"), b"v")
                stuck.socket.settimeout(0.3)
                with self.assertRaises(TimeoutError):
                    stuck.socket.recv(1)
                # In the middle of an attempt there may be half a record for a moment.
                until(lambda: os.path.getsize(self.file) == len(encode("SET", "before", "v")))
                resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, resource_limits)
                stuck.socket.settimeout(LIMIT)
                self.assertEqual(stuck.socket.recv(100), b"+OK\r\n")
                self.assertEqual(redis("SET", "small", "v"), "OK")
            self.kill(server)
        with self.start() as server, Client(server) as redis:
            self.assertEqual(redis("EXISTS", "before", "large", "small"), 3)
            self.stop(server)


class EndTest(unittest.TestCase):
    def test_a_signal_under_load_leaves_no_half_answer(self):
        for _ in range(2 if SANITIZED else 5):
            with Service("mini_redis", "--port", 0) as server:
                trouble = []

                def load():
                    try:
                        with Client(server) as client:
                            while True:
                                client.socket.sendall(encode("INCR", "n") * 50)
                                for _ in range(50):
                                    line = client.file.readline()
                                    if not line:
                                        return
                                    if not line.endswith(b"\r\n"):
                                        trouble.append(line)
                    except ConnectionError:
                        pass

                threads = [threading.Thread(target=load) for _ in range(6)]
                for each in threads:
                    each.start()
                blocked, subscribed, idle = Client(server), Client(server), Client(server)
                blocked.send("BLPOP", "l", 0)
                subscribed("SUBSCRIBE", "c")
                # Who has not been accepted yet would be reset; who has not been read from is not blocked.
                until(lambda: b"blocked_clients:1\r" in idle("INFO", "clients"))
                time.sleep(random.uniform(0.01, 0.1))
                server.tell(signal.SIGTERM)
                for each in (blocked, subscribed, idle):
                    self.assertEqual(read_all(each.socket), b"")
                    each.close()
                for each in threads:
                    each.join()
                self.assertEqual(server.end(), (0, "bye\n"))
                self.assertEqual(trouble, [])

    def test_shutdown(self):
        with Service("mini_redis", "--port", 0) as server:
            with Client(server) as client:
                client.socket.sendall(encode("SET", "k", "v") + encode("SHUTDOWN", "NOSAVE"))
                self.assertEqual(read_all(client.socket), b"+OK\r\n")
            self.assertEqual(server.end(), (0, "bye\n"))

    def test_who_does_not_let_go_is_cut_off(self):
        with Service("mini_redis", "--port", 0, "--shutdown-timeout", 1) as server, Client(server) as stuck:
            stuck("SET", "big", "x" * 1_000_000)
            stuck.socket.sendall(encode("GET", "big") * 100)
            self.assertEqual(stuck.socket.recv(1), b"$")  # it is in the middle of an answer now
            server.tell(signal.SIGTERM)
            status, errors = server.end()
            self.assertEqual((status, errors), (1, "mini_redis: clients were cut off\n"))

    def test_no_more_clients_than_allowed(self):
        with Service("mini_redis", "--port", 0, "--maxclients", 1) as server:
            with Client(server) as first:
                self.assertEqual(first("PING"), "PONG")
                second = Client(server)
                second.send("PING")
                second.socket.settimeout(0.2)
                with self.assertRaises(TimeoutError):
                    second.socket.recv(1)
            second.socket.settimeout(LIMIT)
            self.assertEqual(second.socket.recv(7), b"+PONG\r\n")
            second.close()
            server.tell(signal.SIGTERM)
            self.assertEqual(server.end()[0], 0)

    def test_descriptors_run_out(self):
        limit = lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        # UBSan looks at memory through a pipe, which can not be had then: what it takes that for is not to end the server.
        lenient = {**os.environ, "UBSAN_OPTIONS": "halt_on_error=0"}
        with Service("mini_redis", "--port", 0, preexec_fn=limit, env=lenient) as server, \
                contextlib.ExitStack() as clients:
            first = clients.enter_context(Client(server))
            for _ in range(100):
                clients.enter_context(server.connect())
            while not (line := server.process.stderr.readline()).startswith("leat: "):
                self.assertNotEqual(line, "")
            self.assertEqual(first("PING"), "PONG")
            clients.close()
            with Client(server) as late:
                self.assertEqual(late("PING"), "PONG")
            server.tell(signal.SIGTERM)
            self.assertEqual(server.end()[0], 0)

    def test_wrong_options(self):
        program = os.path.join(DIRECTORY, "mini_redis")
        for options in (["--port", "x"], ["--appendfsync", "never"], ["--what"], ["extra"], ["--appendonly", "maybe"]):
            done = subprocess.run([program, *options], stderr=subprocess.PIPE, text=True, timeout=LIMIT)
            self.assertEqual(done.returncode, 2)
            self.assertIn("usage: mini_redis", done.stderr)
        done = subprocess.run([program, "--appendonly", "yes", "--dir", "/nowhere"], stderr=subprocess.PIPE, text=True,
                              timeout=LIMIT)
        self.assertEqual((done.returncode, "/nowhere/appendonly.aof" in done.stderr), (1, True))


class ToolTest(ServerTest):
    """redis-cli and redis-benchmark themselves."""

    def run_tool(self, name, *arguments, **how):
        if not shutil.which(name):
            self.skipTest(f"there is no {name}: it is in Debian's redis-tools")
        return subprocess.run([name, "-p", str(self.server.port), *arguments], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, timeout=LIMIT, check=True, **how).stdout

    def test_redis_cli(self):
        self.assertEqual(self.run_tool("redis-cli", "SET", "k", "v", "EX", "10"), "OK\n")
        commands = "GET k\nRPUSH l a b\nLRANGE l 0 -1\nBLPOP l 1\nnonsense\nCLIENT SETNAME tool\nPING\n"
        self.assertEqual(self.run_tool("redis-cli", input=commands).splitlines()[:7],
                         ["v", "2", "a", "b", "l", "a", "ERR unknown command 'nonsense', with args beginning with: "])
        self.assertIn("tcp_port:", self.run_tool("redis-cli", "INFO"))

    def test_nc(self):
        if not shutil.which("nc"):
            self.skipTest("there is no nc")
        talk = "SET k 'a b'\r\nGET k\r\nINCR n\r\nQUIT\r\n"
        told = subprocess.run(["nc", "127.0.0.1", str(self.server.port)], input=talk, stdout=subprocess.PIPE, text=True,
                              timeout=LIMIT, check=True).stdout
        self.assertEqual(told.splitlines(), ["+OK", "$3", "a b", ":1", "+OK"])

    def test_redis_benchmark(self):
        count = "500" if SANITIZED else "2000"
        for pipeline in ("1", "16"):
            told = self.run_tool("redis-benchmark", "-t", "ping,set,get,incr,lpush,lpop,mset", "-n", count,
                                 "-P", pipeline, "-c", "50", "-r", "1000", "--csv")
            self.assertIn('"SET"', told)
            self.assertNotIn("rror", told)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
