#include <leat/leat.hpp>

#include "support/rounds.hpp"
#include "support/scale.hpp"

#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <thread>
#include <utility>
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

TEST_CASE("barrier: nobody goes on before all have arrived, phase by phase, in every order")
{
    leat::sim::explore({.schedules = 2000}, [](leat::sim::world& world) {
        int completions = 0;
        int arrived[2] = {};
        leat::barrier phases{3, [&] { ++completions; }};
        for (int i = 0; i < 3; ++i)
            world
                .spawn([&]() -> leat::task<> {
                    for (int phase = 0; phase < 2; ++phase) {
                        ++arrived[phase];
                        co_await phases.arrive_and_wait();
                        CHECK(arrived[phase] == 3);
                        CHECK(completions >= phase + 1);
                    }
                })
                .detach();
        world.settle();
        CHECK(completions == 2);
        CHECK(phases.phase() == 2);
    });
}

TEST_CASE("barrier: the completion function runs when all have arrived, and before any goes on")
{
    leat::runtime pool{workers(3)};
    constexpr int parts = 4;
    const int phases = test::rounds(3000);
    std::vector<int> cells(parts, 0);
    int sum = 0;
    bool right = true;
    leat::barrier barrier{parts, [&] {
                              for (const int each : cells)
                                  sum += each;
                          }};
    pool.block_on([&]() -> leat::task<> {
        co_await leat::with_group([&](leat::task_group& group) -> leat::task<> {
            for (int i = 0; i < parts; ++i) {
                auto part = [&, i]() -> leat::task<> {
                    for (int phase = 1; phase <= phases; ++phase) {
                        cells[static_cast<std::size_t>(i)] = phase;
                        co_await barrier.arrive_and_wait();
                        if (i == 0)
                            right = right && sum == parts * phase * (phase + 1) / 2;
                    }
                };
                static_cast<void>(co_await group.spawn(std::move(part)));
            }
        });
    });
    CHECK(right);
    CHECK(barrier.phase() == static_cast<std::uint64_t>(phases));
}

TEST_CASE("barrier: arrive without waiting, and wait for the phase later, or not at all")
{
    leat::sim::world world;
    leat::barrier both{2};
    auto token = both.arrive();
    bool passed = false;
    world
        .spawn([&, mine = std::move(token)]() -> leat::task<> {
            co_await both.wait(mine);
            co_await both.wait(mine);  // has passed for good
            passed = true;
        })
        .detach();
    world.settle();
    CHECK_FALSE(passed);
    both.arrive();
    world.settle();
    CHECK(passed);
    both.arrive(2);
    CHECK(both.phase() == 2);
}

TEST_CASE("barrier: who drops out is not waited for any more")
{
    leat::sim::world world;
    leat::barrier group{3};
    int phases = 0;
    world
        .spawn([&]() -> leat::task<> {
            for (; phases < 3; ++phases)
                co_await group.arrive_and_wait();
        })
        .detach();
    world.settle();
    group.arrive_and_drop();
    group.arrive_and_drop();
    world.settle();
    CHECK(phases == 3);  // alone
    group.arrive_and_drop();
    CHECK(group.phase() == 4);
    CHECK_THROWS_AS(group.arrive(), leat::usage_error);
    CHECK_THROWS_AS(world.run([&]() -> leat::task<> { co_await group.arrive_and_wait(); }),
                    leat::usage_error);
}

TEST_CASE("barrier: more arrivals than participants are an error")
{
    leat::barrier both{2};
    CHECK_THROWS_AS(both.arrive(3), leat::usage_error);
    CHECK_THROWS_AS(both.arrive(-1), leat::usage_error);
    CHECK_THROWS_AS(leat::barrier{-1}, leat::usage_error);
    CHECK(both.phase() == 0);
}

