#include <leat/leat.hpp>

#include "support/counted.hpp"
#include "support/rounds.hpp"

#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
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

TEST_CASE("single_flight: alone, a caller gets the value, or what was thrown, and shares it with nobody")
{
    leat::sim::world world;
    leat::single_flight<std::string, std::string> flights;
    world.run([&]() -> leat::task<> {
        auto bar = []() -> leat::task<std::string> { co_return "bar"; };
        const auto got = co_await flights.run("key", bar);
        CHECK(got.value == "bar");
        CHECK_FALSE(got.shared);
        auto plain = [] { return "plain"; };
        const auto other = co_await flights.run("key", plain);
        CHECK(other.value == "plain");
        auto fails = []() -> leat::task<std::string> {
            throw std::domain_error{"on purpose"};
            co_return "";
        };
        const auto failed = co_await leat::as_result(flights.run("key", fails));
        CHECK(failed.error() == leat::errc::failed);
        CHECK(flights.size() == 0);
    });
}

TEST_CASE("single_flight: who comes while the work is under way shares it, by key")
{
    leat::sim::world world;
    leat::single_flight<int, int> flights;
    int runs = 0;
    int shared = 0;
    int sum = 0;
    auto caller = [&](int key) -> leat::task<> {
        auto work = [&runs, key]() -> leat::task<int> {
            ++runs;
            co_await leat::sleep_for(1s);
            co_return key * 10;
        };
        const auto got = co_await flights.run(key, work);
        shared += got.shared ? 1 : 0;
        sum += got.value;
    };
    for (int i = 0; i < 10; ++i)
        world.spawn(caller(i % 2 + 1)).detach();
    world.spawn(caller(3)).detach();
    world.settle();
    CHECK(flights.size() == 3);
    world.advance(1s);
    CHECK(runs == 3);
    CHECK(shared == 10);
    CHECK(sum == 5 * 10 + 5 * 20 + 30);
    CHECK(flights.size() == 0);
}

TEST_CASE("single_flight: a failure is shared, and the next call begins anew")
{
    leat::sim::world world;
    leat::single_flight<int, std::shared_ptr<int>> flights;
    int runs = 0;
    int failed = 0;
    auto caller = [&]() -> leat::task<> {
        auto work = [&]() -> leat::task<std::shared_ptr<int>> {
            co_await leat::sleep_for(1s);
            if (++runs == 1)
                throw std::domain_error{"on purpose"};
            co_return std::make_shared<int>(7);
        };
        try {
            const auto got = co_await flights.run(1, work);
            CHECK(*got.value == 7);
        } catch (const std::domain_error&) {
            ++failed;
        }
    };
    for (int i = 0; i < 4; ++i)
        world.spawn(caller).detach();
    world.advance(1s);
    CHECK(failed == 4);
    world.run(caller);
    CHECK(runs == 2);
    CHECK(failed == 4);
}

TEST_CASE("single_flight: forget has the next call begin anew, while the work goes on for those who wait")
{
    leat::sim::world world;
    leat::single_flight<std::string, int> flights;
    leat::event first_gate;
    int first = 0;
    int second = 0;
    auto slow = [&]() -> leat::task<int> {
        co_await first_gate.wait();
        co_return 1;
    };
    auto quick = [] { return 2; };
    CHECK_FALSE(flights.forget("key"));
    for (int i = 0; i < 2; ++i)
        world
            .spawn([&]() -> leat::task<> {
                const auto got = co_await flights.run("key", slow);
                first += got.value;
            })
            .detach();
    world.settle();
    CHECK(flights.forget("key"));
    CHECK_FALSE(flights.forget("key"));
    world.run([&]() -> leat::task<> {
        const auto got = co_await flights.run("key", quick);
        second = got.value;
    });
    CHECK(second == 2);
    CHECK(first == 0);
    first_gate.set();
    world.settle();
    CHECK(first == 2);
}

