// Fairness: no task runs for ever on ready operations, and no pair keeps a worker to itself. Each test would hang
// if it did.
#include <leat/leat.hpp>

#include "support/scale.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <optional>
#include <ostream>
#include <system_error>
#include <utility>

using namespace std::chrono_literals;
using leat::task;

namespace {

/// Plays until it is told to stop.
task<> ping_pong(leat::receiver<int> in, leat::sender<int> out, const std::atomic<bool>& over, bool serves)
{
    if (serves)
        co_await out.send(0);
    for (;;) {
        auto ball = co_await in.recv();
        if (!ball)
            break;
        if (over) {
            out.close();
            break;
        }
        co_await out.send(*ball + 1);
    }
}

/// Runs `third` on one worker on which two tasks play ping-pong without end.
template <class F>
void beside_ping_pong(F third)
{
    leat::runtime pool{{.workers = 1}};
    pool.block_on([&]() -> task<> {
        std::atomic<bool> over{false};
        leat::channel<int> there{1};
        leat::channel<int> back{1};
        co_await leat::with_group([&](leat::task_group& group) -> task<> {
            co_await group.spawn(ping_pong(there, back, over, false));
            co_await group.spawn(ping_pong(back, there, over, true));
            co_await leat::this_task::yield();
            co_await third();
            over = true;
        });
    });
}

/// A turn that goes on until it has seen the flag; false if that takes absurdly long.
bool spin_until(const std::atomic<bool>& flag)
{
    const auto deadline = std::chrono::steady_clock::now() + 20s;
    while (!flag)
        if (std::chrono::steady_clock::now() > deadline)
            return false;
    return true;
}

}  // namespace

