// async_send() and async_recv(): channels for code that knows callbacks and awaitables only.
#include <leat/asio/channel.hpp>
#include <leat/asio/spawn.hpp>
#include <leat/leat.hpp>

#include <asio/awaitable.hpp>
#include <asio/bind_cancellation_slot.hpp>
#include <asio/bind_executor.hpp>
#include <asio/cancellation_signal.hpp>
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/error.hpp>
#include <asio/executor_work_guard.hpp>
#include <asio/experimental/deferred.hpp>
#include <asio/io_context.hpp>
#include <asio/strand.hpp>
#include <asio/thread_pool.hpp>
#include <asio/use_awaitable.hpp>
#include <asio/use_future.hpp>
#include <doctest/doctest.h>

#include "support/counted.hpp"
#include "support/parcel.hpp"
#include "support/rounds.hpp"

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

namespace {

template <class E, class F>
auto on(const E& executor, F f)
{
    return asio::bind_executor(executor, std::move(f));
}

}  // namespace

TEST_SUITE("async channel")
{
    TEST_CASE("a callback is given the value, through its executor, and never inside the call")
    {
        asio::io_context io;
        leat::channel<int> ch{1};
        std::vector<int> got;
        auto keep = on(io.get_executor(), [&](std::error_code ec, std::optional<int> v) {
            CHECK_FALSE(ec);
            got.push_back(*v);
        });
        REQUIRE(ch.try_send(1));
        ch.async_recv(keep);
        ch.async_recv(keep);
        CHECK(got.empty());
        CHECK(ch.empty());
        REQUIRE(ch.try_send(2));
        CHECK(got.empty());
        io.run();
        CHECK(got == std::vector<int>{1, 2});
    }

    TEST_CASE("an awaitable receives from a task and sends to it, through either end")
    {
        asio::io_context io;
        leat::channel<std::unique_ptr<int>> there;
        leat::channel<std::string> back;
        std::string last;
        int open = 0;
        auto coroutine = [&]() -> asio::awaitable<void> {
            auto from = leat::receiver<std::unique_ptr<int>>{there};
            auto to = leat::sender<std::string>{back};
            for (;;) {
                auto v = co_await from.async_recv(asio::use_awaitable);
                if (!v)
                    break;
                ++open;
                co_await to.async_send(std::to_string(**v), asio::use_awaitable);
            }
            back.close();
        };
        asio::co_spawn(io, coroutine, asio::detached);
        leat::runtime pool;
        auto handle = pool.spawn([&]() -> leat::task<> {
            for (int i = 0; i < 100; ++i) {
                auto mine = std::make_unique<int>(i);
                co_await there.send(std::move(mine));
                const auto text = co_await back.recv();
                last = *text;
            }
            there.close();
        });
        io.run();
        auto wait = [&]() -> leat::task<> { co_await handle; };
        pool.block_on(wait());
        CHECK(open == 100);
        CHECK(last == "99");
    }

    TEST_CASE("signals, futures and deferred operations, which keep the channel until they start")
    {
        asio::io_context io;
        leat::channel<void> signals{1};
        bool got = false;
        signals.async_send(on(io.get_executor(), [&](std::error_code ec) { CHECK_FALSE(ec); }));
        signals.async_recv(on(io.get_executor(), [&](std::error_code, bool open) { got = open; }));
        io.run();
        CHECK(got);
        leat::channel<int> ch{1};
        auto future = ch.async_recv(asio::use_future);
        ch.async_send(7, asio::use_future).get();
        CHECK(future.get() == 7);
        auto later = [] {
            leat::channel<int> short_lived{1};
            static_cast<void>(short_lived.try_send(5));
            return short_lived.async_recv(asio::experimental::deferred);
        }();
        int value = 0;
        io.restart();
        std::move(later)(
            on(io.get_executor(), [&](std::error_code, std::optional<int> v) { value = v.value_or(-1); }));
        io.run();
        CHECK(value == 5);
    }

    TEST_CASE("a closed channel: the end for receivers, an error for senders; the last handle closes it")
    {
        asio::io_context io;
        int ends = 0;
        int errors = 0;
        auto ended =
            on(io.get_executor(), [&](std::error_code ec, std::optional<int> v) { ends += !ec && !v; });
        auto refused =
            on(io.get_executor(), [&](std::error_code ec) { errors += ec == leat::errc::channel_closed; });
        {
            leat::channel<int> ch;
            ch.async_recv(ended);
            ch.close();
            ch.async_recv(ended);
            ch.async_send(1, refused);
            leat::channel<int> other;
            other.async_recv(ended);
            leat::channel<int> full;
            full.async_send(1, refused);
        }
        io.run();
        CHECK(ends == 3);
        CHECK(errors == 2);
    }

    TEST_CASE("what was not sent goes with the operation, or stays where std::ref says it is")
    {
        asio::io_context io;
        const long before = test::parcel::live();
        leat::channel<test::parcel> ch;
        asio::cancellation_signal first;
        asio::cancellation_signal second;
        test::parcel mine{7};
        int aborted = 0;
        long live_then = 0;
        ch.async_send(test::parcel{1}, asio::bind_cancellation_slot(
                                           first.slot(), on(io.get_executor(), [&](std::error_code ec) {
                                               aborted += ec == asio::error::operation_aborted;
                                               live_then = test::parcel::live();
                                           })));
        ch.async_send(std::ref(mine), asio::bind_cancellation_slot(
                                          second.slot(), on(io.get_executor(), [&](std::error_code ec) {
                                              aborted += ec == asio::error::operation_aborted;
                                          })));
        CHECK(mine.full());
        first.emit(asio::cancellation_type::terminal);
        second.emit(asio::cancellation_type::terminal);
        io.run();
        CHECK(aborted == 2);
        CHECK(live_then == before + 1);
        CHECK(mine.full());
        CHECK(mine.value() == 7);
        bool sent = false;
        ch.async_send(std::ref(mine), on(io.get_executor(), [&](std::error_code ec) { sent = !ec; }));
        CHECK(ch.try_recv().value().value() == 7);
        io.restart();
        io.run();
        CHECK(sent);
        CHECK_FALSE(mine.full());
    }

    TEST_CASE("a cancelled receive has taken nothing, and a signal that comes late does nothing")
    {
        asio::io_context io;
        leat::channel<int> ch{1};
        asio::cancellation_signal signal;
        std::error_code why;
        ch.async_recv(asio::bind_cancellation_slot(
            signal.slot(), on(io.get_executor(), [&](std::error_code ec, std::optional<int> v) {
                why = v ? std::error_code{} : ec;
            })));
        signal.emit(asio::cancellation_type::total);
        io.run();
        CHECK(why == asio::error::operation_aborted);
        REQUIRE(ch.try_send(3));
        CHECK(ch.size() == 1);
        int got = 0;
        ch.async_recv(asio::bind_cancellation_slot(
            signal.slot(),
            on(io.get_executor(), [&](std::error_code, std::optional<int> v) { got = v.value_or(0); })));
        signal.emit(asio::cancellation_type::terminal);
        io.restart();
        io.run();
        CHECK(got == 3);
        CHECK_FALSE(signal.slot().has_handler());
    }

    TEST_CASE("an awaitable that is cancelled while it receives; and a task that awaits with use_task")
    {
        asio::io_context io;
        leat::channel<int> ch;
        asio::cancellation_signal signal;
        std::error_code why;
        auto coroutine = [&]() -> asio::awaitable<void> {
            try {
                static_cast<void>(co_await ch.async_recv(asio::use_awaitable));
            } catch (const std::system_error& e) {
                why = e.code();
            }
        };
        asio::co_spawn(io, coroutine, asio::bind_cancellation_slot(signal.slot(), asio::detached));
        asio::post(io, [&] { signal.emit(asio::cancellation_type::terminal); });
        leat::spawn(
            io,
            [&]() -> leat::task<> {
                leat::channel<int> other{1};
                co_await other.async_send(4, leat::use_task);
                const auto got = co_await other.async_recv(leat::use_task);
                CHECK(got == 4);
                const auto late = co_await leat::as_result(
                    leat::timeout(std::chrono::milliseconds{1}, other.async_recv(leat::use_task)));
                CHECK(late.error() == leat::errc::deadline_exceeded);
            },
            asio::detached);
        io.run();
        CHECK(why == asio::error::operation_aborted);
    }

    TEST_CASE("the handler's context may go before the channel")
    {
        leat::channel<int> ch;
        auto counted = std::make_shared<int>(0);
        {
            asio::io_context io;
            for (int i = 0; i < 3; ++i)
                ch.async_recv(
                    on(io.get_executor(), [counted](std::error_code, std::optional<int>) { ++*counted; }));
            // Won, and not run.
            REQUIRE(ch.try_send(1));
        }
        CHECK(counted.use_count() == 1);
        CHECK(*counted == 0);
        CHECK_FALSE(ch.try_send(2));
        const int rounds = test::rounds(400);
        for (int i = 0; i < rounds; ++i) {
            std::optional<asio::io_context> io{std::in_place};
            for (int k = 0; k < 4; ++k)
                ch.async_recv(on(io->get_executor(), [counted](std::error_code, std::optional<int>) {}));
            std::thread other{[&] {
                for (int k = 0; k < 4; ++k)
                    static_cast<void>(ch.try_send(1));
            }};
            io.reset();
            CHECK(counted.use_count() == 1);
            other.join();
        }
    }

    TEST_CASE("callbacks, awaitables, tasks and threads on one channel lose nothing")
    {
        leat::channel<int> ch{4};
        asio::thread_pool pool{2};
        const int each = test::rounds(4000);
        std::atomic<long> sum{0};
        std::atomic<int> count{0};
        auto strand = asio::make_strand(pool);
        std::function<void()> next = [&] {
            ch.async_recv(asio::bind_executor(strand, [&](std::error_code, std::optional<int> v) {
                if (!v)
                    return;
                sum += *v;
                ++count;
                next();
            }));
        };
        next();
        leat::spawn(
            pool,
            [&]() -> leat::task<> {
                while (const auto v = co_await ch.recv()) {
                    sum += *v;
                    ++count;
                }
            },
            asio::detached);
        auto sender = [&]() -> asio::awaitable<void> {
            for (int i = 0; i < each; ++i)
                co_await ch.async_send(1, asio::use_awaitable);
        };
        auto one = asio::co_spawn(pool, sender, asio::use_future);
        auto two = asio::co_spawn(asio::make_strand(pool), sender, asio::use_future);
        for (int i = 0; i < each; ++i)
            ch.blocking_send(1);
        one.get();
        two.get();
        ch.close();
        pool.join();
        CHECK(sum == 3L * each);
        CHECK(count == 3 * each);
    }

    TEST_CASE("a signal that races with a value: one of the two, and the value is not lost")
    {
        asio::io_context io;
        auto guard = asio::make_work_guard(io);
        std::thread runner{[&] { io.run(); }};
        leat::channel<int> ch{1};
        const int rounds = test::rounds(10000);
        int taken = 0;
        int aborted = 0;
        for (int i = 0; i < rounds; ++i) {
            auto signal = std::make_shared<asio::cancellation_signal>();
            std::atomic<int> over{0};
            asio::post(io, [&, signal] {
                ch.async_recv(asio::bind_cancellation_slot(
                    signal->slot(),
                    on(io.get_executor(), [&, signal](std::error_code ec, std::optional<int> v) {
                        if (v)
                            ++taken;
                        else if (ec == asio::error::operation_aborted)
                            ++aborted;
                        over = 1;
                    })));
                asio::post(io, [signal] { signal->emit(asio::cancellation_type::terminal); });
            });
            ch.blocking_send(1);
            while (over == 0)
                std::this_thread::yield();
            // What nobody took is there.
            if (aborted + taken != i + 1)
                FAIL_CHECK("the handler was not called once");
            static_cast<void>(ch.try_recv().has_value() ? ++aborted, --aborted : 0);
        }
        guard.reset();
        runner.join();
        CHECK(taken + aborted == rounds);
    }
}
