#include <leat/leat.hpp>

#include "support/counted.hpp"
#include "support/scale.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <ostream>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

using namespace std::chrono_literals;
using leat::task;
using test::counted;

namespace {

/// Holds threads until it is opened.
class gate {
public:
    void open()
    {
        {
            const std::lock_guard hold{mutex_};
            open_ = true;
        }
        changed_.notify_all();
    }
    void pass()
    {
        std::unique_lock hold{mutex_};
        ++waiting_;
        changed_.notify_all();
        changed_.wait(hold, [&] { return open_; });
    }
    /// Blocks until `count` threads have come.
    void await(int count)
    {
        std::unique_lock hold{mutex_};
        changed_.wait(hold, [&] { return waiting_ >= count; });
    }

private:
    std::mutex mutex_;
    std::condition_variable changed_;
    int waiting_ = 0;
    bool open_ = false;
};

}  // namespace

TEST_CASE("blocking: gives what the call returns, by value, by reference, nothing, move-only")
{
    leat::run([]() -> task<> {
        const int number = co_await leat::blocking([] { return 7; });
        CHECK(number == 7);
        int original = 1;
        int& same = co_await leat::blocking([&]() -> int& { return original; });
        CHECK(&same == &original);
        bool ran = false;
        co_await leat::blocking([&] { ran = true; });
        CHECK(ran);
        const std::unique_ptr<int> owner = co_await leat::blocking([] { return std::make_unique<int>(3); });
        CHECK(*owner == 3);
        auto moved = [held = std::make_unique<int>(4)] { return *held; };
        const int four = co_await leat::blocking(std::move(moved));
        CHECK(four == 4);
    });
}

TEST_CASE("blocking: what the call throws is thrown in the task, or kept by as_result")
{
    leat::run([]() -> task<> {
        bool caught = false;
        try {
            co_await leat::blocking([] { throw std::runtime_error{"no such file"}; });
        } catch (const std::runtime_error& error) {
            caught = std::string{error.what()} == "no such file";
        }
        CHECK(caught);
        auto got = co_await leat::as_result(leat::blocking([]() -> int { throw 7; }));
        CHECK(got.error() == leat::errc::failed);
    });
}

TEST_CASE("blocking: runs on another thread, and the task goes on where it was")
{
    leat::runtime pool{{.workers = 2}};
    pool.block_on([&]() -> task<> {
        const auto there = co_await leat::blocking([] {
            CHECK(!leat::this_task::running());
            return std::this_thread::get_id();
        });
        CHECK((leat::this_task::executor() == pool.get_executor()));
        CHECK(there != std::this_thread::get_id());
    });
}

TEST_CASE("blocking: in a world the call is made at once")
{
    leat::sim::world world;
    world.run([]() -> task<> {
        const auto there = co_await leat::blocking([] { return std::this_thread::get_id(); });
        CHECK(there == std::this_thread::get_id());
        bool caught = false;
        try {
            co_await leat::blocking([] { throw std::runtime_error{"x"}; });
        } catch (const std::runtime_error&) {
            caught = true;
        }
        CHECK(caught);
    });
    CHECK(world.now() == 0s);
}

TEST_CASE("blocking: under a cancelled context the call is not made")
{
    const auto check = []() -> task<> {
        bool ran = false;
        auto calling = [&]() -> task<> { co_await leat::blocking([&] { ran = true; }); };
        auto [ctx, cancel] = leat::with_cancel();
        cancel();
        auto got = co_await leat::as_result(leat::with_context(ctx, calling()));
        CHECK(got.error() == leat::errc::cancelled);
        CHECK(!ran);
    };
    leat::run(check);
    leat::sim::world world;
    world.run(check);
}

TEST_CASE("blocking: a call that is cancelled while it waits for a thread is never made")
{
    gate door;
    leat::runtime pool{{.workers = 2, .blocking_threads = 1}};
    const test::no_more_than_before lives;
    std::atomic<bool> ran{false};
    auto first = pool.spawn([&]() -> task<> { co_await leat::blocking([&] { door.pass(); }); });
    door.await(1);
    auto second = pool.spawn([&]() -> task<> {
        auto call = [&ran, token = counted{}] { ran = true; };
        co_await leat::blocking(std::move(call));
    });
    while (pool.metrics().blocking_queued == 0)
        std::this_thread::yield();
    second.cancel();
    const auto why = pool.block_on([&]() -> task<std::error_code> {
        auto got = co_await leat::as_result(second.join());
        co_return got.error();
    });
    CHECK(why == leat::errc::cancelled);
    CHECK(pool.metrics().blocking_queued == 0);
    CHECK(lives.excess() == 0);
    door.open();
    pool.block_on([&]() -> task<> { co_await first; });
    CHECK(!ran);
}

TEST_CASE(
    "blocking: a call that has begun is waited for, and its result is kept though the task was cancelled")
{
    gate door;
    leat::runtime pool{{.workers = 2}};
    auto calling = pool.spawn([&]() -> task<int> {
        co_return co_await leat::blocking([&] {
            door.pass();
            return 7;
        });
    });
    door.await(1);
    calling.cancel();
    door.open();
    const int got = pool.block_on([&]() -> task<int> { co_return co_await calling; });
    CHECK(got == 7);
}

