// What the contracts forbid, and memory that runs out: each has a defined outcome and leaks nothing.
#include <leat/detail/frame_pool.hpp>
#include <leat/leat.hpp>

#include "support/counted.hpp"

#include <doctest/doctest.h>

#include <chrono>
#include <exception>
#include <new>
#include <ostream>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

using namespace std::chrono_literals;
using leat::task;
using test::counted;

namespace {

task<int> give(counted kept)
{
    co_return kept.value;
}

task<> wait_for_nothing(counted)
{
    leat::channel<int> never;
    static_cast<void>(co_await never.recv());
}

/// The usage_error that f throws, or nothing.
template <class F>
std::string misuse(F f)
{
    try {
        f();
    } catch (const leat::usage_error& error) {
        return error.what();
    }
    return {};
}

/// Runs `scenario` again and again and lets its first, second, third... allocation of a frame fail, until one run
/// gets by without that. Each run has to end in its own way or with bad_alloc, and to leave nothing behind.
/// `run` runs a task and whatever it leaves.
template <class Run, class Scenario>
void fail_each_allocation_in(Run run, Scenario scenario)
{
    int failures = 0;
    for (std::size_t nth = 0;; ++nth) {
        REQUIRE(nth < 500);
        CAPTURE(nth);
        const test::no_more_than_before lives;
        bool fell = false;
        run(nth, [&]() -> task<> {
            leat::detail::fail_next_frames(1, nth);
            bool thrown = false;
            try {
                co_await scenario();
            } catch (const std::bad_alloc&) {
                thrown = true;
            }
            fell = leat::detail::fail_next_frames(0) == 0;
            failures += thrown;
            if (thrown)
                CHECK(fell);
        });
        CHECK(lives.excess() == 0);
        if (!fell)
            break;
    }
    CHECK(failures > 0);
}

template <class Scenario>
void fail_each_allocation(Scenario scenario)
{
    fail_each_allocation_in(
        [](std::size_t nth, auto body) {
            leat::sim::world world{nth + 1};
            world.run(body);
            // Those whose handles the failure has dropped.
            world.settle();
            CHECK(world.live_tasks() == 0);
        },
        std::move(scenario));
}

/// The same on a runtime. It has one worker, because the thread is told which of its allocations is to fail.
template <class Scenario>
void fail_each_allocation_of_a_worker(Scenario scenario)
{
    int unseen = 0;
    fail_each_allocation_in(
        [&](std::size_t, auto body) {
            leat::runtime pool{{.workers = 1,
                                .blocking_threads = 1,
                                .on_unhandled = [&](const leat::unhandled_failure& failure) {
                                    // What fails where nobody waits for it fails for want of memory, too.
                                    try {
                                        std::rethrow_exception(failure.thrown);
                                    } catch (const std::bad_alloc&) {
                                    } catch (...) {
                                        ++unseen;
                                    }
                                }}};
            pool.block_on(body);
        },
        std::move(scenario));
    CHECK(unseen == 0);
}

}  // namespace

TEST_CASE(
    "misuse: a task that was awaited, moved from, discarded or never made is refused wherever it is given")
{
    leat::sim::world world;
    world.run([]() -> task<> {
        int refused = 0;
        task<int> once = give(counted{1});
        const int got = co_await std::move(once);
        CHECK(got == 1);
        try {
            static_cast<void>(co_await std::move(once));
        } catch (const leat::usage_error& error) {
            refused += std::string{error.what()}.find("once") != std::string::npos;
        }
        task<int> from = give(counted{2});
        task<int> to = std::move(from);
        try {
            static_cast<void>(co_await std::move(from));
        } catch (const leat::usage_error&) {
            ++refused;
        }
        to.discard();
        try {
            static_cast<void>(co_await leat::as_result(std::move(to)));
        } catch (const leat::usage_error&) {
            ++refused;
        }
        CHECK(refused == 3);
        CHECK(!misuse([] { static_cast<void>(leat::spawn(task<>{})); }).empty());
        CHECK(!misuse([] { static_cast<void>(leat::spawn([] { return task<>{}; })); }).empty());
        for (int way = 0; way < 4; ++way) {
            CAPTURE(way);
            std::error_code why;
            bool misused = false;
            try {
                task<int> empty;
                if (way == 0)
                    co_await leat::with_group(
                        [&](leat::task_group& group) -> task<> { co_await group.spawn(std::move(empty)); });
                else if (way == 1)
                    static_cast<void>(co_await leat::when_all(std::move(empty), give(counted{1})));
                else if (way == 2)
                    static_cast<void>(co_await leat::when_any(std::move(empty), give(counted{1})));
                else
                    static_cast<void>(co_await leat::timeout(1s, std::move(empty)));
            } catch (const leat::usage_error&) {
                misused = true;
            }
            CHECK(misused);
        }
    });
    CHECK(!misuse([] { leat::run(task<>{}); }).empty());
    CHECK(!misuse([] {
               leat::sim::world other;
               other.run(task<>{});
           }).empty());
    CHECK(world.live_tasks() == 0);
}

