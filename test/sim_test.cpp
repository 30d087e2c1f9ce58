#include <leat/leat.hpp>
#include <leat/sim.hpp>

#include "support/counted.hpp"
#include "support/in_child.hpp"
#include "support/rounds.hpp"
#include "support/scale.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

using namespace std::chrono_literals;
using leat::task;
using leat::sim::explore;
using leat::sim::explore_options;
using leat::sim::world;
using test::counted;

namespace {

/// Everything in which chance has a part, written down.
std::string story(std::uint64_t seed)
{
    world w{seed};
    std::string told;
    w.run([&]() -> task<> {
        leat::channel<int> values;
        leat::channel<int> others{2};
        std::vector<leat::join_handle<>> all;
        for (int i = 0; i < 5; ++i) {
            all.push_back(leat::spawn([&, i]() -> task<> {
                for (int k = 0; k < 4; ++k) {
                    co_await leat::this_task::yield();
                    co_await leat::select(leat::on(values.send(i * 10 + k), [&] { told += 's'; }),
                                          leat::on(others.send(i * 10 + k), [&] { told += 'o'; }),
                                          leat::on(leat::after(1ms), [&] { told += 't'; }));
                }
            }));
        }
        auto reader = leat::spawn([&]() -> task<> {
            for (;;)
                co_await leat::select(
                    leat::on(values.recv(), [&](std::optional<int> v) { told += std::to_string(*v) + ' '; }),
                    leat::on(others.recv(), [&](std::optional<int> v) { told += std::to_string(*v) + ','; }));
        });
        for (auto& each : all)
            co_await each;
        reader.cancel();
        static_cast<void>(co_await leat::as_result(std::move(reader)));
    });
    return told;
}

task<> take_turns(std::string& trace, char name, int yields)
{
    trace += name;
    for (int i = 0; i < yields; ++i) {
        co_await leat::this_task::yield();
        trace += name;
    }
}

/// Sets an environment variable for as long as it lives.
class environment {
public:
    environment(const char* name, const char* value) : name_{name}
    {
        ::setenv(name, value, 1);
    }
    environment(const environment&) = delete;
    environment& operator=(const environment&) = delete;
    ~environment()
    {
        ::unsetenv(name_);
    }

private:
    const char* name_;
};

/// Notes when it goes.
class goodbye {
public:
    goodbye(std::string& to, std::string name) : to_{&to}, name_{std::move(name)}
    {
    }
    goodbye(goodbye&& other) noexcept : to_{std::exchange(other.to_, nullptr)}, name_{std::move(other.name_)}
    {
    }
    goodbye& operator=(goodbye&&) = delete;
    ~goodbye()
    {
        if (to_ != nullptr)
            *to_ += name_ + '.';
    }

private:
    std::string* to_;
    std::string name_;
};

std::uint64_t binomial(std::uint64_t n, std::uint64_t k)
{
    std::uint64_t ways = 1;
    for (std::uint64_t i = 1; i <= k; ++i)
        ways = ways * (n - k + i) / i;
    return ways;
}

}  // namespace

// ---- Determinism -----------------------------------------------------------------------------------

TEST_CASE("world: the same seed tells the same story, another seed another")
{
    std::set<std::string> stories;
    for (std::uint64_t seed = 1; seed <= 20; ++seed) {
        const std::string told = story(seed);
        CHECK(story(seed) == told);
        stories.insert(told);
    }
    CHECK(stories.size() >= 19);
}

TEST_CASE("world: the seed comes from LEAT_SEED, else it is drawn")
{
    {
        const environment set{"LEAT_SEED", "12345"};
        CHECK(world{}.seed() == 12345);
        CHECK(world{7}.seed() == 7);
    }
    {
        const environment set{"LEAT_SEED", "0x10"};
        CHECK(world{}.seed() == 16);
    }
    CHECK(world{}.seed() != world{}.seed());
}

TEST_CASE("world: every order of ready tasks comes up")
{
    std::set<std::string> orders;
    for (std::uint64_t seed = 0; seed < 200; ++seed) {
        world w{seed};
        std::string trace;
        for (const char name : {'a', 'b', 'c'})
            w.spawn([&trace, name] { return take_turns(trace, name, 0); }).detach();
        w.settle();
        orders.insert(trace);
    }
    CHECK(orders.size() == 6);
}

