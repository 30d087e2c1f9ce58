// Servers over loopback, with everything that a network and a system do to them.
#include <leat/asio/net.hpp>
#include <leat/detail/frame_pool.hpp>
#include <leat/leat.hpp>

#include <doctest/doctest.h>

#include "support/echo.hpp"
#include "support/in_child.hpp"

#include <array>
#include <atomic>
#include <chrono>
#include <csignal>
#include <future>
#include <string>
#include <sys/resource.h>
#include <thread>
#include <type_traits>
#include <unistd.h>
#include <vector>

namespace {

using namespace std::chrono_literals;
namespace net = leat::net;
using test::dial;
using test::echo_lines;
using test::echoes;
using test::failure_of;
using test::loopback;
using test::two_workers;

leat::serve_options within(std::chrono::nanoseconds grace)
{
    leat::serve_options options;
    options.signals = {SIGUSR1, SIGUSR2};
    options.grace = grace;
    return options;
}

}  // namespace

static_assert(std::is_trivially_destructible_v<net::listen_options>);

TEST_SUITE("listen_and_serve")
{
    TEST_CASE("it serves many, and ends when it is cancelled")
    {
        leat::runtime pool{two_workers()};
        auto body = []() -> leat::task<> {
            net::acceptor acceptor = net::listen(leat::this_task::executor(), loopback());
            const auto at = acceptor.local_endpoint();
            auto serving = leat::spawn(leat::listen_and_serve(acceptor, echo_lines));
            co_await leat::with_group([&](leat::task_group& clients) -> leat::task<> {
                for (int i = 0; i < 50; ++i)
                    co_await clients.spawn([&, i]() -> leat::task<> {
                        const bool good = co_await echoes(at, "hello " + std::to_string(i));
                        CHECK(good);
                    });
            });
            serving.cancel();
            const auto ended = co_await leat::as_result(serving);
            CHECK(ended.error() == leat::errc::cancelled);
            CHECK_FALSE(acceptor.is_open());
        };
        pool.block_on(body());
    }

    TEST_CASE("acceptors of Asio's own, and of local sockets, will do")
    {
        leat::runtime pool{two_workers()};
        auto body = []() -> leat::task<> {
            asio::ip::tcp::acceptor plain{leat::this_task::executor(), loopback()};
            const auto at = plain.local_endpoint();
            auto handler = [](asio::ip::tcp::socket peer) -> leat::task<> {
                co_await echo_lines(net::socket{std::move(peer)});
            };
            auto serving = leat::spawn(leat::listen_and_serve(std::move(plain), handler));
            const bool good = co_await echoes(at, "plain");
            CHECK(good);
            serving.cancel();
            static_cast<void>(co_await leat::as_result(serving));

            const std::string path{"\0leat-serve-test", 16};
            net::local_acceptor local =
                net::listen(leat::this_task::executor(), net::local_stream::endpoint{path});
            auto once = [](net::local_socket peer) -> leat::task<> {
                static_cast<void>(co_await net::write_all(peer, asio::buffer("x", 1)));
            };
            auto serving_local = leat::spawn(leat::listen_and_serve(local, once));
            net::local_socket client{leat::this_task::executor()};
            co_await client.async_connect(net::local_stream::endpoint{path});
            std::array<char, 1> byte{};
            static_cast<void>(co_await net::read_exactly(client, asio::buffer(byte)));
            CHECK(byte[0] == 'x');
            serving_local.cancel();
            static_cast<void>(co_await leat::as_result(serving_local));
        };
        pool.block_on(body());
    }

    TEST_CASE("a connection that fails is reported, and the others go on")
    {
        leat::runtime pool{two_workers()};
        auto body = [&]() -> leat::task<> {
            net::acceptor acceptor = net::listen(leat::this_task::executor(), loopback());
            const auto at = acceptor.local_endpoint();
            net::listen_options options;
            leat::channel<std::string> failures{leat::unbounded};
            options.on_error = [&failures](const net::connection_failure& what) {
                CHECK_FALSE(what.accepting);
                static_cast<void>(
                    failures.try_send(std::string{what.peer} + " " + leat::detail::describe(what.thrown)));
                throw std::runtime_error{"nor does this matter"};
            };
            auto handler = [](net::socket in) -> leat::task<> {
                net::stream<net::socket> peer{std::move(in)};
                auto line = co_await peer.read_line();
                if (*line == "fail")
                    throw std::runtime_error{"as asked"};
                co_await peer.write(*line, "\n");
            };
            auto serving = leat::spawn(leat::listen_and_serve(acceptor, handler, options));
            bool good = co_await echoes(at, "one");
            CHECK(good);
            good = co_await echoes(at, "fail");
            CHECK_FALSE(good);
            auto failure = co_await failures.recv();
            CHECK(failure->find("127.0.0.1:") == 0);
            CHECK(failure->find("as asked") != std::string::npos);
            good = co_await echoes(at, "two");
            CHECK(good);
            CHECK(failures.empty());
            serving.cancel();
            static_cast<void>(co_await leat::as_result(serving));
        };
        pool.block_on(body());
    }

    TEST_CASE("no more connections at a time than allowed")
    {
        leat::runtime pool{two_workers()};
        auto body = []() -> leat::task<> {
            net::acceptor acceptor = net::listen(leat::this_task::executor(), loopback());
            const auto at = acceptor.local_endpoint();
            std::atomic<int> now{0};
            std::atomic<int> most{0};
            auto handler = [&](net::socket peer) -> leat::task<> {
                int mine = ++now;
                int seen = most.load();
                while (seen < mine && !most.compare_exchange_weak(seen, mine)) {}
                co_await echo_lines(std::move(peer));
                --now;
            };
            auto serving = leat::spawn(leat::listen_and_serve(acceptor, handler, {.max_connections = 3}));
            co_await leat::with_group([&](leat::task_group& clients) -> leat::task<> {
                for (int i = 0; i < 30; ++i)
                    co_await clients.spawn([&]() -> leat::task<> {
                        const bool good = co_await echoes(at, "hello");
                        CHECK(good);
                    });
            });
            CHECK(most <= 3);
            CHECK(most >= 1);
            serving.cancel();
            static_cast<void>(co_await leat::as_result(serving));
        };
        pool.block_on(body());
    }

    TEST_CASE("draining: no new connection, and every request that has begun is answered")
    {
        leat::runtime pool{two_workers()};
        auto body = []() -> leat::task<> {
            net::acceptor acceptor = net::listen(leat::this_task::executor(), loopback());
            const auto at = acceptor.local_endpoint();
            leat::channel<void> begun;
            leat::channel<void> go_on;
            auto slow = [&](net::socket in) -> leat::task<> {
                net::stream<net::socket> peer{std::move(in)};
                auto line = co_await peer.read_line();
                co_await begun.send();
                static_cast<void>(co_await go_on.recv());
                co_await peer.write(*line, "\n");
                co_await peer.close();
            };
            auto [drain, start_to_drain] = leat::with_cancel();
            const leat::context ends = drain;
            net::listen_options options;
            options.drain = ends;
            auto serving = leat::spawn(leat::listen_and_serve(acceptor, slow, options));
            auto client = leat::spawn(echoes(at, "important"));
            static_cast<void>(co_await begun.recv());
            start_to_drain();
            // Until the port is closed.
            for (bool open = true; open;) {
                auto refused = co_await leat::as_result(dial(at));
                open = refused.has_value();
            }
            CHECK_FALSE(serving.done());
            go_on.close();
            const bool answered = co_await client;
            CHECK(answered);
            co_await serving;
        };
        pool.block_on(body());
    }

    TEST_CASE(
        "serve and listen_and_serve: a signal drains a server under load, and nothing acknowledged is lost")
    {
        std::atomic<int> acknowledged{0};
        std::atomic<int> halves{0};
        std::promise<net::endpoint> address;
        auto where = address.get_future();
        auto server = [&]() -> leat::task<> {
            net::acceptor acceptor = net::listen(leat::this_task::executor(), loopback());
            address.set_value(acceptor.local_endpoint());
            co_await leat::listen_and_serve(acceptor, echo_lines);
        };
        std::thread clients{[&] {
            leat::runtime pool{two_workers()};
            const net::endpoint at = where.get();
            auto one = [&]() -> leat::task<> {
                auto connected = co_await leat::as_result(dial(at));
                if (!connected)
                    co_return;
                net::stream<net::socket> peer{std::move(*connected)};
                for (int i = 0;; ++i) {
                    const std::string line = std::to_string(i) + std::string(50, '.');
                    auto sent = co_await leat::as_result(peer.write(line, "\n"));
                    auto back = co_await leat::as_result(peer.read_line());
                    if (!back) {
                        if (back.error() == net::errc::truncated)
                            ++halves;
                        break;
                    }
                    if (!*back)
                        break;
                    if (**back != line)
                        ++halves;
                    if (++acknowledged == 300)
                        ::kill(::getpid(), SIGUSR1);
                }
            };
            auto all = [&]() -> leat::task<> {
                co_await leat::with_group([&](leat::task_group& group) -> leat::task<> {
                    for (int i = 0; i < 20; ++i)
                        co_await group.spawn(one());
                });
            };
            pool.block_on(all());
        }};
        leat::serve(server, within(1min), two_workers());
        clients.join();
        CHECK(acknowledged >= 300);
        CHECK(halves == 0);
    }

    TEST_CASE("the context of a client that resets the connection is cancelled")
    {
        leat::runtime pool{two_workers()};
        auto body = []() -> leat::task<> {
            net::acceptor acceptor = net::listen(leat::this_task::executor(), loopback());
            const auto at = acceptor.local_endpoint();
            leat::channel<void> serves;
            leat::channel<std::error_code> noticed{1};
            auto handler = [&]([[maybe_unused]] net::socket peer) -> leat::task<> {
                co_await serves.send();
                // Waits for something else, with no operation on the socket.
                leat::channel<int> never;
                auto got = co_await leat::as_result(never.recv());
                std::error_code cause;
                try {
                    std::rethrow_exception(leat::this_task::context().cause());
                } catch (const std::system_error& e) {
                    cause = e.code();
                }
                static_cast<void>(noticed.try_send(cause));
                got.value();
            };
            auto serving = leat::spawn(leat::listen_and_serve(acceptor, handler));
            {
                net::socket client = co_await dial(at);
                static_cast<void>(co_await serves.recv());
                // Asio takes the option back when a socket is destroyed.
                client.set_option(asio::socket_base::linger{true, 0});
                client.close();
            }
            auto cause = co_await leat::timeout(1min, noticed.recv());
            CHECK(*cause == net::errc::peer_gone);
            serving.cancel();
            static_cast<void>(co_await leat::as_result(serving));
        };
        pool.block_on(body());
    }

    TEST_CASE("a peer that closes properly does not cancel who is still answering")
    {
        leat::runtime pool{two_workers()};
        auto body = []() -> leat::task<> {
            net::acceptor acceptor = net::listen(leat::this_task::executor(), loopback());
            const auto at = acceptor.local_endpoint();
            leat::channel<bool> cancelled{1};
            auto handler = [&](net::socket in) -> leat::task<> {
                net::stream<net::socket> peer{std::move(in)};
                while (auto line = co_await peer.read_line())
                    co_await peer.write(*line, "\n");
                co_await peer.close();
                for (int i = 0; i < 100; ++i)
                    co_await leat::this_task::yield();
                static_cast<void>(cancelled.try_send(leat::this_task::context().cancelled()));
            };
            auto serving = leat::spawn(leat::listen_and_serve(acceptor, handler));
            const bool good = co_await echoes(at, "x");
            CHECK(good);
            const auto was = co_await cancelled.recv();
            CHECK_FALSE(*was);
            serving.cancel();
            static_cast<void>(co_await leat::as_result(serving));
        };
        pool.block_on(body());
    }

    TEST_CASE("connections that are cut at every byte, reset, or left half-open do no harm")
    {
        leat::runtime pool{two_workers()};
        auto body = []() -> leat::task<> {
            net::acceptor acceptor = net::listen(leat::this_task::executor(), loopback());
            const auto at = acceptor.local_endpoint();
            std::atomic<int> reported{0};
            std::atomic<int> live{0};
            net::listen_options options;
            options.on_error = [&reported](const net::connection_failure&) { ++reported; };
            auto handler = [&](net::socket in) -> leat::task<> {
                ++live;
                auto ended = co_await leat::as_result(echo_lines(std::move(in)));
                --live;
                ended.value();
            };
            auto serving = leat::spawn(leat::listen_and_serve(acceptor, handler, options));
            const std::string request = "a request of several words\nand another one\n";
            for (std::size_t cut = 0; cut <= request.size(); ++cut)
                for (const bool reset : {false, true}) {
                    net::socket client = co_await dial(at);
                    static_cast<void>(co_await net::write_all(client, asio::buffer(request.data(), cut)));
                    if (reset)
                        client.set_option(asio::socket_base::linger{true, 0});
                    client.close();
                }
            // Half-open: says nothing more, and reads what comes.
            net::socket half = co_await dial(at);
            static_cast<void>(co_await net::write_all(half, asio::buffer("half\n", 5)));
            half.shutdown(asio::socket_base::shutdown_send);
            std::string all;
            std::array<char, 64> piece;
            for (;;) {
                auto got = co_await leat::as_result(half.async_read_some(asio::buffer(piece)));
                if (!got)
                    break;
                all.append(piece.data(), *got);
            }
            CHECK(all == "half\n");
            const bool good = co_await echoes(at, "still there");
            CHECK(good);
            // All of them end by themselves.
            while (live != 0)
                co_await leat::sleep_for(1ms);
            CHECK(reported == 0);
            serving.cancel();
            static_cast<void>(co_await leat::as_result(serving));
        };
        pool.block_on(body());
    }

    TEST_CASE("a reader that reads nothing is dropped by the write timeout, and others are served meanwhile")
    {
        leat::runtime pool{two_workers()};
        auto body = []() -> leat::task<> {
            net::acceptor acceptor = net::listen(leat::this_task::executor(), loopback());
            const auto at = acceptor.local_endpoint();
            leat::channel<std::error_code> dropped{1};
            auto handler = [&](net::socket in) -> leat::task<> {
                net::stream_options options;
                options.write_timeout = 50ms;
                net::stream<net::socket> peer{std::move(in), options};
                auto line = co_await peer.read_line();
                if (*line != "flood") {
                    co_await peer.write(*line, "\n");
                    co_return;
                }
                const std::string much(1 << 20, 'x');
                for (;;) {
                    auto sent = co_await leat::as_result(peer.write(much));
                    if (!sent) {
                        static_cast<void>(dropped.try_send(sent.error()));
                        co_return;
                    }
                }
            };
            auto serving = leat::spawn(leat::listen_and_serve(acceptor, handler));
            net::socket slow = co_await dial(at);
            static_cast<void>(co_await net::write_all(slow, asio::buffer("flood\n", 6)));
            const bool good = co_await echoes(at, "meanwhile");
            CHECK(good);
            const auto why = co_await dropped.recv();
            CHECK(*why == leat::errc::deadline_exceeded);
            serving.cancel();
            static_cast<void>(co_await leat::as_result(serving));
        };
        pool.block_on(body());
    }

    TEST_CASE("when descriptors run out it waits, and goes on when there are some")
    {
        const auto ended = test::in_child(
            [] {
                // Clients first, as they need descriptors, too: a thread of its own with sockets that block.
                std::promise<net::endpoint> address;
                auto where = address.get_future();
                return leat::run(
                    [&]() -> leat::task<int> {
                        net::acceptor acceptor = net::listen(leat::this_task::executor(), loopback());
                        const auto at = acceptor.local_endpoint();
                        leat::channel<void> ran_out{1};
                        net::listen_options options;
                        options.min_backoff = 1ms;
                        options.max_backoff = 4ms;
                        options.on_error = [&ran_out](const net::connection_failure& what) {
                            if (what.accepting)
                                static_cast<void>(ran_out.try_send());
                        };
                        std::atomic<int> served{0};
                        auto handler = [&served](net::socket peer) -> leat::task<> {
                            co_await echo_lines(std::move(peer));
                            ++served;
                        };
                        auto serving = leat::spawn(leat::listen_and_serve(acceptor, handler, options));
                        bool good = co_await echoes(at, "before");
                        if (!good)
                            co_return 1;
                        // The number that are free is odd only when this one's descriptor has been closed.
                        while (served == 0)
                            co_await leat::sleep_for(1ms);
                        // Room for a few more.
                        const int next = ::dup(0);
                        ::close(next);
                        ::rlimit limit{};
                        ::getrlimit(RLIMIT_NOFILE, &limit);
                        limit.rlim_cur = static_cast<::rlim_t>(next) + 9;
                        ::setrlimit(RLIMIT_NOFILE, &limit);
                        std::vector<net::socket> clients;
                        for (;;) {
                            auto one = co_await leat::as_result(dial(at));
                            if (!one)
                                break;
                            clients.push_back(std::move(*one));
                        }
                        if (clients.size() < 2)
                            co_return 2;
                        // The server has none left for the last of them.
                        static_cast<void>(co_await ran_out.recv());
                        clients.clear();
                        good = co_await echoes(at, "after");
                        serving.cancel();
                        static_cast<void>(co_await leat::as_result(serving));
                        co_return good ? 0 : 3;
                    },
                    two_workers());
            },
            60);
        CHECK_MESSAGE(ended.status == 0, ended.words());
    }

    TEST_CASE("memory runs out at each point of a connection, and the server goes on")
    {
        leat::runtime_options one_worker;
        one_worker.workers = 1;  // fail_next_frames() is for the thread
        leat::runtime pool{one_worker};
        auto body = []() -> leat::task<> {
            net::acceptor acceptor = net::listen(leat::this_task::executor(), loopback());
            const auto at = acceptor.local_endpoint();
            net::listen_options options;
            options.min_backoff = options.max_backoff = 1ms;
            options.on_error = [](const net::connection_failure&) {};
            auto serving = leat::spawn(leat::listen_and_serve(acceptor, echo_lines, options));
            bool good = co_await echoes(at, "before");
            CHECK(good);
            bool fell = true;
            for (std::size_t nth = 0; fell; ++nth) {
                REQUIRE(nth < 500);
                CAPTURE(nth);
                leat::detail::fail_next_frames(1, nth);
                try {
                    static_cast<void>(co_await echoes(at, "x"));
                } catch (const std::exception&) {
                    // It is the client that has run out, or it was reset.
                }
                fell = leat::detail::fail_next_frames(0) == 0;
                REQUIRE_FALSE(serving.done());
            }
            good = co_await echoes(at, "after");
            CHECK(good);
            serving.cancel();
            const auto ended = co_await leat::as_result(serving);
            CHECK(ended.error() == leat::errc::cancelled);
        };
        pool.block_on(body());
    }

    TEST_CASE("an acceptor that is of no use is an error")
    {
        leat::runtime pool{two_workers()};
        auto body = []() -> leat::task<> {
            net::acceptor closed{leat::this_task::executor()};
            const auto why = co_await failure_of(leat::listen_and_serve(closed, echo_lines));
            CHECK(why == asio::error::bad_descriptor);
        };
        pool.block_on(body());
    }
}
