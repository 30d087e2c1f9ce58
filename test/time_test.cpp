#include <leat/leat.hpp>

#include "support/rounds.hpp"
#include "support/scale.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <random>
#include <ratio>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

using namespace std::chrono_literals;
using leat::task;
using leat::ticker;
using leat::timer;
using test::scaled;

static_assert(leat::clock::is_steady);
static_assert(std::is_same_v<leat::clock::duration, std::chrono::nanoseconds>);
static_assert(!std::is_copy_constructible_v<timer>);
static_assert(std::is_nothrow_move_constructible_v<timer>);
static_assert(std::is_nothrow_move_assignable_v<timer>);
static_assert(std::is_nothrow_move_constructible_v<ticker>);

namespace {

/// Virtual time, in milliseconds since the world was made.
std::int64_t ms()
{
    return std::chrono::duration_cast<std::chrono::milliseconds>(leat::clock::now().time_since_epoch())
        .count();
}

std::int64_t ms(leat::clock::time_point at)
{
    return std::chrono::duration_cast<std::chrono::milliseconds>(at.time_since_epoch()).count();
}

}  // namespace

// ---- The clock -------------------------------------------------------------------------------------

TEST_CASE("clock: outside of every runtime it is the steady clock")
{
    const auto before = std::chrono::steady_clock::now().time_since_epoch();
    const auto now = leat::clock::now().time_since_epoch();
    const auto after = std::chrono::steady_clock::now().time_since_epoch();
    CHECK(before <= now);
    CHECK(now <= after);
}

TEST_CASE("clock: in a world it is virtual, and stands still while tasks run")
{
    leat::sim::world world;
    CHECK(leat::clock::now().time_since_epoch() == 0ns);
    world.run([]() -> task<> {
        for (int i = 0; i < 1000; ++i)
            co_await leat::this_task::yield();
        CHECK(leat::clock::now().time_since_epoch() == 0ns);
        co_await leat::sleep_for(1ns);
        CHECK(leat::clock::now().time_since_epoch() == 1ns);
    });
}

// ---- Sleeping --------------------------------------------------------------------------------------

TEST_CASE("sleep: takes exactly its span of virtual time")
{
    leat::sim::world world;
    world.run([]() -> task<> {
        co_await leat::sleep_for(1ns);
        CHECK(leat::clock::now().time_since_epoch() == 1ns);
        co_await leat::sleep_for(3h);
        CHECK(leat::clock::now().time_since_epoch() == 3h + 1ns);
        co_await leat::sleep_until(leat::clock::time_point{4h});
        CHECK(leat::clock::now().time_since_epoch() == 4h);
    });
    CHECK(world.now() == 4h);
}

TEST_CASE("sleep: zero, negative and past spans do not wait")
{
    leat::sim::world world;
    world.advance(1h);
    world.run([]() -> task<> {
        co_await leat::sleep_for(0s);
        co_await leat::sleep_for(-1s);
        co_await leat::sleep_for(leat::clock::duration::min());
        co_await leat::sleep_for(std::chrono::hours::min());
        co_await leat::sleep_until(leat::clock::time_point{1h});
        co_await leat::sleep_until(leat::clock::time_point{1s});
        co_await leat::sleep_until(leat::clock::time_point::min());
    });
    CHECK(world.now() == 1h);
}

TEST_CASE("sleep: spans beyond the end of time are for ever, whatever their unit")
{
    leat::sim::world world;
    world.advance(1h);
    world.run([]() -> task<> {
        auto forever = [](auto span) -> task<> {
            const auto slept = co_await leat::as_result(leat::timeout(1h, leat::sleep_for(span)));
            CHECK(slept.error() == leat::errc::deadline_exceeded);
        };
        co_await forever(leat::clock::duration::max());
        co_await forever(std::chrono::hours::max());
        co_await forever(std::chrono::duration<double, std::ratio<86400>>{1e30});
        const auto slept =
            co_await leat::as_result(leat::timeout(1h, leat::sleep_until(leat::clock::time_point::max())));
        CHECK(slept.error() == leat::errc::deadline_exceeded);
    });
    CHECK(world.now() == 5h);
    CHECK_THROWS_AS(world.run([]() -> task<> { co_await leat::sleep_for(std::chrono::hours::max()); }),
                    leat::deadlock_error);
}

