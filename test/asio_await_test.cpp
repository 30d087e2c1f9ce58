// What of Asio's a task can await beside operations with use_task: awaitables, deferred operations; and operations as
// the cases of a select.
#include <leat/asio/awaitable.hpp>
#include <leat/asio/spawn.hpp>
#include <leat/leat.hpp>

#include <asio/awaitable.hpp>
#include <asio/detached.hpp>
#include <asio/error.hpp>
#include <asio/experimental/deferred.hpp>
#include <asio/io_context.hpp>
#include <asio/local/connect_pair.hpp>
#include <asio/local/stream_protocol.hpp>
#include <asio/post.hpp>
#include <asio/steady_timer.hpp>
#include <asio/strand.hpp>
#include <asio/use_awaitable.hpp>
#include <asio/write.hpp>
#include <doctest/doctest.h>

#include "support/rounds.hpp"

#include <array>
#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>

namespace {

using namespace std::chrono_literals;
using leat::use_task;
using socket = asio::local::stream_protocol::socket;

/// Runs a task on an io_context of its own, and one more on the pool: the same has to be true of both.
template <class F>
void everywhere(F make)
{
    {
        asio::io_context io;
        bool ended = false;
        leat::spawn(io, make, [&](std::exception_ptr thrown) {
            ended = true;
            if (thrown)
                std::rethrow_exception(thrown);
        });
        io.run();
        CHECK(ended);
    }
    leat::runtime_options options;
    options.workers = 2;
    leat::run(make, options);
}

struct pair {
    pair() : near{leat::this_task::asio_executor()}, far{leat::this_task::asio_executor()}
    {
        asio::local::connect_pair(near, far);
    }
    socket near;
    socket far;
};

}  // namespace

TEST_SUITE("asio await")
{
    TEST_CASE("an awaitable: its value, its exception, and as a result")
    {
        everywhere([]() -> leat::task<> {
            const auto theirs = [](int n) -> asio::awaitable<int> {
                asio::steady_timer timer{co_await asio::this_coro::executor, 1ms};
                co_await timer.async_wait(asio::use_awaitable);
                if (n < 0)
                    throw std::out_of_range{"negative"};
                co_return n + 1;
            };
            const int two = co_await theirs(1);
            CHECK(two == 2);
            bool caught = false;
            try {
                static_cast<void>(co_await theirs(-1));
            } catch (const std::out_of_range&) {
                caught = true;
            }
            CHECK(caught);
            const auto got = co_await leat::as_result(theirs(4));
            CHECK(got.value() == 5);
            const auto failed = co_await leat::as_result(theirs(-1));
            CHECK_FALSE(failed);
            const int in_time = co_await leat::timeout(10s, theirs(6));
            CHECK(in_time == 7);
        });
    }

    TEST_CASE("an awaitable runs on the executor of the task")
    {
        asio::io_context io;
        auto strand = asio::make_strand(io);
        int inside = 0;
        leat::spawn(
            strand,
            [&]() -> leat::task<> {
                const auto theirs = [&]() -> asio::awaitable<void> {
                    inside += strand.running_in_this_thread();
                    co_await asio::post(co_await asio::this_coro::executor, asio::use_awaitable);
                    inside += strand.running_in_this_thread();
                };
                co_await theirs();
                inside += strand.running_in_this_thread();
            },
            asio::detached);
        io.run();
        CHECK(inside == 3);
    }

    TEST_CASE("the end of the context cancels an awaitable, and waits for its end")
    {
        everywhere([]() -> leat::task<> {
            bool begun = false;
            bool unwound = false;
            const auto theirs = [&]() -> asio::awaitable<void> {
                asio::steady_timer timer{co_await asio::this_coro::executor, 1h};
                try {
                    begun = true;
                    co_await timer.async_wait(asio::use_awaitable);
                } catch (const std::system_error&) {
                    unwound = true;
                    throw;
                }
            };
            // On a busy machine the time may be up before it has begun.
            while (!begun) {
                const auto got = co_await leat::as_result(leat::timeout(2ms, theirs()));
                CHECK(got.error() == leat::errc::deadline_exceeded);
            }
            CHECK(unwound);
        });
    }

    TEST_CASE("deferred operations")
    {
        everywhere([]() -> leat::task<> {
            asio::steady_timer timer{leat::this_task::asio_executor(), 1ms};
            co_await timer.async_wait(asio::experimental::deferred);
            pair sockets;
            std::array<char, 4> data;
            auto writing =
                asio::async_write(sockets.far, asio::buffer("abc", 3), asio::experimental::deferred);
            const std::size_t written = co_await std::move(writing);
            CHECK(written == 3);
            const std::size_t n =
                co_await sockets.near.async_read_some(asio::buffer(data), asio::experimental::deferred);
            CHECK(n == 3);
            const auto late = co_await leat::as_result(leat::timeout(
                1ms, sockets.near.async_read_some(asio::buffer(data), asio::experimental::deferred)));
            CHECK(late.error() == leat::errc::deadline_exceeded);
        });
    }
}