// ---- Driving it ------------------------------------------------------------------------------------

TEST_CASE("world: run gives the result, or throws what the task throws")
{
    world w;
    CHECK(w.run([]() -> task<int> { co_return 3; }) == 3);
    CHECK(w.run([] { return 4; }) == 4);
    CHECK(*w.run([]() -> task<std::unique_ptr<int>> { co_return std::make_unique<int>(5); }) == 5);
    int place = 6;
    int& same = w.run([&]() -> task<int&> { co_return place; });
    CHECK(&same == &place);
    CHECK_THROWS_WITH_AS(w.run([]() -> task<> {
        throw std::runtime_error{"no"};
        co_return;
    }),
                         "no", std::runtime_error);
    CHECK(w.live_tasks() == 0);
}

TEST_CASE("world: a step is one turn of one task, or a move of the clock to the next timer")
{
    world w;
    std::string trace;
    w.spawn([&]() -> task<> {
         trace += 'a';
         co_await leat::this_task::yield();
         trace += 'b';
         co_await leat::sleep_for(5ms);
         trace += 'c';
     }).detach();
    CHECK(trace.empty());
    CHECK(w.live_tasks() == 1);
    CHECK(w.step());
    CHECK(trace == "a");
    CHECK(w.step());
    CHECK(trace == "ab");
    CHECK(w.now() == 0ms);
    CHECK(w.step());
    CHECK(trace == "ab");
    CHECK(w.now() == 5ms);
    CHECK(w.step());
    CHECK(trace == "abc");
    CHECK(w.live_tasks() == 0);
    CHECK(!w.step());
}

TEST_CASE("world: settle runs what is ready and leaves the clock alone")
{
    world w;
    int turns = 0;
    w.spawn([&]() -> task<> {
         for (;; ++turns) {
             for (int i = 0; i < 3; ++i)
                 co_await leat::this_task::yield();
             co_await leat::sleep_for(1ms);
         }
     }).detach();
    w.settle();
    CHECK(turns == 0);
    w.settle();
    CHECK(turns == 0);
    CHECK(w.now() == 0ms);
    CHECK(w.live_tasks() == 1);
}

TEST_CASE("world: advance moves the clock by exactly its span, through everything on the way")
{
    world w;
    std::vector<leat::clock::duration> beats;
    w.spawn([&]() -> task<> {
         for (;;) {
             co_await leat::sleep_for(3ms);
             beats.push_back(leat::clock::now().time_since_epoch());
         }
     }).detach();
    w.advance(10ms);
    CHECK(beats == std::vector<leat::clock::duration>{3ms, 6ms, 9ms});
    CHECK(w.now() == 10ms);
    w.advance(0ms);
    w.advance(2ms);
    CHECK(beats.back() == 12ms);
    CHECK(w.now() == 12ms);
    CHECK_THROWS_AS(w.advance(-1ns), leat::usage_error);
}

TEST_CASE("world: advance to the end of time comes to an end there")
{
    world w;
    w.advance(1h);
    w.advance(leat::clock::duration::max());
    CHECK(w.now() > 1'000'000h);
    w.advance(leat::clock::duration::max());
    const bool ended = w.run([]() -> task<bool> {
        const auto slept = co_await leat::as_result(leat::sleep_for(0s));
        co_return !slept.error();
    });
    CHECK(ended);
}

TEST_CASE("world: runs several mains in turn, and what is left goes on in between")
{
    world w;
    int beats = 0;
    w.run([&]() -> task<> {
        leat::spawn([&]() -> task<> {
            for (;; ++beats)
                co_await leat::sleep_for(1ms);
        }).detach();
        co_await leat::sleep_for(2ms + 500us);
    });
    CHECK(beats == 2);
    CHECK(w.live_tasks() == 1);
    w.run([]() -> task<> { co_await leat::sleep_for(3ms); });
    CHECK(beats == 5);
    CHECK(w.now() == 5500us);
}

