// Mutual exclusion between tasks, and values that can only be had under it.
#include "support/bare_wait.hpp"
#include "support/in_child.hpp"
#include "support/linearizable.hpp"
#include "support/rounds.hpp"
#include "support/scale.hpp"

#include <doctest/doctest.h>

#include <leat/leat.hpp>

#include <algorithm>
#include <atomic>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <type_traits>
#include <vector>

using namespace std::chrono_literals;
using leat::task;

namespace {

static_assert(!std::is_copy_constructible_v<leat::mutex_guard>);
static_assert(std::is_nothrow_move_constructible_v<leat::mutex_guard>);
static_assert(std::is_nothrow_default_constructible_v<leat::mutex_guard>);
static_assert(std::is_same_v<leat::mutex::guard, leat::mutex_guard>);

// A mutex may be a global.
constinit leat::mutex at_start_up{"global"};

/// Runs so many tasks, each of which does `work(i)`, and waits for them.
template <class Work>
task<> side_by_side(int count, Work work)
{
    co_await leat::with_group([&](leat::task_group& group) -> task<> {
        for (int i = 0; i < count; ++i)
            co_await group.spawn([&work, i]() -> task<> { co_await work(i); });
    });
}

}  // namespace

TEST_CASE("mutex: lock gives a guard, which unlocks at its end or before")
{
    leat::sim::world world;
    world.run([]() -> task<> {
        leat::mutex m{"accounts"};
        CHECK(std::string{m.name()} == "accounts");
        CHECK(at_start_up.name() == std::string{"global"});
        {
            const auto held = co_await m.lock();
            CHECK(held.owns_lock());
            CHECK(held.mutex() == &m);
            CHECK(m.locked());
            CHECK_FALSE(m.try_lock());
        }
        CHECK_FALSE(m.locked());
        auto first = co_await m.lock();
        leat::mutex_guard second = std::move(first);
        CHECK_FALSE(first);
        CHECK(second);
        second.unlock();
        CHECK_FALSE(second);
        CHECK(second.mutex() == nullptr);
        second.unlock();
        auto third = m.try_lock();
        CHECK(third);
        third = leat::mutex_guard{};
        CHECK_FALSE(m.locked());
    });
}

TEST_CASE(
    "mutex: those who wait are served in the order in which they came, and while one has it nobody does")
{
    leat::sim::world world;
    std::vector<int> order;
    world.run([&]() -> task<> {
        leat::mutex m;
        auto held = co_await m.lock();
        co_await leat::with_group([&](leat::task_group& group) -> task<> {
            for (int i = 0; i < 10; ++i) {
                co_await group.spawn([&, i]() -> task<> {
                    const auto mine = co_await m.lock();
                    order.push_back(i);
                    co_await leat::sleep_for(1ms);
                    order.push_back(i);
                });
                co_await leat::sleep_for(1ms);  // it has come
            }
            CHECK(order.empty());
            held.unlock();
        });
    });
    REQUIRE(order.size() == 20);
    for (std::size_t i = 0; i < order.size(); ++i)
        CHECK(order[i] == static_cast<int>(i / 2));
}

TEST_CASE("mutex: the task that unlocks goes on, and code after unlock() runs before the waiter")
{
    leat::runtime pool{{.workers = 1}};
    std::string log;
    pool.block_on([&]() -> task<> {
        leat::mutex m;
        auto held = co_await m.lock();
        auto waiter = leat::spawn([&]() -> task<> {
            const auto mine = co_await m.lock();
            log += "waiter ";
        });
        co_await leat::this_task::yield();
        co_await leat::this_task::yield();
        held.unlock();
        log += "unlocker ";
        co_await waiter;
    });
    CHECK(log == "unlocker waiter ");
}