TEST_CASE("sleep: spans that the clock can not express are rounded up")
{
    leat::sim::world world;
    world.run([]() -> task<> {
        co_await leat::sleep_for(std::chrono::duration<std::int64_t, std::pico>{1});
        CHECK(leat::clock::now().time_since_epoch() == 1ns);
        co_await leat::sleep_for(std::chrono::duration<double>{1.5});
        CHECK(leat::clock::now().time_since_epoch() == 1500ms + 1ns);
    });
}

TEST_CASE("sleep: sleepers wake in the order of their times, however they began")
{
    leat::sim::world world;
    std::mt19937 random{static_cast<std::uint32_t>(world.seed())};
    INFO("seed ", world.seed());
    std::vector<std::int64_t> spans;
    for (int i = 0; i < 2000; ++i)
        spans.push_back(1 + static_cast<std::int64_t>(random() % 1000) * (i % 7 == 0 ? 1'000'000 : 1));
    std::vector<std::int64_t> woken;
    world.run([&]() -> task<> {
        std::vector<leat::join_handle<>> all;
        for (const std::int64_t span : spans)
            all.push_back(leat::spawn([&woken, span]() -> task<> {
                co_await leat::sleep_for(std::chrono::nanoseconds{span});
                CHECK(leat::clock::now().time_since_epoch().count() == span);
                woken.push_back(span);
            }));
        for (auto& each : all)
            co_await each;
    });
    std::sort(spans.begin(), spans.end());
    CHECK(woken == spans);
}

TEST_CASE("sleep: cancelled, it leaves no timer behind")
{
    leat::sim::world world;
    world.run([]() -> task<> {
        auto sleeper = leat::spawn([]() -> task<> { co_await leat::sleep_for(1h); });
        co_await leat::sleep_for(1ms);
        sleeper.cancel();
        const auto got = co_await leat::as_result(std::move(sleeper));
        CHECK(got.error() == leat::errc::cancelled);
    });
    CHECK(!world.step());
    CHECK(world.now() == 1ms);
}

TEST_CASE("sleep: on the pool never ends early")
{
    leat::run(
        []() -> task<> {
            std::vector<leat::join_handle<>> all;
            for (int i = 0; i < 200; ++i)
                all.push_back(leat::spawn([i]() -> task<> {
                    const auto span = std::chrono::microseconds{i * 37 % 5000};
                    const auto before = std::chrono::steady_clock::now();
                    const auto until = leat::clock::now() + span;
                    co_await leat::sleep_for(span);
                    CHECK(std::chrono::steady_clock::now() - before >= span);
                    CHECK(leat::clock::now() >= until);
                    const auto later = leat::clock::now() + span;
                    co_await leat::sleep_until(later);
                    CHECK(leat::clock::now() >= later);
                }));
            for (auto& each : all)
                co_await each;
        },
        {.workers = 2});
}

TEST_CASE("sleep: one on each worker ends while another worker never lets go of its turn")
{
    leat::runtime pool{{.workers = 2}};
    std::atomic<bool> slept{false};
    pool.block_on([&]() -> task<> {
        auto sleeper = leat::spawn([&]() -> task<> {
            for (int i = 0; i < 20; ++i)
                co_await leat::sleep_for(100us);
            slept = true;
        });
        auto hog = leat::spawn([&]() -> task<> {
            while (!slept)
                std::this_thread::yield();
            co_return;
        });
        co_await sleeper;
        co_await hog;
    });
    CHECK(slept);
}

