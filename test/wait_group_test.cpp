#include <leat/leat.hpp>

#include "support/counted.hpp"
#include "support/rounds.hpp"
#include "support/scale.hpp"

#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <limits>
#include <memory>
#include <random>
#include <stdexcept>
#include <thread>
#include <vector>

namespace {

using namespace std::chrono_literals;

leat::runtime_options workers(int count)
{
    leat::runtime_options options;
    options.workers = count;
    return options;
}

}  // namespace

TEST_CASE("wait_group: of nothing does not wait")
{
    leat::wait_group group;
    leat::sim::world world;
    world.run([&]() -> leat::task<> { co_await group.wait(); });
    CHECK(group.try_wait());
    group.blocking_wait();
}

TEST_CASE("wait_group: one group waits for many, who wait for it by another")
{
    // The workhorse of Go's own tests: both groups are used again and again.
    leat::runtime pool{workers(3)};
    pool.block_on([]() -> leat::task<> {
        leat::wait_group first;
        leat::wait_group second;
        for (int round = 0; round < test::rounds(1000); ++round) {
            constexpr int n = 16;
            std::atomic<int> exited{0};
            first.add(n);
            second.add(n);
            std::vector<leat::join_handle<>> all;
            for (int i = 0; i < n; ++i) {
                auto part = [&]() -> leat::task<> {
                    first.done();
                    co_await second.wait();
                    exited.fetch_add(1);
                };
                all.push_back(leat::spawn(part));
            }
            co_await first.wait();
            for (int i = 0; i < n; ++i) {
                CHECK(exited.load() == 0);  // second still counts
                second.done();
            }
            for (auto& each : all)
                co_await each;
            CHECK(exited.load() == n);
        }
    });
}

TEST_CASE("wait_group: a negative count is an error, and changes nothing")
{
    leat::wait_group group;
    CHECK_THROWS_AS(group.done(), leat::usage_error);
    CHECK(group.count() == 0);
    group.add(2);
    CHECK_THROWS_AS(group.add(-3), leat::usage_error);
    CHECK_THROWS_AS(group.add(std::numeric_limits<std::int64_t>::min()), leat::usage_error);
    CHECK_THROWS_AS(group.add(std::numeric_limits<std::int64_t>::max()), leat::usage_error);
    CHECK(group.count() == 2);
    group.add(-2);
    CHECK(group.try_wait());
}

TEST_CASE("wait_group: a wait ends with the zero for which it waited, though the group is used again at once")
{
    leat::sim::world world;
    leat::wait_group group;
    int passed = 0;
    auto waiter = [&]() -> leat::task<> {
        co_await group.wait();
        ++passed;
    };
    group.add();
    for (int i = 0; i < 100; ++i)
        world.spawn(waiter).detach();
    world.settle();
    group.done();
    group.add();
    world.spawn(waiter).detach();
    world.settle();
    CHECK(passed == 100);
    group.done();
    world.settle();
    CHECK(passed == 101);
}

TEST_CASE("wait_group: spawn counts a task until it has ended, however it ends, and its callable has gone")
{
    leat::sim::world world;
    const test::no_more_than_before counts;
    leat::wait_group group;
    std::vector<int> order;
    world.run([&]() -> leat::task<> {
        for (int i = 0; i < 3; ++i) {
            auto part = [&order, i, held = test::counted{1}]() -> leat::task<> {
                co_await leat::sleep_for(i * 1ms);
                order.push_back(i);
            };
            group.spawn(std::move(part));
        }
        auto plain = [&order] { order.push_back(7); };
        group.spawn(plain, {.name = "plain"});
        CHECK(group.count() == 4);
        co_await group.wait();
        CHECK(counts.excess() == 0);
        CHECK(order == std::vector<int>{order.front(), order.at(1), 1, 2});

        auto fails = []() -> leat::task<int> {
            co_await leat::sleep_for(1ms);
            throw std::domain_error{"on purpose"};
        };
        leat::join_handle<int> failing = group.spawn(fails);
        co_await group.wait();
        const leat::result<int> failed = co_await leat::as_result(failing);
        CHECK(failed.error() == leat::errc::failed);

        auto endless = []() -> leat::task<> { co_await leat::sleep_for(24h); };
        leat::join_handle<> cancelled = group.spawn(endless());
        cancelled.cancel();
        co_await group.wait();
        const leat::result<> stopped = co_await leat::as_result(cancelled);
        CHECK(stopped.error() == leat::errc::cancelled);
    });
    CHECK(group.try_wait());
}

