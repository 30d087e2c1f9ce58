#include <leat/leat.hpp>

#include "support/rounds.hpp"

#include <doctest/doctest.h>

#include <memory>
#include <thread>
#include <vector>

TEST_CASE("latch: opens when everything has happened, for good")
{
    leat::sim::world world;
    leat::latch ready{3};
    bool passed = false;
    world
        .spawn([&]() -> leat::task<> {
            co_await ready.wait();
            passed = true;
        })
        .detach();
    ready.count_down();
    ready.count_down(0);
    world.settle();
    CHECK_FALSE(passed);
    CHECK_FALSE(ready.try_wait());
    ready.count_down(2);
    world.settle();
    CHECK(passed);
    CHECK(ready.try_wait());
    world.run([&]() -> leat::task<> { co_await ready.wait(); });
}

TEST_CASE("latch: expecting nothing it is open")
{
    leat::latch open{0};
    CHECK(open.try_wait());
    open.blocking_wait();
}

TEST_CASE("latch: negative numbers and too many are usage errors, and count nothing")
{
    CHECK_THROWS_AS(leat::latch{-1}, leat::usage_error);
    leat::latch ready{2};
    CHECK_THROWS_AS(ready.count_down(-1), leat::usage_error);
    CHECK_THROWS_AS(ready.count_down(3), leat::usage_error);
    ready.count_down(2);
    CHECK_THROWS_AS(ready.count_down(), leat::usage_error);
    ready.count_down(0);
    CHECK(ready.try_wait());
}

TEST_CASE("latch: arrive_and_wait is a rendezvous of all")
{
    leat::sim::explore([](leat::sim::world& world) {
        leat::latch all{3};
        int arrived = 0;
        int left = 0;
        for (int i = 0; i < 3; ++i)
            world
                .spawn([&]() -> leat::task<> {
                    ++arrived;
                    co_await all.arrive_and_wait();
                    CHECK(arrived == 3);
                    ++left;
                })
                .detach();
        world.settle();
        CHECK(left == 3);
    });
}

TEST_CASE("latch: destroyed as soon as the wait has returned, while the last count_down() is in its call")
{
    leat::runtime_options options;
    options.workers = 3;
    leat::runtime pool{options};
    pool.block_on([]() -> leat::task<> {
        for (int round = 0; round < test::rounds(10'000); ++round) {
            std::vector<leat::join_handle<>> parts;
            {
                auto done = std::make_unique<leat::latch>(4);
                for (int i = 0; i < 4; ++i)
                    parts.push_back(leat::spawn([latch = done.get()] { latch->count_down(); }));
                if (round % 2 == 0)
                    while (!done->try_wait())
                        co_await leat::this_task::yield();
                else
                    co_await done->wait();
            }
            for (auto& part : parts)
                co_await part;
        }
    });
}

TEST_CASE("latch: threads of no runtime wait for tasks")
{
    leat::runtime pool;
    for (int round = 0; round < test::rounds(1000); ++round) {
        int written[4] = {};
        auto done = std::make_unique<leat::latch>(4);
        std::vector<leat::join_handle<>> parts;
        for (int& each : written)
            parts.push_back(pool.spawn([&each, latch = done.get()] {
                each = 1;
                latch->count_down();
            }));
        done->blocking_wait();
        done.reset();
        for (const int each : written)
            CHECK(each == 1);
        pool.block_on([&]() -> leat::task<> {
            for (auto& part : parts)
                co_await part;
        });
    }
}