TEST_CASE(
    "mutex: a waiter that finds the mutex taken once more gets it next, however often others come and go")
{
    for (std::uint64_t seed = 1; seed <= 50; ++seed) {
        CAPTURE(seed);
        leat::mutex m;
        leat::sim::world world{seed};
        bool stop = false;
        std::vector<int> turns;
        // Each keeps the mutex over a suspension, and takes it again as soon as it has given it up.
        auto greedy = [&](int who) -> task<> {
            while (!stop) {
                const auto held = co_await m.lock();
                turns.push_back(who);
                co_await leat::sleep_for(1ms);
            }
        };
        for (int who = 0; who < 3; ++who)
            world.spawn([&, who] { return greedy(who); }).detach();
        world.advance(300ms);
        stop = true;
        world.advance(10ms);
        // Whoever waits is overtaken at most once by each turn of one that barges.
        for (int who = 0; who < 3; ++who) {
            std::size_t longest = 0;
            std::size_t since = 0;
            for (const int each : turns) {
                since = each == who ? 0 : since + 1;
                longest = std::max(longest, since);
            }
            CHECK(longest <= 2 * 2 + 2);
        }
        CHECK(world.live_tasks() == 0);
    }
}

TEST_CASE(
    "mutex: no task that spins on a free mutex keeps others from running, nor is switched while it has it")
{
    leat::runtime pool{{.workers = 1}};
    pool.block_on([&]() -> task<> {
        leat::mutex m;
        bool stop = false;
        std::int64_t locks = 0;
        int found_taken = 0;
        auto other = leat::spawn([&]() -> task<> {
            for (int i = 0; i < 100; ++i) {
                found_taken += m.locked();
                co_await leat::this_task::yield();
            }
            stop = true;
        });
        while (!stop) {
            const auto held = co_await m.lock();
            ++locks;
        }
        co_await other;
        CHECK(found_taken == 0);
        CHECK(locks > 1000);
    });
}

TEST_CASE("mutex: a waiter that was woken to contend and is cancelled meanwhile wakes the next")
{
    leat::sim::explore({.schedules = 2000}, [](leat::sim::world& world) {
        leat::mutex m;
        auto [ctx, cancel] = leat::with_cancel(leat::background());
        int served = 0;
        auto wait = [&]() -> task<> {
            const auto mine = co_await m.lock();
            ++served;
        };
        leat::mutex_guard held = m.try_lock();
        world.spawn(wait, {.context = ctx}).detach();
        world.settle();
        world.spawn(wait).detach();
        world.settle();
        held.unlock();  // the first is on its way
        cancel();
        world.settle();
        CHECK(served >= 1);
        CHECK_FALSE(m.locked());
        CHECK(world.live_tasks() == 0);
    });
}

TEST_CASE("mutex: in every order of two tasks, a thread-like try and a cancellation the count is right")
{
    const leat::sim::explore_result got =
        leat::sim::explore({.schedules = 5000}, [](leat::sim::world& world) {
            leat::mutex m;
            auto [ctx, cancel] = leat::with_cancel(leat::background());
            int inside = 0;
            int done = 0;
            auto use = [&]() -> task<> {
                const auto mine = co_await m.lock();
                CHECK(++inside == 1);
                const auto yielded = co_await leat::as_result(leat::this_task::yield());
                --inside;
                ++done;
            };
            world.spawn(use).detach();
            world.spawn(use, {.context = ctx}).detach();
            world.spawn(use).detach();
            world
                .spawn([&] {
                    if (auto mine = m.try_lock())
                        CHECK(inside == 0);
                })
                .detach();
            world.spawn([&, &stop = cancel] { stop(); }).detach();
            world.settle();
            CHECK(done >= 2);
            CHECK(world.live_tasks() == 0);
            CHECK_FALSE(m.locked());
        });
    MESSAGE(got.schedules << " schedules");
}