TEST_CASE("single_flight: a flight that was forgotten and lands leaves the next one to be shared")
{
    leat::sim::world world;
    leat::single_flight<std::string, int> flights;
    leat::event gates[2];
    int runs = 0;
    std::vector<int> values[3];
    int shared = 0;
    auto caller = [&](int who) -> leat::task<> {
        auto work = [&]() -> leat::task<int> {
            const int mine = runs++;
            co_await gates[mine].wait();
            co_return mine + 1;
        };
        const auto got = co_await flights.run("key", work);
        values[who].push_back(got.value);
        shared += got.shared ? 1 : 0;
    };
    world.spawn(caller(0)).detach();
    world.settle();
    CHECK(flights.forget("key"));
    world.spawn(caller(1)).detach();
    world.settle();
    CHECK(runs == 2);  // both fly
    CHECK(flights.size() == 1);
    gates[0].set();
    world.settle();
    CHECK(values[0] == std::vector<int>{1});
    CHECK(values[1].empty());
    CHECK(flights.size() == 1);
    world.spawn(caller(2)).detach();
    world.settle();
    CHECK(runs == 2);
    gates[1].set();
    world.settle();
    CHECK(values[1] == std::vector<int>{2});
    CHECK(values[2] == std::vector<int>{2});
    CHECK(shared == 2);
    CHECK(flights.size() == 0);
}

TEST_CASE("single_flight: who is cancelled leaves; the work ends with the last who waits")
{
    leat::sim::world world;
    leat::single_flight<int, int> flights;
    int runs = 0;
    int cancelled = 0;
    int ended = 0;
    auto work = [&]() -> leat::task<int> {
        ++runs;
        const leat::result<> slept = co_await leat::as_result(leat::sleep_for(1h));
        cancelled += slept ? 0 : 1;
        co_return 1;
    };
    std::vector<leat::cancellable_context> contexts;
    for (int i = 0; i < 3; ++i) {
        contexts.push_back(leat::with_cancel(world.context()));
        world
            .spawn(
                [&]() -> leat::task<> {
                    const auto got = co_await leat::as_result(flights.run(1, work));
                    CHECK(got.error() == leat::errc::cancelled);
                    ++ended;
                },
                {.context = contexts.back().first})
            .detach();
    }
    world.settle();
    for (int i = 0; i < 3; ++i) {
        CHECK(cancelled == 0);
        CHECK(flights.size() == 1);
        contexts[static_cast<std::size_t>(i)].second();
        world.settle();
        CHECK(ended == i + 1);
    }
    CHECK(runs == 1);
    CHECK(cancelled == 1);
    CHECK(flights.size() == 0);
    CHECK(world.live_tasks() == 0);
}

TEST_CASE("single_flight: in a select that takes another case, the caller leaves")
{
    leat::sim::world world;
    leat::single_flight<int, int> flights;
    bool cancelled = false;
    auto work = [&]() -> leat::task<int> {
        const leat::result<> slept = co_await leat::as_result(leat::sleep_for(1h));
        cancelled = !slept;
        co_return 1;
    };
    world.run([&]() -> leat::task<> {
        const auto got = co_await leat::select(flights.run(1, work), leat::after(1s));
        CHECK(got.index == 1);
        co_await leat::this_task::yield();
    });
    world.settle();
    CHECK(cancelled);
    CHECK(world.live_tasks() == 0);
}

TEST_CASE(
    "single_flight: as a case it does not begin under a context that has ended, nor if another is ready")
{
    leat::sim::world world;
    leat::single_flight<int, int> flights;
    int runs = 0;
    auto plain = [&] { return ++runs; };
    auto slow = [&]() -> leat::task<int> { co_return ++runs; };
    const auto [ctx, cancel] = leat::with_cancel(world.context());
    cancel();
    bool refused = false;
    world
        .spawn(
            [&]() -> leat::task<> {
                const auto picked = co_await leat::as_result(
                    leat::select(flights.run(1, plain), flights.run(2, slow), leat::after(1s)));
                refused = picked.error() == leat::errc::cancelled;
            },
            {.context = ctx})
        .detach();
    world.settle();
    CHECK(refused);
    CHECK(runs == 0);
    world.run([&]() -> leat::task<> {
        leat::channel<int> ready{1};
        for (int i = 0; i < 20; ++i) {
            co_await ready.send(i);
            const auto picked =
                co_await leat::select(flights.run(1, plain), ready.recv(), flights.run(2, slow));
            CHECK(picked.index == 1);
        }
        CHECK(runs == 0);
        const auto first = co_await leat::select(flights.run(1, plain), ready.recv());
        CHECK(first.index == 0);
        const auto second = co_await leat::select(ready.recv(), flights.run(1, slow));
        CHECK(second.index == 1);
    });
    CHECK(runs == 2);
    CHECK(flights.size() == 0);
}