TEST_CASE(
    "time: after a turn that was too long, those whose time has passed go on in the order of their times")
{
    enum class kind { sleep, timer, deadline };
    for (const kind of : {kind::sleep, kind::timer, kind::deadline}) {
        CAPTURE(static_cast<int>(of));
        constexpr int count = 100;  // more than expire for one taking of the lock
        std::vector<int> woken;
        bool all_waited = false;
        const auto attempt = [&]() -> task<> {
            woken.clear();
            const auto first = leat::clock::now() + 20ms;
            const auto wait_until = [&](leat::clock::time_point when) -> task<> {
                if (of == kind::sleep) {
                    co_await leat::sleep_until(when);
                } else if (of == kind::timer) {
                    timer due{when - leat::clock::now()};
                    co_await due.wait();
                } else {
                    auto [limit, cancel] = leat::with_deadline(leat::background(), when);
                    co_await limit.done();
                }
            };
            co_await leat::with_group([&](leat::task_group& group) -> task<> {
                for (int i = 0; i < count; ++i)
                    co_await group.spawn([&, i]() -> task<> {
                        co_await wait_until(first + i * 100us);
                        woken.push_back(i);
                    });
                co_await leat::this_task::yield();
                all_waited = leat::clock::now() < first;
                while (leat::clock::now() < first + count * 100us + 1ms) {}
            });
        };
        // Who begins to wait when his time has passed does not wait: on a busy machine it takes another attempt.
        while (!all_waited)
            leat::run(attempt, {.workers = 1});
        CHECK(woken.size() == count);
        CHECK(std::is_sorted(woken.begin(), woken.end()));
    }
}

// ---- after -----------------------------------------------------------------------------------------

TEST_CASE("after: is a case that becomes ready when its span has passed since the select began")
{
    leat::sim::world world;
    std::string story;
    world.run([&]() -> task<> {
        leat::channel<int> never;
        co_await leat::select(leat::on(never.recv(), [&] { story += "received "; }),
                              leat::on(leat::after(20ms), [&] { story += "second "; }),
                              leat::on(leat::after(10ms), [&] { story += "first "; }));
        CHECK(ms() == 10);
        auto late = leat::after(5ms);
        co_await leat::sleep_for(30ms);
        co_await leat::select(leat::on(late, [&] { story += "late"; }), leat::on(never.recv(), [] {}));
        CHECK(ms() == 45);
    });
    CHECK(story == "first late");
    CHECK(!world.step());
}

TEST_CASE("after: zero and negative spans are ready at once, so otherwise is not")
{
    leat::sim::world world;
    world.run([]() -> task<> {
        for (const auto span : {0ms, -5ms}) {
            int chosen = 0;
            co_await leat::select(leat::on(leat::after(span), [&] { chosen = 1; }),
                                  leat::otherwise([&] { chosen = 2; }));
            CHECK(chosen == 1);
        }
        int chosen = 0;
        co_await leat::select(leat::on(leat::after(1ns), [&] { chosen = 1; }),
                              leat::otherwise([&] { chosen = 2; }));
        CHECK(chosen == 2);
    });
    CHECK(world.now() == 0ns);
}

TEST_CASE("after: losing a select disarms it, a million times over")
{
    leat::sim::world world;
    const int rounds = test::rounds(1'000'000);
    world.run([&]() -> task<> {
        leat::channel<int> ready{1};
        for (int i = 0; i < rounds; ++i) {
            co_await ready.send(i);
            std::optional<int> got;
            co_await leat::select(leat::on(ready.recv(), [&](std::optional<int> v) { got = v; }),
                                  leat::on(leat::after(1h), [] {}));
            if (got != i)
                FAIL("the timer won in round ", i);
        }
    });
    CHECK(!world.step());
    CHECK(world.now() == 0ns);
}

// ---- timer -----------------------------------------------------------------------------------------