TEST_CASE("barrier: a cancelled arrival is taken back, in every order")
{
    leat::sim::explore({.schedules = 4000}, [](leat::sim::world& world) {
        leat::barrier both{2};
        const auto [ctx, cancel] = leat::with_cancel(leat::background());
        int passed = 0;
        int cancelled = 0;
        auto participant = [&]() -> leat::task<> {
            const leat::result<> waited = co_await leat::as_result(both.arrive_and_wait());
            ++(waited ? passed : cancelled);
        };
        world.spawn(participant, {.context = ctx}).detach();
        world.spawn(participant).detach();
        world.spawn([&, &stop = cancel] { stop(); }).detach();
        world.settle();
        if (cancelled == 0) {
            CHECK(passed == 2);
        } else {
            CHECK(passed == 0);
            CHECK(both.phase() == 0);
            both.arrive();
            world.settle();
            CHECK(passed == 1);
        }
    });
}

TEST_CASE("barrier: as a case of a select that loses, it has not arrived")
{
    leat::sim::world world;
    leat::barrier both{2};
    leat::channel<int> numbers{1};
    std::size_t chosen = 9;
    world
        .spawn([&]() -> leat::task<> {
            const auto got =
                co_await leat::select(both.arrive_and_wait(), numbers.recv(), both.arrive_and_wait());
            chosen = got.index;
        })
        .detach();
    world.settle();
    CHECK(numbers.try_send(1).has_value());
    both.arrive();
    world.settle();
    CHECK(chosen == 1);
    CHECK(both.phase() == 0);
    both.arrive();
    CHECK(both.phase() == 1);
}

TEST_CASE("barrier: arrivals of the next phase while this one is being completed")
{
    leat::sim::world world;
    int completions = 0;
    leat::barrier* self = nullptr;
    leat::barrier both{2, [&] {
                           if (++completions < 3)
                               self->arrive(2);
                       }};
    self = &both;
    bool passed = false;
    world
        .spawn([&]() -> leat::task<> {
            co_await both.arrive_and_wait();
            passed = true;
        })
        .detach();
    world.settle();
    both.arrive();
    world.settle();
    CHECK(passed);
    CHECK(completions == 3);
    CHECK(both.phase() == 3);
}

TEST_CASE("barrier: threads of no runtime and tasks meet")
{
    leat::runtime pool{workers(2)};
    leat::barrier all{4};
    std::atomic<int> met{0};
    const int phases = test::rounds(300);
    std::vector<std::thread> threads;
    for (int i = 0; i < 2; ++i)
        threads.emplace_back([&] {
            for (int phase = 0; phase < phases; ++phase)
                if (phase % 2 == 0)
                    all.blocking_arrive_and_wait();
                else
                    all.blocking_wait(all.arrive());
            met.fetch_add(1);
        });
    pool.block_on([&]() -> leat::task<> {
        auto part = [&]() -> leat::task<> {
            for (int phase = 0; phase < phases; ++phase)
                co_await all.arrive_and_wait();
            met.fetch_add(1);
        };
        co_await leat::when_all(part(), part());
    });
    for (auto& each : threads)
        each.join();
    CHECK(met.load() == 4);
}

TEST_CASE("barrier: destroyed by the first that goes on, if nobody else waits")
{
    leat::runtime pool{workers(3)};
    pool.block_on([]() -> leat::task<> {
        for (int round = 0; round < test::rounds(5000); ++round) {
            leat::join_handle<> other;
            {
                auto both = std::make_unique<leat::barrier>(2);
                other = leat::spawn([barrier = both.get()] { barrier->arrive(); });
                co_await both->arrive_and_wait();
            }
            co_await other;
        }
    });
}

TEST_CASE("barrier: a million participants")
{
    const auto count = static_cast<std::ptrdiff_t>(test::scaled(1'000'000));
    leat::runtime pool{workers(2)};
    std::atomic<std::ptrdiff_t> passed{0};
    pool.block_on([&]() -> leat::task<> {
        leat::barrier all{count};
        leat::wait_group group;
        for (std::ptrdiff_t i = 0; i < count; ++i) {
            auto part = [&]() -> leat::task<> {
                co_await all.arrive_and_wait();
                passed.fetch_add(1, std::memory_order_relaxed);
            };
            group.spawn(part);
        }
        co_await group.wait();
    });
    CHECK(passed.load() == count);
}