TEST_CASE("mutex: as a case of select; one that lost has not locked, and the others have had no effect")
{
    leat::sim::world world;
    world.run([]() -> task<> {
        leat::mutex a;
        leat::mutex b;
        leat::channel<int> ch{1};
        auto held = co_await a.lock();
        std::string taken;
        co_await leat::select(leat::on(a.lock(), [&](leat::mutex_guard) { taken = "a"; }),
                              leat::on(b.lock(), [&](leat::mutex_guard got) { taken = got ? "b" : ""; }),
                              leat::on(ch.recv(), [&](std::optional<int>) { taken = "channel"; }));
        CHECK(taken == "b");
        CHECK_FALSE(b.locked());
        auto held_b = co_await b.lock();
        const auto late = co_await leat::select(a.lock(), b.lock(), leat::after(1s));
        CHECK(late.index == 2);
        // Parked as a case, it gets the mutex when that is unlocked.
        auto waiting = leat::spawn([&]() -> task<int> {
            co_return static_cast<int>(co_await leat::select(
                leat::on(ch.recv(), [] {}), leat::on(b.lock(), [] {}), leat::on(leat::after(1h), [] {})));
        });
        co_await leat::sleep_for(1ms);
        held_b.unlock();
        const int chosen = co_await waiting;
        CHECK(chosen == 1);
        CHECK_FALSE(b.locked());
        CHECK(ch.empty());
        co_await leat::select(leat::on(a.lock(), [&] { taken = "a"; }),
                              leat::otherwise([&] { taken = "nothing"; }));
        CHECK(taken == "nothing");
        held.unlock();
        CHECK(a.try_lock());
    });
}

TEST_CASE("mutex: timeouts and results")
{
    leat::sim::world world;
    world.run([]() -> task<> {
        leat::mutex m;
        auto held = co_await m.lock();
        const auto late = co_await leat::as_result(leat::timeout(1s, m.lock()));
        CHECK(late.error() == leat::errc::deadline_exceeded);
        held.unlock();
        auto got = co_await leat::as_result(m.lock());
        CHECK(got.has_value());
        CHECK(m.locked());
    });
}

TEST_CASE("mutex: threads that are no workers lock it too")
{
    leat::runtime pool{{.workers = 2}};
    leat::mutex m;
    std::int64_t count = 0;
    const int times = test::rounds(5000);
    std::vector<std::thread> threads;
    for (int i = 0; i < 2; ++i)
        threads.emplace_back([&] {
            for (int k = 0; k < times; ++k) {
                const auto held = m.blocking_lock();
                ++count;
            }
        });
    auto add = [&](int) -> task<> {
        for (int k = 0; k < times; ++k) {
            const auto held = co_await m.lock();
            ++count;
        }
    };
    pool.block_on(side_by_side(4, add));
    for (auto& each : threads)
        each.join();
    CHECK(count == 6 * times);
    bool refused = false;
    pool.block_on([&]() -> task<> {
        try {
            const auto held = m.blocking_lock();
        } catch (const leat::usage_error&) {
            refused = true;
        }
        co_return;
    });
    CHECK(refused);
}