TEST_CASE("timer: fires once, at its time, and says when that was")
{
    leat::sim::world world;
    world.run([]() -> task<> {
        timer t{10ms};
        const auto when = co_await t.wait();
        CHECK(ms() == 10);
        CHECK(ms(when) == 10);
        const auto again = co_await leat::as_result(leat::timeout(1h, t.wait()));
        CHECK(again.error() == leat::errc::deadline_exceeded);
    });
}

TEST_CASE("timer: a firing that nobody waits for is kept for the next wait, with its time")
{
    leat::sim::world world;
    world.run([]() -> task<> {
        timer t{10ms};
        co_await leat::sleep_for(50ms);
        const auto when = co_await t.wait();
        CHECK(ms() == 50);
        CHECK(ms(when) == 10);
    });
}

TEST_CASE("timer: spans that have passed fire at once, those beyond the end of time never")
{
    leat::sim::world world;
    world.run([]() -> task<> {
        for (const auto span : {0ms, -10ms}) {
            timer t{span};
            co_await t.wait();
            CHECK(ms() == 0);
        }
        timer never{std::chrono::hours::max()};
        const auto waited = co_await leat::as_result(leat::timeout(1h, never.wait()));
        CHECK(waited.error() == leat::errc::deadline_exceeded);
        CHECK(never.stop());
        never.reset(std::chrono::hours::max());
        CHECK(never.reset(1ms));
        co_await never.wait();
    });
    CHECK(world.now() == 1h + 1ms);
}

TEST_CASE("timer: stop says whether it prevented the firing")
{
    leat::sim::world world;
    world.run([]() -> task<> {
        timer armed{10ms};
        CHECK(armed.stop());
        CHECK(!armed.stop());
        timer fired{10ms};
        co_await fired.wait();
        CHECK(!fired.stop());
        timer untaken{10ms};
        co_await leat::sleep_for(20ms);
        CHECK(untaken.stop());
        CHECK(!untaken.stop());
        for (timer* const each : {&armed, &fired, &untaken}) {
            const auto waited = co_await leat::as_result(leat::timeout(1s, each->wait()));
            CHECK(waited.error() == leat::errc::deadline_exceeded);
        }
    });
}

TEST_CASE("timer: reset sets it anew, before and after firing, and takes back what nobody took")
{
    leat::sim::world world;
    world.run([]() -> task<> {
        timer t{10ms};
        CHECK(t.reset(30ms));
        co_await t.wait();
        CHECK(ms() == 30);
        CHECK(!t.reset(5ms));
        co_await t.wait();
        CHECK(ms() == 35);
        t.reset(1ms);
        co_await leat::sleep_for(10ms);
        CHECK(t.reset(10ms));
        const auto when = co_await t.wait();
        CHECK(ms() == 55);
        CHECK(ms(when) == 55);
        CHECK(!t.reset(-1ms));
        co_await t.wait();
        CHECK(ms() == 55);
    });
    CHECK(!world.step());
}

TEST_CASE("timer: whoever waits hears of a reset; stopped, he waits until it is set again")
{
    leat::sim::world world;
    std::vector<std::int64_t> woken;
    world.run([&]() -> task<> {
        timer t{10ms};
        auto waiter = leat::spawn([&]() -> task<> {
            for (int i = 0; i < 2; ++i) {
                co_await t.wait();
                woken.push_back(ms());
            }
        });
        co_await leat::sleep_for(5ms);
        CHECK(t.reset(10ms));
        co_await leat::sleep_for(15ms);
        t.reset(1h);
        CHECK(t.stop());
        co_await leat::sleep_for(20ms);
        CHECK(!t.reset(10ms));
        co_await waiter;
    });
    CHECK(woken == std::vector<std::int64_t>{15, 50});
}

