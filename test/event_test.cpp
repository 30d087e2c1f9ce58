#include <leat/leat.hpp>

#include "support/rounds.hpp"
#include "support/scale.hpp"

#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
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

TEST_CASE("event: waits until it is set, and then for no more, until it is reset")
{
    leat::sim::world world;
    leat::event happened;
    int passed = 0;
    auto waiter = [&]() -> leat::task<> {
        co_await happened.wait();
        ++passed;
    };
    for (int i = 0; i < 3; ++i)
        world.spawn(waiter).detach();
    world.settle();
    CHECK(passed == 0);
    CHECK_FALSE(happened.is_set());
    happened.set();
    CHECK(passed == 0);  // set() runs nobody
    world.settle();
    CHECK(passed == 3);
    CHECK(happened.try_wait());

    world.run(waiter);
    CHECK(passed == 4);

    happened.reset();
    world.spawn(waiter).detach();
    world.settle();
    CHECK(passed == 4);
    happened.set();
    world.settle();
    CHECK(passed == 5);
}

TEST_CASE("event: who waited when it was set goes on, though it is reset at once; who comes later does not")
{
    leat::sim::world world;
    leat::event happened;
    int passed = 0;
    auto waiter = [&]() -> leat::task<> {
        co_await happened.wait();
        ++passed;
    };
    for (int i = 0; i < 100; ++i)  // more than one batch
        world.spawn(waiter).detach();
    world.settle();
    happened.set();
    happened.reset();
    world.spawn(waiter).detach();
    world.settle();
    CHECK(passed == 100);
    happened.set();
    world.settle();
    CHECK(passed == 101);
}

TEST_CASE("event, auto_reset: each set lets one go, in the order in which they came, or the next that comes")
{
    leat::sim::world world;
    leat::auto_reset_event turn;
    std::vector<int> order;
    for (int i = 0; i < 3; ++i) {
        world
            .spawn([&, i]() -> leat::task<> {
                co_await turn.wait();
                order.push_back(i);
            })
            .detach();
        world.settle();
    }
    for (int i = 0; i < 3; ++i) {
        turn.set();
        world.settle();
        CHECK(order.size() == static_cast<std::size_t>(i) + 1);
        CHECK(order.back() == i);
        CHECK_FALSE(turn.is_set());
    }
    turn.set();
    turn.set();  // counts once
    CHECK(turn.try_wait());
    CHECK_FALSE(turn.try_wait());
}

TEST_CASE("event, auto_reset: a waiter that is cancelled uses up no set")
{
    leat::sim::explore([](leat::sim::world& world) {
        leat::event turn{leat::event::auto_reset};
        const auto [ctx, cancel] = leat::with_cancel(leat::background());
        int passed = 0;
        auto waiter = [&]() -> leat::task<> {
            co_await turn.wait();
            ++passed;
        };
        world.spawn(waiter, {.context = ctx}).detach();
        world.spawn(waiter).detach();
        world.spawn([&] { turn.set(); }).detach();
        world.spawn([&, &stop = cancel] { stop(); }).detach();
        world.settle();
        CHECK(passed == 1);
        turn.set();
        world.settle();
        CHECK(passed + (turn.is_set() ? 1 : 0) == 2);
        turn.set();
        world.settle();
    });
}

TEST_CASE("event: set by a thread of no runtime, waited for by another")
{
    leat::event asked;
    leat::event answered;
    std::thread other{[&] {
        asked.blocking_wait();
        answered.set();
    }};
    leat::run([&]() -> leat::task<> {
        asked.set();
        co_await answered.wait();
    });
    other.join();
    answered.blocking_wait();
    CHECK(answered.is_set());
}

TEST_CASE("event: a blocking wait in a task is refused")
{
    leat::event never;
    leat::run([&]() -> leat::task<> {
        CHECK_THROWS_AS(never.blocking_wait(), leat::usage_error);
        co_return;
    });
}