TEST_CASE("misuse: a callable that throws when it is copied or called is not left half spawned")
{
    class throws_when_copied {
    public:
        throws_when_copied() noexcept = default;
        throws_when_copied(const throws_when_copied&)
        {
            throw std::domain_error{"copied"};
        }
        task<> operator()() const
        {
            co_return;
        }
    };
    leat::sim::world world;
    const test::no_more_than_before lives;
    world.run([&]() -> task<> {
        const throws_when_copied body;
        CHECK_THROWS_AS(static_cast<void>(leat::spawn(body)), std::domain_error);
        auto maker = [token = counted{}]() -> task<> { throw std::domain_error{"not even a coroutine"}; };
        CHECK_THROWS_AS(static_cast<void>(leat::spawn(maker)), std::domain_error);
        co_await leat::with_group({.limit = 1}, [&](leat::task_group& group) -> task<> {
            CHECK_THROWS_AS(static_cast<void>(group.spawn(body)), std::domain_error);
            CHECK_THROWS_AS(static_cast<void>(group.try_spawn(body)), std::domain_error);
            bool thrown = false;
            try {
                co_await group.spawn(maker);
            } catch (const std::domain_error&) {
                thrown = true;
            }
            CHECK(thrown);
            CHECK_THROWS_AS(static_cast<void>(group.try_spawn(maker)), std::domain_error);
            // Their places under the limit have been given back.
            CHECK(group.size() == 0);
            CHECK(group.try_spawn([] {}));
        });
    });
    CHECK(lives.excess() == 0);
}

TEST_CASE("misuse: negative spans do not wait, and negative periods are refused")
{
    leat::sim::world world;
    world.run([]() -> task<> {
        co_await leat::sleep_for(-1s);
        auto got = co_await leat::as_result(leat::timeout(-1s, leat::sleep_for(1s)));
        CHECK(got.error() == leat::errc::deadline_exceeded);
        CHECK(!misuse([] { leat::ticker{-1s}; }).empty());
        CHECK(!misuse([] { leat::ticker{0s}; }).empty());
        CHECK(leat::clock::now().time_since_epoch() == 0s);
    });
    CHECK(!misuse([&] { world.advance(-1s); }).empty());
}

TEST_CASE("misuse: a task that is not leaked by spawn when memory runs out is still the caller's")
{
    leat::sim::world world;
    const test::no_more_than_before lives;
    world.run([&]() -> task<> {
        task<int> kept = give(counted{5});
        leat::detail::fail_next_frames(1);
        CHECK_THROWS_AS(static_cast<void>(leat::spawn(std::move(kept))), std::bad_alloc);
        REQUIRE(static_cast<bool>(kept));
        const int got = co_await leat::spawn(std::move(kept));
        CHECK(got == 5);
    });
    CHECK(lives.excess() == 0);
}

namespace {

task<> await_and_spawn()
{
    const int awaited = co_await give(counted{1});
    CHECK(awaited == 1);
    auto body = [token = counted{}]() -> task<int> { co_return co_await give(counted{2}); };
    auto handle = leat::spawn(std::move(body), {.name = "named, which is another allocation"});
    auto plain = leat::spawn([kept = counted{3}] { return kept.value; });
    const int spawned = co_await handle;
    CHECK(spawned == 2);
    const int called = co_await plain;
    CHECK(called == 3);
}

}  // namespace

TEST_CASE("misuse: memory runs out at each point of awaiting and spawning")
{
    fail_each_allocation(await_and_spawn);
}

TEST_CASE("misuse: memory runs out at each point of a group")
{
    fail_each_allocation([]() -> task<> {
        co_await leat::with_group({.limit = 2}, [](leat::task_group& group) -> task<> {
            for (int i = 0; i < 4; ++i) {
                auto child = [token = counted{i}]() -> task<> {
                    co_await leat::sleep_for(1s);
                    static_cast<void>(co_await give(counted{token.value}));
                };
                co_await group.spawn(std::move(child));
            }
            static_cast<void>(group.try_spawn(wait_for_nothing(counted{})));
            co_await leat::sleep_for(1s);
            group.cancel();
        });
    });
}

TEST_CASE("misuse: memory runs out at each point of when_all, when_any and when_all_settled")
{
    fail_each_allocation([]() -> task<> {
        auto [a, b] = co_await leat::when_all(give(counted{1}), give(counted{2}));
        CHECK(a + b == 3);
        std::vector<task<int>> many;
        for (int i = 0; i < 3; ++i)
            many.push_back(give(counted{i}));
        const std::vector<int> all = co_await leat::when_all(std::move(many));
        CHECK(all == std::vector<int>{0, 1, 2});
    });
    fail_each_allocation([]() -> task<> {
        auto first = co_await leat::when_any(wait_for_nothing(counted{}), give(counted{2}));
        CHECK(first.index == 1);
    });
    fail_each_allocation([]() -> task<> {
        auto [a, b] = co_await leat::when_all_settled(give(counted{1}), give(counted{2}));
        // One that could not be started says so in its own place.
        for (const auto* each : {&a, &b})
            if (!each->has_value())
                std::rethrow_exception(each->exception());
    });
}