TEST_SUITE("asio select")
{
    TEST_CASE("an operation wins, or loses and has ended before the handler runs")
    {
        everywhere([]() -> leat::task<> {
            pair sockets;
            leat::channel<int> news{1};
            std::array<char, 8> data;
            asio::write(sockets.far, asio::buffer("hello", 5));
            std::size_t got = 0;
            std::size_t chosen = co_await leat::select(
                leat::on(sockets.near.async_read_some(asio::buffer(data), use_task),
                         [&](std::size_t n) { got = n; }),
                leat::on(news.recv(), [](std::optional<int>) {}), leat::on(leat::after(1h), [] {}));
            CHECK(chosen == 0);
            CHECK(got == 5);
            bool over = false;
            asio::steady_timer slow{leat::this_task::asio_executor(), 1h};
            auto sender = leat::spawn([&]() -> leat::task<> {
                co_await leat::sleep_for(1ms);
                co_await news.send(3);
            });
            chosen = co_await leat::select(
                leat::on(sockets.near.async_read_some(asio::buffer(data), use_task), [](std::size_t) {}),
                leat::on(slow.async_wait(use_task), [] {}), leat::on(news.recv(), [&](std::optional<int> v) {
                    // Nobody reads any more: bytes that come now are the next reader's.
                    asio::write(sockets.far, asio::buffer("x", 1));
                    over = v == 3 && slow.cancel() == 0;
                }));
            CHECK(chosen == 2);
            CHECK(over);
            co_await sender;
            const std::size_t n = co_await sockets.near.async_read_some(asio::buffer(data), use_task);
            CHECK(n == 1);
        });
    }

    TEST_CASE("no operation is started beside a function that has been run")
    {
        everywhere([]() -> leat::task<> {
            pair sockets;
            leat::once cell;
            std::array<char, 8> data;
            asio::write(sockets.far, asio::buffer("hello", 5));
            bool ran = false;
            const std::size_t chosen = co_await leat::select(
                leat::on(cell.call([&] { ran = true; }), [] {}),
                leat::on(sockets.near.async_read_some(asio::buffer(data), use_task), [](std::size_t) {}));
            CHECK(chosen == 0);
            CHECK(ran);
            const std::size_t n = co_await sockets.near.async_read_some(asio::buffer(data), use_task);
            CHECK(n == 5);
        });
    }

    TEST_CASE("nothing is started if something else is ready, or if there is otherwise()")
    {
        everywhere([]() -> leat::task<> {
            asio::steady_timer timer{leat::this_task::asio_executor(), 0ms};
            leat::channel<int> ready{1};
            co_await ready.send(1);
            const std::size_t first =
                co_await leat::select(leat::on(timer.async_wait(use_task), [] {}),
                                      leat::on(ready.recv(), [](std::optional<int>) {}));
            CHECK(first == 1);
            const std::size_t second =
                co_await leat::select(leat::on(timer.async_wait(use_task), [] {}), leat::otherwise([] {}));
            CHECK(second == 1);
            const std::size_t third =
                co_await leat::select(leat::on(timer.async_wait(use_task), [] {}),
                                      leat::on_if(false, timer.async_wait(use_task), [] {}));
            CHECK(third == 0);
        });
    }

    TEST_CASE("handlers that are coroutines, cases without handlers, and failures")
    {
        everywhere([]() -> leat::task<> {
            asio::steady_timer timer{leat::this_task::asio_executor(), 1ms};
            asio::steady_timer slow{leat::this_task::asio_executor(), 1h};
            int steps = 0;
            auto handler = [&]() -> leat::task<> {
                co_await leat::this_task::yield();
                ++steps;
            };
            const std::size_t chosen = co_await leat::select(leat::on(slow.async_wait(use_task), [] {}),
                                                             leat::on(timer.async_wait(use_task), handler));
            CHECK(chosen == 1);
            CHECK(steps == 1);
            const auto plain = co_await leat::select(slow.async_wait(use_task), leat::after(1ms));
            CHECK(plain.index == 1);
            pair sockets;
            std::array<char, 4> data;
            sockets.far.close();
            std::error_code why;
            try {
                static_cast<void>(co_await leat::select(
                    leat::on(sockets.near.async_read_some(asio::buffer(data), use_task), [](std::size_t) {}),
                    leat::on(slow.async_wait(use_task), [] {})));
            } catch (const std::system_error& e) {
                why = e.code();
            }
            CHECK(why == asio::error::eof);
        });
    }

    TEST_CASE("when_any of operations is a select")
    {
        everywhere([]() -> leat::task<> {
            asio::steady_timer quick{leat::this_task::asio_executor(), 1ms};
            asio::steady_timer slow{leat::this_task::asio_executor(), 1h};
            const auto first = co_await leat::when_any(slow.async_wait(use_task), quick.async_wait(use_task));
            CHECK(first.index == 1);
            CHECK(slow.cancel() == 0);
        });
    }

    TEST_CASE(
        "the end of the context ends what was started; what has succeeded all the same is the case that happens")
    {
        everywhere([]() -> leat::task<> {
            asio::steady_timer slow{leat::this_task::asio_executor(), 1h};
            leat::channel<int> never;
            const auto wait = [&]() -> leat::task<> {
                static_cast<void>(co_await leat::select(leat::on(slow.async_wait(use_task), [] {}),
                                                        leat::on(never.recv(), [](std::optional<int>) {})));
            };
            const auto got = co_await leat::as_result(leat::timeout(1ms, wait()));
            CHECK(got.error() == leat::errc::deadline_exceeded);
            CHECK(slow.cancel() == 0);
        });
    }

    TEST_CASE("an operation that is a variable is used again and again, and loses no byte")
    {
        everywhere([]() -> leat::task<> {
            pair sockets;
            const int total = test::rounds(4000);
            leat::channel<int> news;
            int received = 0;
            int heard = 0;
            int in_order = 0;
            co_await leat::with_group([&](leat::task_group& all) -> leat::task<> {
                co_await all.spawn([&]() -> leat::task<> {
                    for (int i = 0; i < total; ++i) {
                        const auto byte = static_cast<unsigned char>(i % 251);
                        co_await asio::async_write(sockets.far, asio::buffer(&byte, 1), use_task);
                        if (i % 3 == 0)
                            co_await leat::this_task::yield();
                    }
                });
                co_await all.spawn([&]() -> leat::task<> {
                    for (int i = 0; i < total; ++i) {
                        co_await news.send(i);
                        if (i % 5 == 0)
                            co_await leat::this_task::yield();
                    }
                });
                unsigned char byte = 0;
                auto read = sockets.near.async_read_some(asio::buffer(&byte, 1), use_task);
                while (received < total || heard < total)
                    static_cast<void>(co_await leat::select(
                        leat::on(read,
                                 [&](std::size_t) {
                                     in_order += byte == static_cast<unsigned char>(received++ % 251);
                                 }),
                        leat::on_if(heard < total, news.recv(), [&](std::optional<int>) { ++heard; })));
            });
            CHECK(received == total);
            CHECK(in_order == total);
            CHECK(heard == total);
        });
    }

    TEST_CASE("a task that is destroyed in such a select")
    {
        auto counted = std::make_shared<int>(0);
        {
            asio::io_context io;
            leat::spawn(
                io,
                [&]() -> leat::task<> {
                    const auto here = counted;
                    asio::steady_timer slow{io, 1h};
                    auto kept = slow.async_wait(use_task);
                    static_cast<void>(
                        co_await leat::select(leat::on(kept, [] {}), leat::on(leat::after(1h), [] {})));
                },
                asio::detached);
            io.poll();
            CHECK(counted.use_count() == 2);
        }
        CHECK(counted.use_count() == 1);
    }
}