TEST_CASE("world: blocking calls run at once")
{
    world w;
    const int got = w.run([]() -> task<int> {
        const int inner = co_await leat::blocking([] { return 8; });
        co_return inner;
    });
    CHECK(got == 8);
    CHECK(w.now() == 0ms);
}

TEST_CASE("world: tasks may be spawned on its thread from outside of every task")
{
    world w;
    int ran = 0;
    leat::spawn([&] { ++ran; }).detach();
    auto [ctx, cancel] = leat::with_timeout(w.context(), 5ms);
    auto sleeper = leat::spawn([]() -> task<> { co_await leat::sleep_for(1h); }, {.context = ctx});
    CHECK(ran == 0);
    w.advance(4ms);
    CHECK(ran == 1);
    CHECK(!sleeper.done());
    w.advance(1ms);
    CHECK(sleeper.done());
    CHECK_THROWS_AS(w.run([&]() -> task<> { co_await sleeper; }), leat::timed_out_error);
    CHECK(w.live_tasks() == 0);
}

// ---- Failure ---------------------------------------------------------------------------------------

TEST_CASE("world: what a detached task throws comes out of run, step, settle and advance")
{
    const auto fail = []() -> task<> {
        throw std::runtime_error{"alone"};
        co_return;
    };
    for (int how = 0; how < 4; ++how) {
        CAPTURE(how);
        world w;
        w.spawn(fail).detach();
        const auto drive = [&] {
            switch (how) {
            case 0: w.run([]() -> task<> { co_await leat::sleep_for(1ms); }); break;
            case 1: w.step(); break;
            case 2: w.settle(); break;
            default: w.advance(1ms); break;
            }
        };
        CHECK_THROWS_WITH_AS(drive(), "alone", std::runtime_error);
        w.advance(1ms);
        CHECK(w.live_tasks() == 0);
    }
}

TEST_CASE("world: a detached task that is cancelled has not failed")
{
    world w;
    w.run([]() -> task<> {
        auto sleeper = leat::spawn([]() -> task<> { co_await leat::sleep_for(1h); });
        co_await leat::sleep_for(1ms);
        sleeper.cancel();
        sleeper.detach();
        co_await leat::sleep_for(1ms);
    });
    CHECK(w.live_tasks() == 0);
}

// ---- Deadlock --------------------------------------------------------------------------------------

namespace {

task<> innermost(leat::channel<int> never)
{
    static_cast<void>(co_await never.recv());
}

task<> middle(leat::channel<int> never)
{
    [[maybe_unused]] int local = 0;
    co_await innermost(never);
}

}  // namespace

TEST_CASE("world: a deadlock is an error that lists each parked task with name, spawn place and await chain")
{
    world w{42};
    std::string report;
    try {
        w.run([]() -> task<> {
            leat::channel<int> never;
            leat::channel<int> full;
            auto reader = leat::spawn(middle(never), {.name = "the reader"});
            auto writer = leat::spawn([&]() -> task<> { co_await full.send(1); }, {.name = "the writer"});
            co_await reader;
            co_await writer;
        });
    } catch (const leat::deadlock_error& deadlock) {
        CHECK(deadlock.code() == leat::errc::deadlock);
        CHECK(deadlock.code() == std::errc::resource_deadlock_would_occur);
        report = deadlock.what();
    }
    INFO(report);
    const auto mentions = [&](const char* what) { return report.find(what) != std::string::npos; };
    CHECK(mentions("seed 42"));
    CHECK(mentions("LEAT_SEED"));
    CHECK(mentions("\"main\" waits for: join"));
    CHECK(mentions("\"the reader\" waits for: receive"));
    CHECK(mentions("\"the writer\" waits for: send"));
    const auto inner = report.find("innermost");
    CHECK(inner != std::string::npos);
    CHECK(report.find("middle", inner) != std::string::npos);
    CHECK(mentions("sim_test.cpp:"));
    CHECK(mentions("spawned in"));
    CHECK(w.report().find("the reader") != std::string::npos);
}

TEST_CASE("world: after a deadlock it can go on")
{
    world w;
    leat::channel<int> values;
    int got = 0;
    CHECK_THROWS_AS(w.run([&]() -> task<> { got = (co_await values.recv()).value_or(-1); }),
                    leat::deadlock_error);
    w.run([&]() -> task<> { co_await values.send(3); });
    w.settle();
    CHECK(got == 3);
    CHECK(w.live_tasks() == 0);
}