TEST_CASE("blocking: never more calls at a time than threads are allowed, and the rest in their turn")
{
    leat::runtime pool{{.workers = 2, .blocking_threads = 3}};
    std::atomic<int> running{0};
    std::atomic<int> most{0};
    std::atomic<std::size_t> made{0};
    const std::size_t calls = test::scaled(20'000);
    pool.block_on(leat::with_group([&](leat::task_group& group) -> task<> {
        for (std::size_t i = 0; i < calls; ++i)
            co_await group.spawn([&]() -> task<> {
                co_await leat::blocking([&] {
                    const int now = ++running;
                    int before = most.load();
                    while (before < now && !most.compare_exchange_weak(before, now)) {}
                    ++made;
                    --running;
                });
            });
    }));
    CHECK(made == calls);
    CHECK(most <= 3);
    CHECK(pool.metrics().blocking_threads <= 3);
}

TEST_CASE("blocking: as many calls as there are threads do run at the same time")
{
    leat::runtime pool{{.workers = 1, .blocking_threads = 5}};
    gate door;
    std::thread opener{[&] {
        door.await(5);
        door.open();
    }};
    pool.block_on(leat::with_group([&](leat::task_group& group) -> task<> {
        for (int i = 0; i < 5; ++i)
            co_await group.spawn([&]() -> task<> { co_await leat::blocking([&] { door.pass(); }); });
    }));
    opener.join();
    CHECK(pool.metrics().blocking_threads == 5);
}

TEST_CASE("blocking: threads for calls are bounded below by one, and zero or less is refused")
{
    CHECK_THROWS_AS(leat::runtime({.workers = 1, .blocking_threads = 0}), leat::usage_error);
    CHECK_THROWS_AS(leat::runtime({.workers = 1, .blocking_threads = -1}), leat::usage_error);
    CHECK(leat::run([]() -> task<int> { co_return co_await leat::blocking([] { return 1; }); },
                    {.workers = 1, .blocking_threads = 1}) == 1);
}

TEST_CASE("blocking: the end of the runtime waits for calls that have begun, and makes none that wait")
{
    gate door;
    std::atomic<int> begun{0};
    std::atomic<int> ended{0};
    std::atomic<bool> ran{false};
    const test::no_more_than_before lives;
    std::thread opener;
    {
        leat::runtime pool{{.workers = 2, .blocking_threads = 2}};
        for (int i = 0; i < 2; ++i)
            pool.spawn([&]() -> task<> {
                    const counted local;
                    co_await leat::blocking([&] {
                        ++begun;
                        door.pass();
                        ++ended;
                    });
                })
                .detach();
        door.await(2);
        for (int i = 0; i < 3; ++i)
            pool.spawn([&]() -> task<> {
                    const counted local;
                    co_await leat::blocking([&] { ran = true; });
                })
                .detach();
        while (pool.metrics().blocking_queued != 3)
            std::this_thread::yield();
        const leat::context all = pool.context();
        opener = std::thread{[&, all] {
            while (!all.cancelled())
                std::this_thread::yield();
            door.open();
        }};
    }
    opener.join();
    CHECK(begun == 2);
    CHECK(ended == 2);
    CHECK(!ran);
    CHECK(lives.excess() == 0);
}

TEST_CASE("blocking: a deaf task that never stops calling is cut off at the end, and nothing leaks")
{
    const test::no_more_than_before lives;
    std::atomic<int> calls{0};
    std::atomic<int> reports{0};
    {
        leat::runtime pool{
            {.workers = 2, .grace = 5ms, .blocking_threads = 2, .on_stuck = [&](const std::string&) {
                 ++reports;
             }}};
        for (int i = 0; i < 4; ++i)
            pool.spawn([&]() -> task<> {
                    const counted local;
                    auto deaf = [&]() -> task<> {
                        for (;;)
                            co_await leat::blocking([&] { ++calls; });
                    };
                    co_await leat::with_context(leat::background(), deaf());
                })
                .detach();
        while (calls < 20)
            std::this_thread::yield();
    }
    CHECK(reports == 1);
    CHECK(lives.excess() == 0);
}

TEST_CASE("blocking: cancelling races with the beginning of the call")
{
    leat::runtime pool{{.workers = 2, .blocking_threads = 2}};
    const std::size_t rounds = test::scaled(20'000);
    std::size_t made = 0;
    std::size_t results = 0;
    std::size_t cancelled = 0;
    pool.block_on([&]() -> task<> {
        for (std::size_t i = 0; i < rounds; ++i) {
            std::atomic<int> ran{0};
            auto calling =
                leat::spawn([&]() -> task<int> { co_return co_await leat::blocking([&] { return ++ran; }); });
            co_await leat::this_task::yield();
            for (std::size_t spin = 0; spin < i % 200; ++spin)
                std::atomic_signal_fence(std::memory_order_seq_cst);
            calling.cancel();
            auto got = co_await leat::as_result(calling.join());
            made += static_cast<std::size_t>(ran.load());
            results += got.has_value();
            cancelled += got.error() == leat::errc::cancelled;
        }
    });
    // A call was made exactly where there is a result.
    CHECK(made == results);
    CHECK(results + cancelled == rounds);
    MESSAGE("of " << rounds << " calls " << results << " were made");
}

TEST_CASE("blocking: calls may start tasks, and wait for them like any thread")
{
    leat::runtime pool{{.workers = 1}};
    const int got = pool.block_on([&]() -> task<int> {
        co_return co_await leat::blocking([&] { return pool.block_on([]() -> task<int> { co_return 5; }); });
    });
    CHECK(got == 5);
}