TEST_CASE("timer: one firing wakes one of those who wait, in their order")
{
    leat::sim::world world;
    std::vector<int> woken;
    world.run([&]() -> task<> {
        timer t{10ms};
        std::vector<leat::join_handle<>> all;
        for (int i = 0; i < 3; ++i) {
            all.push_back(leat::spawn([&, i]() -> task<> {
                co_await t.wait();
                woken.push_back(i);
            }));
            co_await leat::sleep_for(1ms);
        }
        co_await leat::sleep_for(20ms);
        CHECK(woken == std::vector<int>{0});
        t.reset(1ms);
        co_await leat::sleep_for(5ms);
        CHECK(woken == std::vector<int>{0, 1});
        all[2].cancel();
        static_cast<void>(co_await leat::as_result(std::move(all[2])));
    });
}

TEST_CASE("timer: a wait that is cancelled has not taken the firing")
{
    leat::sim::world world;
    world.run([]() -> task<> {
        timer t{10ms};
        auto waiter = leat::spawn([&]() -> task<> { co_await t.wait(); });
        co_await leat::sleep_for(5ms);
        waiter.cancel();
        const auto got = co_await leat::as_result(std::move(waiter));
        CHECK(got.error() == leat::errc::cancelled);
        const auto when = co_await t.wait();
        CHECK(ms(when) == 10);
    });
}

TEST_CASE("timer: is a case of select; losing, its firing is kept")
{
    leat::sim::world world;
    world.run([]() -> task<> {
        timer slow{20ms};
        timer quick{10ms};
        int chosen = 0;
        co_await leat::select(leat::on(slow.wait(), [&] { chosen = 1; }),
                              leat::on(quick.wait(), [&] { chosen = 2; }));
        CHECK(chosen == 2);
        co_await leat::sleep_for(50ms);
        const auto when = co_await slow.wait();
        CHECK(ms(when) == 20);
    });
}

TEST_CASE("timer: can be moved and assigned to; what it was is stopped")
{
    leat::sim::world world;
    world.run([]() -> task<> {
        timer a{10ms};
        timer b = std::move(a);
        const auto first = co_await b.wait();
        CHECK(ms(first) == 10);
        timer c{10ms};
        c = timer{30ms};
        const auto second = co_await c.wait();
        CHECK(ms(second) == 40);
    });
    CHECK(!world.step());
}

TEST_CASE("timer: destroying one that somebody waits for stops it; the wait goes on until it is cancelled")
{
    leat::sim::world world;
    world.run([]() -> task<> {
        auto t = std::make_unique<timer>(10ms);
        auto waiter = leat::spawn([&]() -> task<> { co_await t->wait(); });
        auto chooser = leat::spawn([&]() -> task<int> {
            int chosen = 0;
            co_await leat::select(leat::on(t->wait(), [&] { chosen = 1; }),
                                  leat::on(leat::after(50ms), [&] { chosen = 2; }));
            co_return chosen;
        });
        co_await leat::sleep_for(5ms);
        t.reset();
        const int chosen = co_await chooser;
        CHECK(chosen == 2);
        CHECK(ms() == 50);
        CHECK(!waiter.done());
        waiter.cancel();
        const auto got = co_await leat::as_result(std::move(waiter));
        CHECK(got.error() == leat::errc::cancelled);
    });
    CHECK(world.live_tasks() == 0);
}

TEST_CASE("timer: one that outlives its world or runtime is inert")
{
    std::optional<timer> of_world;
    std::optional<timer> fired;
    std::optional<ticker> ticks;
    {
        leat::sim::world world;
        of_world.emplace(1h);
        fired.emplace(1ms);
        ticks.emplace(1h);
        world.advance(1s);
    }
    CHECK(of_world->stop());
    CHECK(!of_world->reset(1s));
    CHECK(!of_world->stop());
    CHECK(fired->stop());
    ticks->reset(1s);
    ticks->stop();

    std::optional<timer> of_pool;
    leat::run(
        [&]() -> task<> {
            of_pool.emplace(1h);
            co_return;
        },
        {.workers = 2});
    leat::run(
        [&]() -> task<> {
            of_pool->reset(1us);
            const auto waited = co_await leat::as_result(leat::timeout(2ms, of_pool->wait()));
            CHECK(waited.error() == leat::errc::deadline_exceeded);
        },
        {.workers = 1});
}