TEST_CASE("mutex: hammered by tasks that lock, try, give up and suspend inside")
{
    for (const int workers : {1, 3}) {
        leat::runtime pool{{.workers = workers}};
        leat::mutex m;
        std::int64_t plain = 0;
        std::atomic<std::int64_t> locked{0};
        const int times = test::rounds(20'000);
        auto work = [&](int who) -> task<> {
            std::minstd_rand random{static_cast<unsigned>(who + 1)};
            for (int k = 0; k < times; ++k) {
                const unsigned what = random() % 16;
                leat::mutex_guard held;
                if (what == 0)
                    held = m.try_lock();
                else if (what == 1) {
                    auto got = co_await leat::as_result(leat::timeout(1us, m.lock()));
                    if (got.has_value())
                        held = std::move(*got);
                } else
                    held = co_await m.lock();
                if (!held)
                    continue;
                ++plain;
                if (what == 2)
                    co_await leat::this_task::yield();
                locked.fetch_add(1, std::memory_order_relaxed);
            }
        };
        pool.block_on(side_by_side(8, work));
        CHECK(plain == locked.load());
        CHECK_FALSE(m.locked());
    }
}

namespace {

struct lock_model {
    struct call {
        enum class kind { lock, unlock, failed_try } what;
        int by;
    };
    int holder = -1;

    bool apply(const call& c)
    {
        switch (c.what) {
        case call::kind::lock: return std::exchange(holder, holder == -1 ? c.by : -2) == -1;
        case call::kind::unlock: return std::exchange(holder, -1) == c.by;
        case call::kind::failed_try: return holder != -1;
        }
        return false;
    }
    int key() const
    {
        return holder;
    }
    static std::string words(const call& c)
    {
        return (c.what == call::kind::lock     ? "lock by "
                : c.what == call::kind::unlock ? "unlock by "
                                               : "try_lock fails for ") +
               std::to_string(c.by);
    }
};

}  // namespace

TEST_CASE("mutex: every history is that of a lock used by one after the other")
{
    const unsigned seed = std::random_device{}();
    MESSAGE("seed ", seed);
    std::mt19937 random{seed};
    leat::runtime pool{{.workers = 3}};
    using kind = lock_model::call::kind;
    for (int round = 0, most = test::rounds(400); round < most; ++round) {
        leat::mutex m;
        test::call_log<lock_model::call> log{4};
        const auto start = static_cast<unsigned>(random());
        auto caller = [&](int who) -> task<> {
            std::minstd_rand dice{start + static_cast<unsigned>(who)};
            for (int i = 0; i < 5; ++i) {
                leat::mutex_guard held;
                const auto began = log.begin();
                if (dice() % 3 == 0) {
                    held = m.try_lock();
                    if (!held) {
                        log.end(static_cast<std::size_t>(who), began, {kind::failed_try, who});
                        continue;
                    }
                } else
                    held = co_await m.lock();
                log.end(static_cast<std::size_t>(who), began, {kind::lock, who});
                if (dice() % 4 == 0)
                    co_await leat::this_task::yield();
                const auto unlocks = log.begin();
                held.unlock();
                log.end(static_cast<std::size_t>(who), unlocks, {kind::unlock, who});
            }
        };
        pool.block_on(side_by_side(4, caller));
        REQUIRE(test::not_linearizable<lock_model>(log.calls()) == "");
    }
}

TEST_CASE(
    "mutex: it may go as soon as the last who has locked it has unlocked it, whoever is still in unlock()")
{
    // Each object is handed from one to the other through its mutex alone; the second frees it.
    leat::runtime pool{{.workers = 3}};
    struct shared {
        leat::mutex m;
        bool left = false;
    };
    const int times = test::rounds(20'000);
    pool.block_on([&]() -> task<> {
        for (int i = 0; i < times; ++i) {
            auto* const both = new shared;
            auto last_frees = [both]() -> task<> {
                auto held = co_await both->m.lock();
                const bool last = std::exchange(both->left, true);
                held.unlock();
                if (last)
                    delete both;
            };
            auto a = leat::spawn(last_frees);
            auto b = leat::spawn(last_frees);
            co_await a;
            co_await b;
        }
    });
}

TEST_CASE("mutex: destroyed in use it says so and ends the program" * doctest::skip(test::under_sanitizer))
{
    const test::child_end held = test::in_child([] {
        std::optional<leat::mutex> m{std::in_place};
        auto guard = m->try_lock();
        m.reset();
        return 0;
    });
    CHECK(held.signal == SIGABRT);
}

TEST_CASE("mutex: what is destroyed after it has been given the lock, or its turn to try, gives it on")
{
    leat::mutex m;
    leat::guarded<int> g{7};
    for (const bool another : {false, true}) {
        CAPTURE(another);
        leat::mutex_guard held = m.try_lock();
        leat::guarded_guard<int> held_value = g.try_lock();
        std::optional<std::thread> next;
        std::atomic<int> served{0};
        // Somebody who comes after it gets it instead.
        const auto unlock = [&] {
            if (another && !next)
                next.emplace([&] {
                    const auto mine = m.blocking_lock();
                    ++served;
                    const auto its = g.blocking_lock();
                    ++served;
                });
            held.unlock();
        };
        const auto unlock_value = [&] { held_value.unlock(); };
        CHECK(test::given_to_await(m.lock().as_operation(), unlock));
        if (!another)
            CHECK(test::given_to_await(g.lock().as_operation(), unlock_value));
        held_value.unlock();
        if (another)
            next->join();
        CHECK(served == (another ? 2 : 0));
        held = m.try_lock();
        held_value = g.try_lock();
        CHECK(held);
        CHECK(held_value);
        CHECK(test::given_to_case(m.lock().as_operation(), unlock));
        CHECK(test::given_to_case(g.lock().as_operation(), unlock_value));
        CHECK_FALSE(m.locked());
        CHECK(g.try_lock());
    }
}

TEST_CASE("mutex: a million waiters are woken one after the other, at constant depth and cost")
{
    const std::size_t count = test::scaled(1'000'000);
    leat::runtime pool{{.workers = 2}};
    std::size_t woken = 0;
    pool.block_on([&]() -> task<> {
        leat::mutex m;
        std::atomic<std::size_t> come{0};
        auto held = co_await m.lock();
        co_await leat::with_group([&](leat::task_group& group) -> task<> {
            for (std::size_t i = 0; i < count; ++i)
                co_await group.spawn([&]() -> task<> {
                    ++come;
                    const auto mine = co_await m.lock();
                    ++woken;
                });
            while (come != count)
                co_await leat::this_task::yield();
            held.unlock();
        });
    });
    CHECK(woken == count);
}

TEST_CASE("mutex: a report names it, and who has it")
{
    leat::mutex m{"accounts"};
    leat::mutex plain;
    leat::sim::world world;
    world
        .spawn(
            [&]() -> task<> {
                const auto held = co_await m.lock();
                const auto second = co_await plain.lock();
                co_await leat::sleep_for(1h);
            },
            {.name = "teller"})
        .detach();
    world.settle();
    world.spawn([&]() -> task<> { const auto held = co_await m.lock(); }, {.name = "customer"}).detach();
    world.spawn([&]() -> task<> { const auto held = co_await plain.lock(); }, {.name = "other"}).detach();
    world.settle();
    const std::string report = world.report();
    INFO(report);
    if (LEAT_REGISTRY) {
        CHECK(report.find("waits for: mutex \"accounts\", held by task 1 \"teller\"") != std::string::npos);
        CHECK(report.find("waits for: mutex, held by task 1 \"teller\"") != std::string::npos);
    }
    world.advance(2h);
}

TEST_CASE("mutex: two that wait for each other are a deadlock, whose report names both locks and holders")
{
    leat::mutex a{"a"};
    leat::mutex b{"b"};
    leat::sim::world world;
    std::string what;
    try {
        world.run([&]() -> task<> {
            auto take = [](leat::mutex& first, leat::mutex& second) -> task<> {
                const auto one = co_await first.lock();
                co_await leat::sleep_for(1ms);
                const auto two = co_await second.lock();
            };
            auto left = leat::spawn(take(a, b), {.name = "left"});
            auto right = leat::spawn(take(b, a), {.name = "right"});
            co_await left;
            co_await right;
        });
    } catch (const leat::deadlock_error& error) {
        what = error.what();
    }
    INFO(what);
    if (LEAT_REGISTRY) {
        CHECK(what.find("mutex \"b\", held by task") != std::string::npos);
        CHECK(what.find("mutex \"a\", held by task") != std::string::npos);
        CHECK(what.find("\"right\"") != std::string::npos);
    }
    CHECK(what != "");
}

TEST_CASE("mutex: a deadlock of tasks that wait in a select is reported with all locks and holders, too")
{
    leat::mutex a{"a"};
    leat::guarded<int> b{leat::named{"b"}, 1};
    leat::sim::world world;
    std::string what;
    try {
        world.run([&]() -> task<> {
            leat::channel<int> in;
            leat::channel<int> out;
            leat::mutex free_but_off{"off"};
            auto holds_a = [&]() -> task<> {
                const auto one = co_await a.lock();
                co_await leat::sleep_for(1ms);
                co_await leat::select(leat::on(in.recv(), [] {}), leat::on(b.lock(), [] {}),
                                      leat::on_if(false, free_but_off.lock(), [] {}));
            };
            auto holds_b = [&]() -> task<> {
                const auto one = co_await b.lock();
                co_await leat::sleep_for(1ms);
                static_cast<void>(co_await leat::select(a.lock(), out.send(1)));
            };
            auto left = leat::spawn(holds_a, {.name = "left"});
            auto right = leat::spawn(holds_b, {.name = "right"});
            co_await left;
            co_await right;
        });
    } catch (const leat::deadlock_error& error) {
        what = error.what();
    }
    INFO(what);
    if (LEAT_REGISTRY) {
        CHECK(what.find("\"left\" waits for: select: receive, or mutex \"b\", held by task 3 \"right\"\n") !=
              std::string::npos);
        CHECK(what.find("\"right\" waits for: select: mutex \"a\", held by task 2 \"left\", or send\n") !=
              std::string::npos);
    }
    CHECK(what != "");
}

TEST_CASE("inspect: of a select each case is told, with the first task that has a lock")
{
    leat::mutex a{"a"};
    leat::shared_mutex b{"b"};
    leat::semaphore c{1, "c"};
    leat::sim::world world;
    world
        .spawn([&]() -> task<> {
            const auto one = co_await a.lock();
            const auto two = co_await b.lock();
            const auto three = co_await c.acquire();
            co_await leat::sleep_for(1h);
        })
        .detach();
    world.settle();
    world
        .spawn([&]() -> task<> {
            static_cast<void>(co_await leat::select(leat::after(3h), c.acquire(), b.lock_shared(), a.lock()));
        })
        .detach();
    world.settle();
    const auto all = leat::inspect::tasks(world.get_executor());
    REQUIRE(all.size() == 2);
    if (LEAT_REGISTRY) {
        const auto& cases = all[1].cases;
        REQUIRE(cases.size() == 4);
        CHECK(cases[0].waits_for == "sleep");
        CHECK(cases[1].waits_for == "semaphore \"c\", 1 of its 1 permits (0 free)");
        CHECK(cases[2].waits_for == "shared_mutex \"b\", held by task 1");
        CHECK(cases[3].waits_for == "mutex \"a\", held by task 1");
        CHECK(cases[1].held_by == 0);
        CHECK(cases[2].held_by == all[0].id);
        CHECK(all[1].held_by == all[0].id);
        CHECK(all[0].cases.empty());
    }
    world.advance(2h);
}

TEST_CASE("guarded: it can be given a name")
{
    leat::guarded<std::vector<int>> many{leat::named{"many"}, std::size_t{3}, 7};
    leat::guarded<int> zero{leat::named{"zero"}};
    leat::guarded<int> plain;
    CHECK(std::string{many.name()} == "many");
    CHECK(*many.try_lock() == std::vector<int>{7, 7, 7});
    CHECK(*zero.try_lock() == 0);
    CHECK(std::string{zero.name()} == "zero");
    CHECK(plain.name() == nullptr);
}

TEST_CASE("guarded: its value can be had through a guard alone")
{
    leat::sim::world world;
    world.run([]() -> task<> {
        leat::guarded<std::vector<int>> numbers{std::vector<int>{1, 2}};
        {
            auto held = co_await numbers.lock();
            held->push_back(3);
            CHECK((*held).size() == 3);
            CHECK_FALSE(numbers.try_lock());
            held.unlock();
            CHECK_FALSE(held);
        }
        auto tried = numbers.try_lock();
        REQUIRE(tried);
        tried->clear();
        tried.unlock();
        const std::size_t size = co_await numbers.with([](std::vector<int>& all) {
            all.resize(5);
            return all.size();
        });
        CHECK(size == 5);
        auto slowly = [](std::vector<int>& all) -> task<int> {
            co_await leat::sleep_for(1ms);
            co_return static_cast<int>(all.size());
        };
        const int got = co_await numbers.with(slowly);
        CHECK(got == 5);
        leat::guarded<std::unique_ptr<int>> owner{std::make_unique<int>(7)};
        auto held = co_await owner.lock();
        CHECK(**held == 7);
        leat::guarded<int> zero;
        CHECK(*co_await zero.lock() == 0);
        const auto picked = co_await leat::select(zero.lock(), leat::after(1s));
        CHECK(picked.index == 0);
    });
    leat::guarded<int> outside{41};
    ++*outside.blocking_lock();
    CHECK(*outside.try_lock() == 42);
}