TEST_CASE("misuse: memory runs out at each point of with_results")
{
    fail_each_allocation([]() -> task<> {
        const std::vector<int> got =
            co_await leat::with_results<int>([](leat::result_group<int>& group) -> task<> {
                for (int i = 0; i < 3; ++i)
                    co_await group.spawn(give(counted{i}));
            });
        CHECK(got == std::vector<int>{0, 1, 2});
    });
}

TEST_CASE("misuse: memory runs out at each point of contexts and channels")
{
    fail_each_allocation([]() -> task<> {
        leat::channel<counted> from{2};
        co_await from.send(counted{1});
        auto got = co_await from.recv();
        CHECK(got->value == 1);
        auto [ctx, cancel] = leat::with_cancel();
        auto limited =
            co_await leat::as_result(leat::with_context(ctx, leat::timeout(1s, wait_for_nothing(counted{}))));
        if (limited.error() == leat::errc::failed)
            std::rethrow_exception(limited.exception());
        CHECK(limited.error() == leat::errc::deadline_exceeded);
    });
}

TEST_CASE("misuse: memory runs out at each point of an unbounded channel")
{
    fail_each_allocation([]() -> task<> {
        leat::channel<counted> mail{leat::unbounded};
        for (int i = 0; i < 200; ++i)
            co_await mail.send(counted{i});
        for (int i = 0; i < 200; ++i) {
            auto got = co_await mail.recv();
            CHECK(got->value == i);
        }
        static_cast<void>(co_await give(counted{}));
    });
}

// ---- The same on a runtime ----------------------------------------------------------------------

TEST_CASE("misuse: memory of a runtime runs out at each point of awaiting and spawning")
{
    fail_each_allocation_of_a_worker(await_and_spawn);
}

TEST_CASE("misuse: memory of a runtime runs out at each point of a group, of when_all and when_any")
{
    fail_each_allocation_of_a_worker([]() -> task<> {
        co_await leat::with_group({.limit = 2}, [](leat::task_group& group) -> task<> {
            for (int i = 0; i < 4; ++i) {
                auto child = [token = counted{i}]() -> task<> {
                    co_await leat::this_task::yield();
                    static_cast<void>(co_await give(counted{token.value}));
                };
                co_await group.spawn(std::move(child));
            }
            static_cast<void>(group.try_spawn(wait_for_nothing(counted{})));
            co_await leat::this_task::yield();
            group.cancel();
        });
    });
    fail_each_allocation_of_a_worker([]() -> task<> {
        auto [a, b] = co_await leat::when_all(give(counted{1}), give(counted{2}));
        CHECK(a + b == 3);
        auto first = co_await leat::when_any(wait_for_nothing(counted{}), give(counted{2}));
        CHECK(first.index == 1);
    });
}

TEST_CASE("misuse: memory of a runtime runs out at each point of a blocking call")
{
    fail_each_allocation_of_a_worker([]() -> task<> {
        auto call = [token = counted{4}] { return token.value; };
        const int got = co_await leat::blocking(std::move(call));
        CHECK(got == 4);
        auto nested = []() -> task<int> {
            auto inner = [token = counted{5}] { return token.value; };
            co_return co_await leat::blocking(std::move(inner));
        };
        const int limited = co_await leat::timeout(1h, nested());
        CHECK(limited == 5);
    });
}

TEST_CASE("misuse: memory of a runtime runs out at each point of after_func")
{
    fail_each_allocation_of_a_worker([]() -> task<> {
        leat::channel<int> ran{2};
        auto [ctx, cancel] = leat::with_cancel();
        // No coroutine: that could fail where nobody hears of it but the handler of the runtime.
        auto note = [ran, token = counted{6}] { static_cast<void>(ran.try_send(token.value)); };
        auto waiting = leat::after_func(ctx, std::move(note));
        auto stopped = leat::after_func(ctx, [token = counted{7}] {});
        CHECK(stopped.stop());
        cancel();
        const auto got = co_await ran.recv();
        CHECK(got == 6);
        static_cast<void>(waiting);
    });
}

TEST_CASE("misuse: memory of a runtime runs out at each point of timers and time limits")
{
    fail_each_allocation_of_a_worker([]() -> task<> {
        leat::timer once{1us};
        co_await once.wait();
        leat::ticker often{1us};
        co_await often.tick();
        co_await leat::sleep_for(1us);
        const auto picked = co_await leat::select(leat::after(1us), leat::after(1h));
        CHECK(picked.index == 0);
        const auto late = co_await leat::as_result(leat::timeout(1us, wait_for_nothing(counted{})));
        if (late.error() == leat::errc::failed)
            std::rethrow_exception(late.exception());
        CHECK(late.error() == leat::errc::deadline_exceeded);
        auto [limited, cancel] = leat::with_timeout(leat::this_task::context(), 1h);
        leat::timer kept{1h};
        CHECK(kept.stop());
        CHECK(!limited.cancelled());
    });
}