TEST_CASE("fairness: ping-pong on one worker does not starve a third task")
{
    beside_ping_pong([]() -> task<> {
        for (std::size_t i = 0; i < test::scaled(10'000); ++i)
            co_await leat::this_task::yield();
        co_await leat::spawn([]() -> task<> { co_await leat::this_task::yield(); });
    });
}

TEST_CASE("fairness: ping-pong on one worker does not starve a timer")
{
    beside_ping_pong([]() -> task<> {
        for (int i = 0; i < 20; ++i)
            co_await leat::sleep_for(100us);
    });
}

TEST_CASE("fairness: ping-pong on one worker does not starve what comes from other threads")
{
    beside_ping_pong([]() -> task<> {
        for (int i = 0; i < 20; ++i)
            co_await leat::blocking([] {});
    });
}

TEST_CASE("fairness: unbuffered ping-pong, which hands the worker over directly, starves nobody either")
{
    leat::runtime pool{{.workers = 1}};
    pool.block_on([&]() -> task<> {
        std::atomic<bool> over{false};
        leat::channel<int> there;
        leat::channel<int> back;
        co_await leat::with_group([&](leat::task_group& group) -> task<> {
            co_await group.spawn(ping_pong(there, back, over, false));
            co_await group.spawn(ping_pong(back, there, over, true));
            for (int i = 0; i < 20; ++i) {
                co_await leat::sleep_for(100us);
                co_await leat::this_task::yield();
            }
            over = true;
        });
    });
}

TEST_CASE("fairness: a task that only uses ready channels yields")
{
    leat::runtime pool{{.workers = 1}};
    pool.block_on([]() -> task<> {
        std::atomic<bool> over{false};
        auto other = leat::spawn([&]() -> task<> {
            co_await leat::sleep_for(1ms);
            over = true;
        });
        leat::channel<int> buffer{1};
        while (!over) {
            co_await buffer.send(1);
            static_cast<void>(co_await buffer.recv());
        }
        co_await other;
    });
}

TEST_CASE("fairness: so does one that only selects among ready channels")
{
    leat::runtime pool{{.workers = 1}};
    pool.block_on([]() -> task<> {
        std::atomic<bool> over{false};
        auto other = leat::spawn([&] { over = true; });
        leat::channel<int> closed;
        closed.close();
        leat::channel<int> never;
        while (!over)
            static_cast<void>(co_await leat::select(closed.recv(), never.recv()));
        co_await other;
    });
}

TEST_CASE("fairness: so does one whose selects always take otherwise")
{
    leat::runtime pool{{.workers = 1}};
    pool.block_on([]() -> task<> {
        std::atomic<bool> over{false};
        auto other = leat::spawn([&] { over = true; });
        leat::channel<int> never;
        while (!over)
            co_await leat::select(leat::on(never.recv(), [](std::optional<int>) {}), leat::otherwise([] {}));
        co_await other;
    });
}

TEST_CASE("fairness: so does one that joins tasks which have ended")
{
    leat::sim::world world;
    world.run([]() -> task<> {
        bool over = false;
        auto other = leat::spawn([&] { over = true; });
        leat::timer fired{0ns};
        while (!over) {
            co_await leat::sleep_for(0ns);
            co_await leat::with_group([](leat::task_group&) -> task<> { co_return; });
        }
        co_await other;
    });
}

TEST_CASE("fairness: a busy loop over ready channels hears of its cancellation")
{
    leat::runtime pool{{.workers = 1}};
    auto busy = pool.spawn([]() -> task<> {
        leat::channel<int> buffer{1};
        for (;;) {
            co_await buffer.send(1);
            static_cast<void>(co_await buffer.recv());
        }
    });
    const auto why = pool.block_on([&]() -> task<std::error_code> {
        co_await leat::sleep_for(1ms);
        busy.cancel();
        auto got = co_await leat::as_result(busy.join());
        co_return got.error();
    });
    CHECK(why == leat::errc::cancelled);
}

TEST_CASE("fairness: many tasks that all yield take turns")
{
    leat::runtime pool{{.workers = 1}};
    pool.block_on([]() -> task<> {
        constexpr int tasks = 50;
        int turns[tasks] = {};
        int most = 0;
        co_await leat::with_group([&](leat::task_group& group) -> task<> {
            for (int t = 0; t < tasks; ++t)
                co_await group.spawn([&, t]() -> task<> {
                    for (int i = 0; i < 1000; ++i) {
                        ++turns[t];
                        int least = turns[t];
                        for (const int each : turns)
                            least = std::min(least, each);
                        most = std::max(most, turns[t] - least);
                        co_await leat::this_task::yield();
                    }
                });
        });
        MESSAGE("the first was at most " << most << " turns ahead of the last");
        CHECK(most <= 64);
    });
}

TEST_CASE(
    "fairness: of more tasks than a worker's queue holds none waits for much longer than all take for a turn")
{
    leat::runtime pool{{.workers = 1}};
    pool.block_on([]() -> task<> {
        constexpr int tasks = 2000;
        int turns = 0;
        int longest = 0;
        int running = 0;
        co_await leat::with_group([&](leat::task_group& group) -> task<> {
            for (int t = 0; t < tasks; ++t)
                co_await group.spawn([&]() -> task<> {
                    // Until all are there it is them who are spawned that wait.
                    ++running;
                    while (running < tasks)
                        co_await leat::this_task::yield();
                    co_await leat::this_task::yield();
                    for (int i = 0; i < 50; ++i) {
                        const int before = ++turns;
                        co_await leat::this_task::yield();
                        longest = std::max(longest, turns - before);
                    }
                });
        });
        MESSAGE("a task waited for at most " << longest << " turns of others");
        CHECK(longest <= 2 * tasks);
    });
}

// ---- Beside a long turn there are idle workers --------------------------------------------------

TEST_CASE("fairness: what a worker has made ready does not wait for the end of its turn if others are idle")
{
    for (const int workers : {2, 4}) {
        leat::runtime pool{{.workers = workers}};
        const bool ran = pool.block_on([&]() -> task<bool> {
            bool all = true;
            for (int round = 0; round < 10; ++round) {
                leat::channel<int> values{1};
                std::atomic<bool> parked{false};
                std::atomic<bool> woken{false};
                auto receiver = leat::spawn([&]() -> task<> {
                    parked = true;
                    static_cast<void>(co_await values.recv());
                    woken = true;
                });
                while (!parked)
                    co_await leat::this_task::yield();
                co_await values.send(round);
                all = spin_until(woken) && all;
                co_await receiver;
            }
            co_return all;
        });
        CHECK(ran);
    }
}

TEST_CASE("fairness: timers of a worker in a long turn do not wait for its end if others are idle")
{
    for (const int workers : {2, 4}) {
        leat::runtime pool{{.workers = workers}};
        const bool ran = pool.block_on([&]() -> task<bool> {
            bool all = true;
            for (int round = 0; round < 10; ++round) {
                std::atomic<bool> woken{false};
                // One that wakes the spinner, so that he may come from the reactor; one that he spins for.
                auto sleeper = leat::spawn([&]() -> task<> {
                    co_await leat::sleep_for(10ms);
                    woken = true;
                });
                co_await leat::sleep_for(3ms);
                all = spin_until(woken) && all;
                co_await sleeper;
            }
            co_return all;
        });
        CHECK(ran);
    }
}