TEST_CASE("world: waiting for a timer is no deadlock, nor is a detached task that waits for ever")
{
    world w;
    w.run([]() -> task<> {
        leat::channel<int> never;
        leat::spawn([never]() -> task<> { static_cast<void>(co_await never.recv()); }).detach();
        co_await leat::sleep_for(10'000h);
    });
    CHECK(w.live_tasks() == 1);
}

// ---- The end ---------------------------------------------------------------------------------------

TEST_CASE("world: at its end, what is left is cancelled and ends by itself")
{
    bool cancelled = false;
    bool cleaned = false;
    {
        world w;
        w.spawn([&]() -> task<> {
             try {
                 co_await leat::sleep_for(1h);
             } catch (const leat::cancelled_error&) {
                 cancelled = true;
             }
             co_await leat::shield(1s, leat::sleep_for(500ms));
             cleaned = true;
         }).detach();
        w.settle();
    }
    CHECK(cancelled);
    CHECK(cleaned);
}

TEST_CASE("world: at its end, the deaf are destroyed, youngest first, innermost frame first")
{
    std::string gone;
    {
        leat::channel<int> never;  // whose end would wake them
        world w;
        auto deaf = [&](std::string name) -> task<> {
            const goodbye outer{gone, name + " outer"};
            auto inner = [&]() -> task<> {
                const goodbye local{gone, name + " inner"};
                static_cast<void>(co_await never.recv());
            };
            const leat::context shielded = leat::without_cancel(leat::this_task::context());
            co_await leat::with_context(shielded, inner());
        };
        w.spawn([&]() -> task<> {
             const goodbye parent{gone, "parent"};
             leat::spawn([&] { return deaf("child"); }).detach();
             co_await deaf("parent's own");
         }).detach();
        w.settle();
        CHECK(w.live_tasks() == 2);
        CHECK(gone.empty());
    }
    CHECK(gone == "child inner.child outer.parent's own inner.parent's own outer.parent.");
}

TEST_CASE("world: at its end, tasks that never ran, and what they captured, go")
{
    const int before = counted::live();
    bool ran = false;
    {
        world w;
        w.spawn([&, held = counted{1}]() -> task<> {
             ran = held.value == 1;
             co_return;
         }).detach();
        CHECK(counted::live() == before + 1);
    }
    CHECK(ran);
    CHECK(counted::live() == before);
}

TEST_CASE("world: a deaf task that runs for ever does not keep it")
{
    const int before = counted::live();
    int turns = 0;
    {
        world w;
        w.spawn([&]() -> task<> {
             const counted local;
             auto spin = [&]() -> task<> {
                 for (;; ++turns)
                     co_await leat::this_task::yield();
             };
             co_await leat::with_context(leat::background(), spin());
         }).detach();
        for (int i = 0; i < 10; ++i)
            w.step();
    }
    CHECK(turns > 10);
    CHECK(counted::live() == before);
}

TEST_CASE("world: cut short after any number of steps, it leaves nothing behind")
{
    const int before = counted::live();
    for (int steps = 0; steps < 150; ++steps) {
        CAPTURE(steps);
        {
            world w{99};
            w.spawn([]() -> task<> {
                 leat::channel<counted> values{1};
                 co_await leat::with_group([&](leat::task_group& group) -> task<> {
                     for (int i = 0; i < 3; ++i)
                         co_await group.spawn([&, i]() -> task<> {
                             for (int k = 0; k < 3; ++k) {
                                 co_await values.send(counted{i * 10 + k});
                                 co_await leat::sleep_for(1ms);
                             }
                         });
                     for (int i = 0; i < 9; ++i) {
                         const counted local{i};
                         co_await leat::select(leat::on(values.recv(), [](std::optional<counted>) {}),
                                               leat::on(leat::after(50ms), [] {}));
                     }
                 });
             }).detach();
            for (int i = 0; i < steps; ++i)
                w.step();
        }
        CHECK(counted::live() == before);
    }
}

// ---- Several worlds --------------------------------------------------------------------------------

TEST_CASE("world: one inside a task of another has a clock and tasks of its own")
{
    world outer;
    outer.run([&]() -> task<> {
        co_await leat::sleep_for(5ms);
        {
            world inner;
            inner.run([]() -> task<> { co_await leat::sleep_for(1h); });
            CHECK(inner.now() == 1h);
            CHECK(leat::clock::now().time_since_epoch() == 5ms);
        }
        co_await leat::sleep_for(5ms);
        CHECK(leat::clock::now().time_since_epoch() == 10ms);
    });
    CHECK(outer.now() == 10ms);
}

TEST_CASE("world: several on a thread may end in any order")
{
    for (const bool first_in_first_out : {true, false}) {
        auto a = std::make_unique<world>();
        auto b = std::make_unique<world>();
        auto c = std::make_unique<world>();
        a->advance(1s);
        b->advance(2s);
        c->advance(3s);
        CHECK(leat::clock::now().time_since_epoch() == 3s);
        (first_in_first_out ? a : b).reset();
        CHECK(leat::clock::now().time_since_epoch() == 3s);
        c.reset();
        CHECK(leat::clock::now().time_since_epoch() == (first_in_first_out ? 2s : 1s));
        (first_in_first_out ? b : a).reset();
        const auto steady = std::chrono::steady_clock::now().time_since_epoch();
        CHECK(leat::clock::now().time_since_epoch() >= steady);
    }
}

TEST_CASE("world: inside a task of the pool")
{
    leat::run(
        []() -> task<> {
            {
                world w;
                const int got = w.run([]() -> task<int> {
                    co_await leat::sleep_for(1h);
                    co_return 1;
                });
                CHECK(got == 1);
                CHECK(w.now() == 1h);
            }
            co_await leat::sleep_for(1ms);
        },
        {.workers = 2});
}

TEST_CASE("world: tasks of two worlds meet in a channel")
{
    world a;
    world b;
    leat::channel<int> values;
    int got = 0;
    a.spawn([&]() -> task<> { got = (co_await values.recv()).value_or(-1); }).detach();
    a.settle();
    b.run([&]() -> task<> { co_await values.send(6); });
    CHECK(got == 0);
    a.settle();
    CHECK(got == 6);
}

// ---- explore ---------------------------------------------------------------------------------------

TEST_CASE("explore: runs every interleaving of two tasks exactly once")
{
    for (const std::array<int, 2> yields : {std::array{0, 0}, {1, 0}, {1, 1}, {2, 2}, {3, 1}, {3, 3}}) {
        CAPTURE(yields[0]);
        CAPTURE(yields[1]);
        std::multiset<std::string> traces;
        const auto done = explore([&](world& w) {
            std::string trace;
            w.spawn([&] { return take_turns(trace, 'a', yields[0]); }).detach();
            w.spawn([&] { return take_turns(trace, 'b', yields[1]); }).detach();
            w.settle();
            traces.insert(trace);
        });
        const auto turns = static_cast<std::uint64_t>(yields[0] + yields[1] + 2);
        const std::uint64_t expected = binomial(turns, static_cast<std::uint64_t>(yields[0] + 1));
        CHECK(done.exhausted);
        CHECK(done.schedules == expected);
        CHECK(traces.size() == expected);
        CHECK(std::set<std::string>(traces.begin(), traces.end()).size() == expected);
    }
}

TEST_CASE("explore: runs every order of four tasks")
{
    std::set<std::string> traces;
    const auto done = explore([&](world& w) {
        std::string trace;
        for (const char name : {'a', 'b', 'c', 'd'})
            w.spawn([&trace, name] { return take_turns(trace, name, 0); }).detach();
        w.settle();
        traces.insert(trace);
    });
    CHECK(done.exhausted);
    CHECK(done.schedules == 24);
    CHECK(traces.size() == 24);
}

TEST_CASE("explore: makes every choice that a select can make")
{
    std::multiset<int> chosen;
    const auto done = explore([&](world& w) {
        w.run([&]() -> task<> {
            std::array<leat::channel<int>, 3> ready{leat::channel<int>{1}, leat::channel<int>{1},
                                                    leat::channel<int>{1}};
            for (auto& each : ready)
                static_cast<void>(each.try_send(1));
            int which = 0;
            co_await leat::select(leat::on(ready[0].recv(), [&] { which = 1; }),
                                  leat::on(ready[1].recv(), [&] { which = 2; }),
                                  leat::on(ready[2].recv(), [&] { which = 3; }));
            chosen.insert(which);
        });
    });
    CHECK(done.exhausted);
    CHECK(chosen == std::multiset<int>{1, 2, 3});
}

TEST_CASE("explore: finds the one schedule in which something goes wrong, and stops there")
{
    const auto lost_update = [](world& w) {
        int counter = 0;
        const auto add = [&]() -> task<> {
            const int seen = counter;
            co_await leat::this_task::yield();
            counter = seen + 1;
        };
        w.spawn(add).detach();
        w.spawn(add).detach();
        w.settle();
        if (counter != 2)
            throw std::logic_error{"an update was lost"};
    };
    CHECK_THROWS_WITH_AS(explore(lost_update), "an update was lost", std::logic_error);
    CHECK_THROWS_WITH_AS(explore({.schedules = 1000, .random_from = 1}, lost_update), "an update was lost",
                         std::logic_error);
}

TEST_CASE("explore: stops at the number of schedules it is given")
{
    int runs = 0;
    const auto done = explore({.schedules = 5}, [&](world& w) {
        std::string trace;
        for (const char name : {'a', 'b', 'c', 'd'})
            w.spawn([&trace, name] { return take_turns(trace, name, 1); }).detach();
        w.settle();
        ++runs;
    });
    CHECK(runs == 5);
    CHECK(done.schedules == 5);
    CHECK(!done.exhausted);
}

TEST_CASE("explore: at random, runs as many schedules as asked for, each from the seed after the last")
{
    std::vector<std::uint64_t> seeds;
    const auto done =
        explore({.schedules = 10, .random_from = 100}, [&](world& w) { seeds.push_back(w.seed()); });
    CHECK(done.schedules == 10);
    CHECK(!done.exhausted);
    CHECK(seeds == std::vector<std::uint64_t>{100, 101, 102, 103, 104, 105, 106, 107, 108, 109});
}

TEST_CASE("explore: a deadlock that only some orders have is found")
{
    const auto cross = [](world& w) {
        leat::channel<void> left{1};
        leat::channel<void> right{1};
        static_cast<void>(left.try_send());
        static_cast<void>(right.try_send());
        const auto both = [](leat::channel<void> first, leat::channel<void> second) -> task<> {
            static_cast<void>(co_await first.recv());
            co_await leat::this_task::yield();
            static_cast<void>(co_await second.recv());
            co_await second.send();
            co_await first.send();
        };
        w.run([&]() -> task<> { co_await leat::when_all(both(left, right), both(right, left)); });
    };
    CHECK_THROWS_AS(explore(cross), leat::deadlock_error);
}

TEST_CASE("explore: a rendezvous, a cancellation and a deadline never lose a value, whatever the order")
{
    int delivered = 0;
    int kept = 0;
    const auto done = explore({.schedules = 20'000}, [&](world& w) {
        w.run([&]() -> task<> {
            leat::channel<std::unique_ptr<int>> values;
            auto value = std::make_unique<int>(1);
            std::unique_ptr<int> got;
            auto sender = leat::spawn([&]() -> task<> {
                static_cast<void>(co_await leat::as_result(values.send(std::move(value))));
            });
            auto receiver = leat::spawn([&]() -> task<> {
                auto received = co_await leat::as_result(values.recv());
                if (received && *received)
                    got = std::move(**received);
            });
            auto killer = leat::spawn([&]() -> task<> {
                receiver.cancel();
                sender.cancel();
                co_return;
            });
            static_cast<void>(co_await leat::as_result(std::move(killer)));
            static_cast<void>(co_await leat::as_result(receiver.join()));
            static_cast<void>(co_await leat::as_result(sender.join()));
            if ((got != nullptr) == (value != nullptr))
                throw std::logic_error{"the value is in both places, or in none"};
            ++(got ? delivered : kept);
        });
    });
    CHECK(done.exhausted);
    CHECK(delivered > 0);
    CHECK(kept > 0);
}