TEST_CASE("event: what was written before set() is seen after wait(), also if it had been set before")
{
    leat::runtime pool{workers(3)};
    for (int round = 0; round < test::rounds(2000); ++round) {
        leat::event turn{leat::event::auto_reset};
        int first = 0;
        int second = 0;
        pool.block_on([&]() -> leat::task<> {
            auto one = [&] {
                first = 1;
                turn.set();
            };
            auto other = [&] {
                second = 1;
                turn.set();
            };
            auto a = leat::spawn(one);
            auto b = leat::spawn(other);
            co_await turn.wait();
            co_await a;
            co_await b;
            // Both have set it: once for this wait, or once more.
            static_cast<void>(turn.try_wait());
            CHECK(first + second == 2);
        });
    }
}

TEST_CASE("event: destroyed as soon as the wait has returned, while set() is still in its call")
{
    leat::runtime pool{workers(3)};
    pool.block_on([]() -> leat::task<> {
        for (int round = 0; round < test::rounds(20'000); ++round) {
            leat::join_handle<> setter;
            {
                auto happened = std::make_unique<leat::event>(round % 2 == 0 ? leat::event::manual_reset
                                                                             : leat::event::auto_reset);
                setter = leat::spawn([event = happened.get()] { event->set(); });
                if (round % 3 == 0)
                    while (!happened->try_wait())
                        co_await leat::this_task::yield();
                else
                    co_await happened->wait();
            }
            co_await setter;
        }
    });
}

TEST_CASE("event: a million waiters are woken, while others come and are cancelled")
{
    const std::size_t count = test::scaled(1'000'000);
    leat::runtime pool{workers(2)};
    std::atomic<std::size_t> passed{0};
    pool.block_on([&]() -> leat::task<> {
        leat::event happened;
        leat::wait_group group;
        const auto [ctx, cancel] = leat::with_cancel();
        for (std::size_t i = 0; i < count; ++i) {
            auto waiter = [&]() -> leat::task<> {
                const leat::result<> waited = co_await leat::as_result(happened.wait());
                passed.fetch_add(waited ? 1 : 0, std::memory_order_relaxed);
            };
            const leat::context given = i % 100 == 0 ? ctx : leat::this_task::context();
            group.spawn(waiter, {.context = given});
        }
        co_await leat::this_task::yield();
        auto set = [&] { happened.set(); };
        auto setter = leat::spawn(set);
        cancel();
        co_await group.wait();
        co_await setter;
    });
    CHECK(passed.load() >= count / 100 * 99);
}

TEST_CASE("event: in a select with channels, timers and other events, exactly one case happens")
{
    leat::sim::explore([](leat::sim::world& world) {
        leat::event first;
        leat::auto_reset_event second;
        leat::channel<int> third{1};
        std::size_t chosen = 9;
        world
            .spawn([&]() -> leat::task<> {
                const auto got =
                    co_await leat::select(first.wait(), second.wait(), third.recv(), leat::after(1s));
                chosen = got.index;
            })
            .detach();
        world.spawn([&] { second.set(); }).detach();
        world.spawn([&] { static_cast<void>(third.try_send(1)); }).detach();
        world.settle();
        CHECK((chosen == 1 || chosen == 2));
        CHECK(second.is_set() == (chosen != 1));
        CHECK(third.size() == (chosen == 2 ? 0 : 1));
    });
}

TEST_CASE("event: nobody sets it: a deadlock, which names what is waited for")
{
    leat::sim::world world;
    leat::event never;
    std::string report;
    try {
        world.run([&]() -> leat::task<> { co_await never.wait(); });
    } catch (const leat::deadlock_error& error) {
        report = error.what();
    }
    CHECK(report.find("event") != std::string::npos);
}

TEST_CASE("event: destroyed while a task waits for it, the wait throws")
{
    leat::sim::world world;
    auto happened = std::make_unique<leat::event>();
    bool thrown = false;
    world
        .spawn([&]() -> leat::task<> {
            try {
                co_await happened->wait();
            } catch (const leat::usage_error&) {
                thrown = true;
            }
        })
        .detach();
    world.settle();
    happened.reset();
    world.settle();
    CHECK(thrown);
}
