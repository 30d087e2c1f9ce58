#include "support/rounds.hpp"

#include <leat/flow/bulkhead.hpp>
#include <leat/leat.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <tuple>
#include <utility>
#include <vector>

namespace {

using namespace std::chrono_literals;

TEST_CASE("bulkhead: so many run at a time, so many wait, the rest is refused at once")
{
    leat::sim::world world{1};
    world.run([&]() -> leat::task<> {
        leat::bulkhead calls{{.concurrent = 2, .queue = 3}};
        int running = 0;
        int most = 0;
        std::vector<leat::clock::duration> ended;
        int refused = 0;
        auto call = [&]() -> leat::task<> {
            most = std::max(most, ++running);
            co_await leat::sleep_for(10s);
            --running;
            ended.push_back(world.now());
        };
        co_await leat::with_group([&](leat::task_group& group) -> leat::task<> {
            for (int i = 0; i < 7; ++i)
                co_await group.spawn([&]() -> leat::task<> {
                    const leat::result<> how = co_await leat::as_result(calls.run(call));
                    if (!how) {
                        CHECK(how.error() == leat::errc::rejected);
                        CHECK(world.now() == 0s);
                        ++refused;
                    }
                });
            co_await leat::sleep_for(1s);
            CHECK(calls.waiting() == 3);
            CHECK(calls.available() == 0);
        });
        CHECK(most == 2);
        CHECK(refused == 2);
        CHECK(calls.rejected() == 2);
        CHECK(ended == std::vector<leat::clock::duration>{10s, 10s, 20s, 20s, 30s});
        CHECK(calls.waiting() == 0);
        CHECK(calls.available() == 2);
    });
    CHECK(world.live_tasks() == 0);
}

TEST_CASE("bulkhead: who has waited for too long is refused, and keeps nobody waiting")
{
    leat::sim::world world{2};
    world.run([&]() -> leat::task<> {
        leat::bulkhead calls{{.concurrent = 1, .queue = 10, .max_wait = 3s}};
        auto place = calls.try_enter();
        CHECK(place);
        CHECK(!calls.try_enter());
        const auto late = co_await leat::as_result(calls.run([] { return 1; }));
        CHECK(late.error() == leat::errc::rejected);
        CHECK(world.now() == 3s);
        co_await leat::with_group([&](leat::task_group& group) -> leat::task<> {
            co_await group.spawn([&]() -> leat::task<> {
                const int got = co_await calls.run([] { return 2; });
                CHECK(got == 2);
                CHECK(world.now() == 5s);
            });
            co_await leat::sleep_for(2s);
            place.release();
        });
        CHECK(calls.available() == 1);
    });
}

leat::task<int> call_again_and_again(leat::bulkhead& calls, int times)
{
    int refused = 0;
    for (int i = 0; i < times; ++i) {
        auto call = []() -> leat::task<> { co_await leat::sleep_for(1s); };
        const auto how = co_await leat::as_result(calls.run(call));
        refused += !how;
    }
    co_return refused;
}

TEST_CASE("bulkhead: who has been given a place is not in the queue, though he has not gone on yet")
{
    for (const auto max_wait : {leat::clock::duration::max(), leat::clock::duration{1h}}) {
        leat::sim::world world{1};
        world.run([&]() -> leat::task<> {
            leat::bulkhead calls{{.concurrent = 1, .queue = 1, .max_wait = max_wait}};
            const auto refused =
                co_await leat::when_all(call_again_and_again(calls, 3), call_again_and_again(calls, 3));
            CHECK(std::get<0>(refused) == 0);
            CHECK(std::get<1>(refused) == 0);
            CHECK(calls.rejected() == 0);
            CHECK(calls.waiting() == 0);
            CHECK(world.now() == 6s);
        });
    }
}

TEST_CASE("bulkhead: a call that throws or is cancelled gives its place back")
{
    leat::sim::world world{3};
    world.run([&]() -> leat::task<> {
        leat::bulkhead calls{{.concurrent = 1, .queue = 1}};
        auto throws = []() -> leat::task<int> {
            throw std::domain_error{"on purpose"};
            co_return 0;
        };
        const auto thrown = co_await leat::as_result(calls.run(throws));
        CHECK(thrown.error() == leat::errc::failed);
        auto sleeps = [] { return leat::timeout(1h, leat::sleep_for(1h)); };
        const auto late = co_await leat::as_result(leat::timeout(1s, calls.run(sleeps)));
        CHECK(late.error() == leat::errc::deadline_exceeded);
        CHECK(calls.available() == 1);

        // While it waits for a place.
        auto place = calls.try_enter();
        const auto waited = co_await leat::as_result(leat::timeout(1s, calls.run([] {})));
        CHECK(waited.error() == leat::errc::deadline_exceeded);
        CHECK(calls.waiting() == 0);
        CHECK_THROWS_AS(leat::bulkhead{{.concurrent = 0}}, leat::usage_error);
    });
    CHECK(world.live_tasks() == 0);
}

TEST_CASE("bulkhead: on the pool, never more at a time than allowed, and nobody lost")
{
    leat::runtime pool{{.workers = 4}};
    leat::bulkhead calls{{.concurrent = 3, .queue = 5}};
    const int each = test::rounds(3000);
    std::atomic<int> running{0};
    std::atomic<int> too_many{0};
    std::atomic<long> ran{0};
    std::atomic<long> refused{0};
    pool.block_on([&]() -> leat::task<> {
        co_await leat::with_group([&](leat::task_group& group) -> leat::task<> {
            for (int i = 0; i < 16; ++i)
                co_await group.spawn([&]() -> leat::task<> {
                    auto call = [&]() -> leat::task<> {
                        too_many += running.fetch_add(1) >= 3;
                        co_await leat::this_task::yield();
                        running.fetch_sub(1);
                        ++ran;
                    };
                    for (int n = 0; n < each; ++n) {
                        const auto how = co_await leat::as_result(calls.run(call));
                        refused += !how;
                        if (!how)
                            co_await leat::this_task::yield();
                    }
                });
        });
    });
    CHECK(too_many.load() == 0);
    CHECK(ran.load() + refused.load() == 16L * each);
    CHECK(static_cast<long>(calls.rejected()) == refused.load());
    CHECK(calls.available() == 3);
}

}  // namespace