TEST_CASE("timer: stopped and set anew by another thread while its runtime ends")
{
    for (std::size_t round = 0; round < scaled(300); ++round) {
        auto pool = std::make_unique<leat::runtime>(leat::runtime_options{.workers = 2});
        std::optional<timer> made;
        auto make = [&]() -> task<> {
            made.emplace(1h);
            co_return;
        };
        pool->block_on(make);
        std::atomic<bool> over{false};
        std::atomic<bool> began{false};
        std::thread elsewhere{[&] {
            while (!over.load()) {
                made->reset(1h);
                began.store(true);
            }
            made->reset(1h);
            CHECK(!made->stop());
        }};
        while (!began.load())
            std::this_thread::yield();
        pool.reset();
        over.store(true);
        elsewhere.join();
    }
}

TEST_CASE("timer: outside of every task and world it is refused; on a world's thread it is the world's")
{
    CHECK_THROWS_AS(timer{1ms}, leat::usage_error);
    CHECK_THROWS_AS(ticker{1ms}, leat::usage_error);
    leat::sim::world world;
    timer t{10ms};
    world.run([&]() -> task<> { co_await t.wait(); });
    CHECK(world.now() == 10ms);
}

TEST_CASE("timer: after stop has returned it does not fire, on the pool")
{
    leat::runtime pool{{.workers = 3}};
    const int rounds = test::rounds(20'000);
    std::atomic<int> prevented{0};
    pool.block_on([&]() -> task<> {
        std::vector<leat::join_handle<>> all;
        for (int lane = 0; lane < 4; ++lane)
            all.push_back(leat::spawn([&, lane]() -> task<> {
                timer t{1h};
                for (int i = 0; i < rounds / 4; ++i) {
                    t.reset(std::chrono::microseconds{(i + lane) % 3 * 60});
                    for (int k = (i * 7 + lane) % 5; k > 0; --k)
                        co_await leat::this_task::yield();
                    if (i % 16 == 0)
                        co_await leat::sleep_for(70us);
                    prevented += t.stop() ? 1 : 0;
                    bool stale = false;
                    co_await leat::select(leat::on(t.wait(), [&] { stale = true; }), leat::otherwise([] {}));
                    if (i % 64 == 0) {
                        co_await leat::sleep_for(200us);
                        co_await leat::select(leat::on(t.wait(), [&] { stale = true; }),
                                              leat::otherwise([] {}));
                    }
                    if (stale)
                        FAIL("a stale firing in round ", i);
                }
            }));
        for (auto& each : all)
            co_await each;
    });
    CHECK(prevented > 0);
}

TEST_CASE("timer: after reset has returned it fires for the new time only, and once, on the pool")
{
    leat::runtime pool{{.workers = 3}};
    const int rounds = test::rounds(2'000);
    pool.block_on([&]() -> task<> {
        std::vector<leat::join_handle<>> all;
        for (int lane = 0; lane < 4; ++lane)
            all.push_back(leat::spawn([&, lane]() -> task<> {
                timer t{0us};
                for (int i = 0; i < rounds / 4; ++i) {
                    if ((i + lane) % 2 == 0)
                        co_await leat::this_task::yield();
                    const auto not_before = leat::clock::now() + 100us;
                    t.reset(100us);
                    const auto due = co_await t.wait();
                    CHECK(due >= not_before);
                    CHECK(leat::clock::now() >= due);
                    bool twice = false;
                    co_await leat::select(leat::on(t.wait(), [&] { twice = true; }), leat::otherwise([] {}));
                    CHECK(!twice);
                    t.reset(0us);
                }
            }));
        for (auto& each : all)
            co_await each;
    });
}

TEST_CASE("timer: stopped, set, waited for and destroyed while others fire on every worker")
{
    leat::runtime pool{{.workers = 4}};
    const int rounds = test::rounds(4'000);
    const std::uint64_t seed = std::random_device{}();
    INFO("seed ", seed);
    std::atomic<int> firings{0};
    pool.block_on([&]() -> task<> {
        std::vector<leat::join_handle<>> all;
        for (std::uint64_t lane = 0; lane < 8; ++lane)
            all.push_back(leat::spawn([&, lane]() -> task<> {
                std::mt19937_64 random{seed + lane};
                for (int i = 0; i < rounds / 8; ++i) {
                    timer t{std::chrono::microseconds{random() % 200}};
                    auto waiter = leat::spawn([&]() -> task<> {
                        const auto got = co_await leat::as_result(t.wait());
                        firings += got ? 1 : 0;
                    });
                    for (auto steps = random() % 4; steps > 0; --steps) {
                        if (random() % 2 == 0)
                            t.reset(std::chrono::microseconds{random() % 100});
                        else
                            t.stop();
                        co_await leat::this_task::yield();
                    }
                    if (random() % 8 == 0)
                        co_await leat::sleep_for(150us);
                    waiter.cancel();
                    co_await waiter;
                }
            }));
        for (auto& each : all)
            co_await each;
    });
    MESSAGE(firings.load(), " firings were taken");
}

TEST_CASE("timer: a million armed and stopped")
{
    leat::sim::world world;
    const int rounds = test::rounds(1'000'000);
    world.run([&]() -> task<> {
        std::vector<timer> all;
        for (int i = 0; i < 1000; ++i)
            all.emplace_back(std::chrono::milliseconds{1 + i});
        for (int i = 0; i < rounds; ++i)
            all[static_cast<std::size_t>(i) % 1000].reset(std::chrono::milliseconds{1 + i % 100'000});
        for (timer& each : all)
            CHECK(each.stop());
        co_return;
    });
    CHECK(!world.step());
    CHECK(world.now() == 0ns);
}

TEST_CASE("sleep: a hundred thousand at once end, each at its time")
{
    leat::sim::world world;
    const int count = static_cast<int>(scaled(100'000));
    int ended = 0;
    world.run([&]() -> task<> {
        for (int i = 0; i < count; ++i)
            leat::spawn([&ended, i]() -> task<> {
                const auto span = std::chrono::microseconds{1 + i * 7919LL % 1'000'003};
                co_await leat::sleep_for(span);
                ended += leat::clock::now().time_since_epoch() == span ? 1 : 0;
            }).detach();
        co_await leat::sleep_for(2s);
    });
    CHECK(ended == count);
    CHECK(world.live_tasks() == 0);
}

// ---- ticker ----------------------------------------------------------------------------------------

TEST_CASE("ticker: ticks once each period, on the beat however long the reader takes")
{
    leat::sim::world world;
    std::vector<std::int64_t> heard;
    world.run([&]() -> task<> {
        ticker t{10ms};
        for (int i = 0; i < 5; ++i) {
            const auto when = co_await t.tick();
            CHECK(ms(when) == ms());
            heard.push_back(ms());
            co_await leat::sleep_for(3ms);
        }
    });
    CHECK(heard == std::vector<std::int64_t>{10, 20, 30, 40, 50});
}

TEST_CASE("ticker: missed ticks do not pile up")
{
    leat::sim::world world;
    world.run([]() -> task<> {
        ticker t{10ms};
        co_await leat::sleep_for(95ms);
        const auto missed = co_await t.tick();
        CHECK(ms() == 95);
        CHECK(ms(missed) % 10 == 0);
        CHECK(ms(missed) <= 90);
        const auto next = co_await t.tick();
        CHECK(ms() == 100);
        CHECK(ms(next) == 100);
    });
}

TEST_CASE("ticker: stop takes back the tick that nobody took; reset begins anew with another period")
{
    leat::sim::world world;
    world.run([]() -> task<> {
        ticker t{10ms};
        co_await leat::sleep_for(15ms);
        t.stop();
        const auto waited = co_await leat::as_result(leat::timeout(100ms, t.wait()));
        CHECK(waited.error() == leat::errc::deadline_exceeded);
        t.reset(7ms);
        for (int i = 1; i <= 3; ++i) {
            co_await t.tick();
            CHECK(ms() == 115 + 7 * i);
        }
        co_await leat::sleep_for(8ms);
        t.reset(20ms);
        co_await t.tick();
        CHECK(ms() == 115 + 21 + 8 + 20);
    });
    CHECK(!world.step());
}

TEST_CASE("ticker: a period that is not positive is refused")
{
    leat::sim::world world;
    CHECK_THROWS_AS(ticker{0ms}, leat::usage_error);
    CHECK_THROWS_AS(ticker{-1ms}, leat::usage_error);
    world.run([]() -> task<> {
        ticker t{10ms};
        CHECK_THROWS_AS(t.reset(0ms), leat::usage_error);
        CHECK_THROWS_AS(t.reset(-1s), leat::usage_error);
        co_await t.tick();
        CHECK(ms() == 10);
    });
}

TEST_CASE("ticker: the longest period never ticks twice, nor overflows")
{
    leat::sim::world world;
    world.advance(1h);
    world.run([]() -> task<> {
        ticker never{leat::clock::duration::max()};
        ticker rarely{leat::clock::duration::max() / 2};
        const auto waited =
            co_await leat::as_result(leat::timeout(1h, leat::when_any(never.tick(), rarely.tick())));
        CHECK(waited.error() == leat::errc::deadline_exceeded);
        co_await rarely.tick();
        const auto again = co_await leat::as_result(leat::timeout(1h, rarely.tick()));
        CHECK(again.error() == leat::errc::deadline_exceeded);
    });
}

TEST_CASE("ticker: is a case of select; destroyed while somebody waits, it ticks no more")
{
    leat::sim::world world;
    int ticks = 0;
    world.run([&]() -> task<> {
        auto t = std::make_unique<ticker>(10ms);
        auto reader = leat::spawn([&]() -> task<> {
            bool more = true;
            while (more)
                co_await leat::select(leat::on(t->tick(), [&] { ++ticks; }),
                                      leat::on(leat::after(25ms), [&] { more = false; }));
        });
        co_await leat::sleep_for(35ms);
        t.reset();
        co_await reader;
        CHECK(ms() == 55);
    });
    CHECK(ticks == 3);
}

TEST_CASE("ticker: on the pool it is never early, and keeps the beat")
{
    leat::run(
        []() -> task<> {
            const auto began = leat::clock::now();
            ticker t{1ms};
            auto last = began;
            for (int i = 0; i < 10; ++i) {
                const auto due = co_await t.tick();
                CHECK(leat::clock::now() >= due);
                CHECK(due > last);
                CHECK((due - began) >= 1ms);
                CHECK((due - last) % 1ms == (last == began ? (due - began) % 1ms : 0ms));
                last = due;
            }
        },
        {.workers = 2});
}

TEST_CASE("ticker: stopped and set again while it ticks, on the pool")
{
    leat::runtime pool{{.workers = 3}};
    const int rounds = test::rounds(3'000);
    pool.block_on([&]() -> task<> {
        std::vector<leat::join_handle<>> all;
        for (int lane = 0; lane < 4; ++lane)
            all.push_back(leat::spawn([&, lane]() -> task<> {
                ticker t{20us};
                for (int i = 0; i < rounds / 4; ++i) {
                    if ((i + lane) % 3 == 0)
                        co_await t.tick();
                    else
                        co_await leat::this_task::yield();
                    t.stop();
                    bool stale = false;
                    co_await leat::select(leat::on(t.tick(), [&] { stale = true; }), leat::otherwise([] {}));
                    if (stale)
                        FAIL("a stale tick in round ", i);
                    t.reset(std::chrono::microseconds{10 + i % 90});
                }
            }));
        for (auto& each : all)
            co_await each;
    });
}