TEST_CASE("wait_group: spawned tasks that the end of a world destroys are done, too")
{
    leat::wait_group group;
    {
        leat::sim::world world;
        auto stubborn = []() -> leat::task<> {
            const leat::context deaf = leat::without_cancel(leat::this_task::context());
            co_await leat::with_context(deaf, leat::sleep_for(24h));
        };
        world.run([&]() -> leat::task<> {
            group.spawn(stubborn);
            co_return;
        });
        CHECK(group.count() == 1);
    }
    CHECK(group.try_wait());
}

TEST_CASE("wait_group: a spawn that throws leaves the count as it was")
{
    leat::wait_group group;
    CHECK_THROWS_AS(group.spawn([] {}), leat::usage_error);  // outside of every task
    CHECK(group.try_wait());
}

TEST_CASE("wait_group: destroyed as soon as the wait has returned, while the last done() is in its call")
{
    leat::runtime pool{workers(3)};
    pool.block_on([]() -> leat::task<> {
        for (int round = 0; round < test::rounds(10'000); ++round) {
            leat::join_handle<> parts[4];
            {
                auto group = std::make_unique<leat::wait_group>();
                for (auto& part : parts)
                    part = group->spawn([] {});
                if (round % 2 == 0)
                    while (!group->try_wait())
                        co_await leat::this_task::yield();
                else
                    co_await group->wait();
            }
            for (auto& part : parts)
                co_await part;
        }
    });
}

TEST_CASE("wait_group: many waiters, woken in batches, and the group destroyed by the last of them")
{
    leat::runtime pool{workers(3)};
    pool.block_on([]() -> leat::task<> {
        for (int round = 0; round < test::rounds(300); ++round) {
            auto group = std::make_unique<leat::wait_group>();
            group->add();
            leat::latch gone{200};
            std::vector<leat::join_handle<>> all;
            for (int i = 0; i < 200; ++i) {
                auto waiter = [&, group = group.get()]() -> leat::task<> {
                    co_await group->wait();
                    gone.count_down();
                };
                all.push_back(leat::spawn(waiter));
            }
            auto finish = [group = group.get()] { group->done(); };
            leat::join_handle<> last = leat::spawn(finish);
            co_await gone.wait();
            group.reset();
            co_await last;
            for (auto& each : all)
                co_await each;
        }
    });
}

TEST_CASE("wait_group: agrees with a number, whatever is done to it")
{
    const unsigned seed = std::random_device{}();
    INFO("seed ", seed);
    std::mt19937 random{seed};
    leat::sim::world world;
    leat::wait_group group;
    std::int64_t model = 0;
    std::size_t waiting = 0;
    std::size_t passed = 0;
    std::size_t expected = 0;
    for (int step = 0; step < 20'000; ++step) {
        switch (random() % 4) {
        case 0: {
            const auto n = static_cast<std::int64_t>(random() % 3);
            group.add(n);
            model += n;
            break;
        }
        case 1: {
            const auto n = static_cast<std::int64_t>(random() % 4);
            if (n > model) {
                CHECK_THROWS_AS(group.add(-n), leat::usage_error);
            } else {
                group.add(-n);
                model -= n;
                if (model == 0)
                    expected += std::exchange(waiting, 0);
            }
            break;
        }
        case 2:
            if (model == 0)
                ++expected;
            else
                ++waiting;
            world
                .spawn([&]() -> leat::task<> {
                    co_await group.wait();
                    ++passed;
                })
                .detach();
            world.settle();
            break;
        default: world.settle(); CHECK(passed == expected);
        }
        CHECK(group.count() == model);
    }
    group.add(-model);
    world.settle();
    CHECK(passed == expected + waiting);
}

TEST_CASE("wait_group: threads of no runtime add, finish and wait")
{
    leat::runtime pool{workers(2)};
    leat::wait_group group;
    std::atomic<int> ended{0};
    for (int round = 0; round < test::rounds(300); ++round) {
        ended.store(0);
        group.add(8);
        std::vector<std::thread> threads;
        for (int i = 0; i < 4; ++i) {
            threads.emplace_back([&] {
                ended.fetch_add(1);
                group.done();
            });
            pool.spawn([&] {
                    ended.fetch_add(1);
                    group.done();
                })
                .detach();
        }
        group.blocking_wait();
        CHECK(ended.load() == 8);
        for (auto& each : threads)
            each.join();
    }
}