TEST_CASE("single_flight: in every order of two callers, an end and a forget, each caller has an answer")
{
    leat::sim::explore({.schedules = 4000}, [](leat::sim::world& world) {
        leat::single_flight<int, int> flights;
        const auto [ctx, cancel] = leat::with_cancel(leat::background());
        int runs = 0;
        int answers = 0;
        auto work = [&]() -> leat::task<int> {
            ++runs;
            co_await leat::this_task::yield();
            co_return 5;
        };
        auto caller = [&]() -> leat::task<> {
            const auto got = co_await leat::as_result(flights.run(1, work));
            answers += got ? got->value : 0;
        };
        world.spawn(caller, {.context = ctx}).detach();
        world.spawn(caller).detach();
        world
            .spawn([&, &stop = cancel] {
                stop();
                flights.forget(1);
            })
            .detach();
        world.settle();
        CHECK((answers == 5 || answers == 10));
        CHECK(runs >= 1);
        CHECK(runs <= 2);
        CHECK(flights.size() == 0);
        CHECK(world.live_tasks() == 0);
    });
}

TEST_CASE("single_flight: many keys at a time")
{
    leat::sim::world world;
    leat::single_flight<int, int> flights;
    constexpr int keys = 1000;
    int sum = 0;
    for (int i = 0; i < 2 * keys; ++i)
        world
            .spawn([&, i]() -> leat::task<> {
                auto work = [i]() -> leat::task<int> {
                    co_await leat::sleep_for(1s);
                    co_return i;
                };
                const auto got = co_await flights.run(i % keys, work);
                CHECK(got.shared);
                CHECK(got.value % keys == i % keys);
                sum += got.value % keys;
            })
            .detach();
    world.settle();
    CHECK(flights.size() == keys);
    world.advance(1s);
    CHECK(sum == keys * (keys - 1));
    CHECK(flights.size() == 0);
}

TEST_CASE("single_flight: on the pool, callers come, share, are cancelled and forget, and nothing is left")
{
    const unsigned seed = std::random_device{}();
    INFO("seed ", seed);
    const test::no_more_than_before counts;
    {
        leat::single_flight<int, std::shared_ptr<test::counted>> flights;
        std::atomic<int> wrong{0};
        leat::runtime pool{workers(3)};  // goes first: work that nobody waits for may still be under way
        pool.block_on([&]() -> leat::task<> {
            leat::wait_group group;
            for (int task = 0; task < 16; ++task) {
                auto caller = [&, task]() -> leat::task<> {
                    std::mt19937 random{seed + static_cast<unsigned>(task)};
                    for (int i = 0; i < test::rounds(2000); ++i) {
                        const int key = static_cast<int>(random() % 16);
                        const bool forgets = random() % 50 == 0;
                        auto work = [&, key, fails = random() % 10 == 0,
                                     turns = random() % 4]() -> leat::task<std::shared_ptr<test::counted>> {
                            for (unsigned t = 0; t < turns; ++t)
                                static_cast<void>(co_await leat::as_result(leat::this_task::yield()));
                            if (fails)
                                throw std::domain_error{"on purpose"};
                            co_return std::make_shared<test::counted>(key);
                        };
                        if (forgets)
                            flights.forget(key);
                        if (random() % 4 == 0) {
                            leat::channel<int> never;
                            static_cast<void>(co_await leat::as_result(
                                leat::select(flights.run(key, work), leat::after(0ns), never.recv())));
                            continue;
                        }
                        const auto got = co_await leat::as_result(flights.run(key, work));
                        if (got ? got->value->value != key : got.error() != leat::errc::failed)
                            wrong.fetch_add(1);
                    }
                };
                group.spawn(caller);
            }
            co_await group.wait();
        });
        CHECK(wrong.load() == 0);
    }
    CHECK(counts.excess() == 0);
}
