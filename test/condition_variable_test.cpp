// Waiting until what a mutex guards has changed.
#include "support/bare_wait.hpp"
#include "support/in_child.hpp"
#include "support/rounds.hpp"
#include "support/scale.hpp"

#include <doctest/doctest.h>

#include <leat/leat.hpp>

#include <atomic>
#include <deque>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

using namespace std::chrono_literals;
using leat::task;

namespace {

template <class Work>
task<> side_by_side(int count, Work work)
{
    co_await leat::with_group([&](leat::task_group& group) -> task<> {
        for (int i = 0; i < count; ++i)
            co_await group.spawn([&work, i]() -> task<> { co_await work(i); });
    });
}

/// So many who wait, one after the other, and count when they have been notified.
class crowd {
public:
    explicit crowd(leat::sim::world& world) : world_{world}
    {
    }
    leat::join_handle<> add(const leat::context& under = leat::background())
    {
        auto handle = world_.spawn([this] { return wait(served_.size()); }, {.context = under});
        served_.push_back(0);
        world_.settle();
        return handle;
    }
    std::string served() const
    {
        std::string text;
        for (const int each : served_)
            text += each != 0 ? '1' : '0';
        return text;
    }

    leat::mutex m{"m"};
    leat::condition_variable cv{"cv"};

private:
    task<> wait(std::size_t who)
    {
        leat::mutex_guard held = co_await m.lock();
        co_await cv.wait(held);
        CHECK(held.owns_lock());
        CHECK(m.locked());
        served_[who] = 1;
    }

    leat::sim::world& world_;
    std::deque<int> served_;
};

}  // namespace

TEST_CASE("condition_variable: notify_one notifies the one who has waited longest, notify_all all")
{
    leat::sim::world world;
    crowd all{world};
    CHECK(std::string{all.cv.name()} == "cv");
    for (int i = 0; i < 5; ++i)
        all.add().detach();
    CHECK_FALSE(all.m.locked());
    CHECK(all.served() == "00000");
    all.cv.notify_one();
    world.settle();
    CHECK(all.served() == "10000");
    all.cv.notify_one();
    all.cv.notify_one();
    world.settle();
    CHECK(all.served() == "11100");
    all.cv.notify_all();
    world.settle();
    CHECK(all.served() == "11111");
    all.cv.notify_all();
    all.cv.notify_one();
    all.add().detach();
    CHECK(all.served() == "111110");  // nobody is notified ahead
    all.cv.notify_one();
    world.settle();
    CHECK(world.live_tasks() == 0);
    CHECK_FALSE(all.m.locked());
}

TEST_CASE("condition_variable: notified under the mutex, waiters get it one after the other")
{
    leat::sim::world world;
    crowd all{world};
    for (int i = 0; i < 4; ++i)
        all.add().detach();
    auto held = all.m.try_lock();
    all.cv.notify_all();
    world.settle();
    CHECK(all.served() == "0000");
    held.unlock();
    world.settle();
    CHECK(all.served() == "1111");
    CHECK(world.live_tasks() == 0);
}

TEST_CASE("condition_variable: a predicate is asked under the mutex, before the first wait too")
{
    leat::sim::world world;
    world.run([]() -> task<> {
        leat::mutex m;
        leat::condition_variable cv;
        int value = 1;
        int asked = 0;
        auto held = co_await m.lock();
        auto enough = [&] {
            ++asked;
            CHECK(m.locked());
            return value >= 3;
        };
        auto adder = leat::spawn([&]() -> task<> {
            for (int i = 0; i < 2; ++i) {
                co_await leat::sleep_for(1ms);
                const auto mine = co_await m.lock();
                ++value;
                cv.notify_one();
            }
        });
        co_await cv.wait(held, enough);
        CHECK(value == 3);
        CHECK(asked == 3);
        co_await cv.wait(held, enough);
        CHECK(asked == 4);
        co_await adder;
    });
}

TEST_CASE("condition_variable: whoever always finds its predicate true hears of its end, and lets others run")
{
    leat::sim::world world;
    leat::mutex m;
    leat::condition_variable cv;
    const auto [ctx, cancel] = leat::with_cancel(world.context());
    std::int64_t rounds = 0;
    bool held_at_the_end = false;
    world
        .spawn(
            [&]() -> task<> {
                auto held = m.try_lock();  // which does not look at the context
                try {
                    while (rounds < 1'000'000) {
                        ++rounds;
                        co_await cv.wait(held, [] { return true; });
                    }
                } catch (const leat::cancelled_error&) {
                    held_at_the_end = held.owns_lock();
                }
            },
            {.context = ctx})
        .detach();
    world.spawn([&, &stop = cancel] { stop(); }).detach();
    world.settle();
    CHECK(held_at_the_end);
    CHECK(rounds < 10'000);
    CHECK_FALSE(m.locked());
}

TEST_CASE("condition_variable: who begins to wait after a notification does not take it")
{
    // On the pool, where whoever has been notified may be anywhere on its way when the thief comes.
    leat::runtime pool{{.workers = 3}};
    pool.block_on([&]() -> task<> {
        for (int round = 0, most = test::rounds(2000); round < most; ++round) {
            leat::mutex m;
            leat::condition_variable cv;
            bool waits = false;
            bool served = false;
            bool thief_served = false;
            auto first = [&]() -> task<> {
                auto held = co_await m.lock();
                waits = true;
                co_await cv.wait(held);
                served = true;
            };
            auto thief = [&]() -> task<> {
                auto held = co_await m.lock();
                co_await cv.wait(held);
                thief_served = true;
            };
            auto waiter = leat::spawn(first);
            bool there = false;
            while (!there) {
                co_await leat::this_task::yield();
                const auto held = co_await m.lock();
                there = waits;
            }
            cv.notify_one();
            auto late = leat::spawn(thief);
            co_await waiter;
            {
                const auto held = co_await m.lock();
                CHECK(served);
                CHECK_FALSE(thief_served);
            }
            leat::join_handle<> end = leat::spawn([&]() -> task<> {
                bool over = false;
                while (!over) {
                    cv.notify_one();
                    co_await leat::this_task::yield();
                    const auto held = co_await m.lock();
                    over = thief_served;
                }
            });
            co_await late;
            co_await end;
        }
    });
}

TEST_CASE("condition_variable: a wait that is cancelled has the mutex again before it throws")
{
    leat::sim::world world;
    world.run([]() -> task<> {
        leat::mutex m;
        leat::condition_variable cv;
        bool had_it = false;
        auto waiter = leat::spawn([&]() -> task<> {
            leat::mutex_guard held = co_await m.lock();
            try {
                co_await cv.wait(held);
            } catch (const leat::cancelled_error&) {
                had_it = held.owns_lock() && m.locked();
            }
        });
        co_await leat::sleep_for(1ms);
        auto mine = co_await m.lock();
        waiter.cancel();
        co_await leat::sleep_for(1ms);
        CHECK_FALSE(waiter.done());  // it waits for the mutex, which it needs to unwind
        mine.unlock();
        co_await waiter;
        CHECK(had_it);
        CHECK_FALSE(m.locked());

        auto held = co_await m.lock();
        const auto late = co_await leat::as_result(leat::timeout(1s, cv.wait(held)));
        CHECK(late.error() == leat::errc::deadline_exceeded);
        CHECK(held);
        CHECK(m.locked());
    });
}

TEST_CASE("condition_variable: a notification that meets a cancelled waiter goes to another")
{
    for (int order = 0; order < 3; ++order)
        for (const bool locked : {false, true}) {
            CAPTURE(order);
            CAPTURE(locked);
            leat::sim::world world;
            crowd all{world};
            auto [ctx, cancel] = leat::with_cancel(leat::background());
            all.add(ctx).detach();
            all.add().detach();
            leat::mutex_guard held;
            if (locked)
                held = all.m.try_lock();
            if (order == 0)
                cancel();
            all.cv.notify_one();
            if (order == 1)
                cancel();
            held.unlock();
            if (order == 2)
                cancel();
            world.settle();
            // One of the two has it.
            CHECK((all.served() == "01" || all.served() == "10"));
            if (order == 0)
                CHECK(all.served() == "01");
            all.cv.notify_all();
            world.settle();
            CHECK(world.live_tasks() == 0);
            CHECK_FALSE(all.m.locked());
        }
}

TEST_CASE("condition_variable: with a guarded value, and misuse")
{
    leat::sim::world world;
    world.run([]() -> task<> {
        leat::guarded<std::deque<int>> queue;
        leat::condition_variable filled;
        auto taker = leat::spawn([&]() -> task<int> {
            auto held = co_await queue.lock();
            co_await filled.wait(held, [&] { return !held->empty(); });
            co_return held->front();
        });
        co_await leat::sleep_for(1ms);
        co_await queue.with([](std::deque<int>& all) { all.push_back(7); });
        filled.notify_one();
        const int got = co_await taker;
        CHECK(got == 7);
        leat::mutex_guard nothing;
        bool misused = false;
        try {
            co_await filled.wait(nothing);
        } catch (const leat::usage_error&) {
            misused = true;
        }
        CHECK(misused);
    });
}

TEST_CASE("condition_variable: in every order of waiters, a notifier and a cancellation none is left")
{
    const leat::sim::explore_result all =
        leat::sim::explore({.schedules = 6000}, [](leat::sim::world& world) {
            leat::mutex m;
            leat::condition_variable cv;
            auto [ctx, cancel] = leat::with_cancel(leat::background());
            int items = 0;
            int taken = 0;
            int cancelled = 0;
            auto take = [&]() -> task<> {
                auto held = co_await m.lock();
                try {
                    co_await cv.wait(held, [&] { return items != 0; });
                    --items;
                    ++taken;
                } catch (const leat::cancelled_error&) {
                    CHECK(held);
                    ++cancelled;
                }
            };
            world.spawn(take, {.context = ctx}).detach();
            world.spawn(take).detach();
            world
                .spawn([&]() -> task<> {
                    auto held = co_await m.lock();
                    ++items;
                    held.unlock();
                    cv.notify_one();
                })
                .detach();
            world.spawn([&, &stop = cancel] { stop(); }).detach();
            world.settle();
            // The one that is not cancelled has it, unless the other took it: then another makes it go.
            CHECK(taken == 1);
            CHECK(items == 0);
            if (world.live_tasks() != 0) {
                CHECK(cancelled == 0);
                items = 1;
                cv.notify_one();
                world.settle();
            }
            CHECK(world.live_tasks() == 0);
            CHECK_FALSE(m.locked());
        });
    MESSAGE(all.schedules << " schedules");
}

TEST_CASE("condition_variable: a bounded queue of tasks and threads loses nothing and wakes everybody")
{
    leat::runtime pool{{.workers = 3}};
    leat::mutex m;
    leat::condition_variable not_empty;
    leat::condition_variable not_full;
    std::deque<int> queue;
    const int items = test::rounds(20'000);
    std::atomic<std::int64_t> sum{0};
    auto put = [&](int who) -> task<> {
        for (int i = who; i < items; i += 2) {
            auto held = co_await m.lock();
            co_await not_full.wait(held, [&] { return queue.size() < 4; });
            queue.push_back(i);
            held.unlock();
            not_empty.notify_one();
        }
    };
    std::atomic<int> left{items};
    auto take = [&](int) -> task<> {
        std::minstd_rand random{7};
        while (left.fetch_sub(1) > 0) {
            auto held = co_await m.lock();
            // Some give up, and come again.
            while (queue.empty())
                if (random() % 4 == 0)
                    static_cast<void>(co_await leat::as_result(leat::timeout(10us, not_empty.wait(held))));
                else
                    co_await not_empty.wait(held);
            sum += queue.front();
            queue.pop_front();
            not_full.notify_one();
        }
    };
    std::thread outside{[&] {
        while (left.fetch_sub(1) > 0) {
            auto held = m.blocking_lock();
            not_empty.blocking_wait(held, [&] { return !queue.empty(); });
            sum += queue.front();
            queue.pop_front();
            held.unlock();
            not_full.notify_one();
        }
    }};
    auto both = [&](int who) -> task<> {
        if (who < 2)
            co_await put(who);
        else
            co_await take(who);
    };
    pool.block_on(side_by_side(5, both));
    outside.join();
    CHECK(sum == std::int64_t{items} * (items - 1) / 2);
    CHECK(queue.empty());
}

TEST_CASE("condition_variable: raced by notifiers and cancellations, every item is taken once")
{
    leat::runtime pool{{.workers = 3}};
    leat::mutex m;
    leat::condition_variable cv;
    const int times = test::rounds(20'000);
    pool.block_on([&]() -> task<> {
        for (int i = 0; i < times; ++i) {
            int items = 0;
            std::atomic<int> taken{0};
            auto [ctx, cancel] = leat::with_cancel(leat::background());
            auto take = [&]() -> task<> {
                auto held = co_await m.lock();
                co_await cv.wait(held, [&] { return items != 0; });
                --items;
                ++taken;
            };
            auto fickle = [&]() -> task<> {
                const auto got = co_await leat::as_result(take());
                static_cast<void>(got);
            };
            auto a = leat::spawn(fickle, {.context = ctx});
            auto b = leat::spawn(take);
            auto notifier = leat::spawn([&]() -> task<> {
                auto held = co_await m.lock();
                ++items;
                if (i % 2 == 0)
                    held.unlock();
                cv.notify_one();
            });
            auto canceller = leat::spawn([&, &stop = cancel] { stop(); });
            co_await a;
            co_await notifier;
            co_await canceller;
            // What the first did not take, the second gets.
            auto held = co_await m.lock();
            if (taken == 1 && items == 0 && !b.done()) {
                ++items;
                cv.notify_one();
            }
            held.unlock();
            co_await leat::timeout(20s, std::move(b));
        }
    });
    CHECK_FALSE(m.locked());
}

TEST_CASE("condition_variable: a world that ends while tasks wait gives the mutex back")
{
    leat::mutex m;
    leat::condition_variable cv;
    for (const bool notified : {false, true}) {
        leat::sim::world world;
        const leat::context deaf = leat::without_cancel(leat::background());
        auto wait = [&]() -> task<> {
            leat::mutex_guard held = co_await m.lock();
            co_await cv.wait(held);
            leat::channel<int> never;
            static_cast<void>(co_await never.recv());
        };
        for (int i = 0; i < 3; ++i)
            world.spawn(wait, {.context = deaf}).detach();
        world.settle();
        if (notified) {
            auto held = m.try_lock();
            cv.notify_all();
        }
    }
    CHECK(m.try_lock());
}

TEST_CASE("condition_variable: what is destroyed after it has been notified passes the notification on")
{
    for (const bool locked : {false, true}) {
        CAPTURE(locked);
        leat::mutex m;
        leat::condition_variable cv;
        test::idle_task tasks[2];
        leat::mutex_guard guards[2];
        const auto begin = [&](int who) {
            guards[who] = m.try_lock();
            auto wait = cv.wait(guards[who]);
            using awaiter = decltype(wait.await_in(tasks[who].root));
            std::unique_ptr<awaiter> waits{new awaiter(wait.await_in(tasks[who].root))};
            CHECK_FALSE(waits->await_ready());
            CHECK(waits->await_suspend(std::noop_coroutine()));
            return waits;
        };
        auto first = begin(0);
        auto second = begin(1);
        CHECK_FALSE(tasks[0].won());
        leat::mutex_guard held;
        if (locked)
            held = m.try_lock();
        cv.notify_one();
        CHECK(tasks[0].won() == !locked);
        held.unlock();
        CHECK(tasks[0].won());
        CHECK_FALSE(tasks[1].won());
        first.reset();
        CHECK(tasks[1].won());
        second.reset();
        CHECK_FALSE(m.locked());
    }
}

TEST_CASE("condition_variable: a million are notified, and wake one after the other")
{
    const std::size_t count = test::scaled(1'000'000);
    leat::runtime pool{{.workers = 2}};
    std::size_t woken = 0;
    pool.block_on([&]() -> task<> {
        leat::mutex m;
        leat::condition_variable cv;
        std::size_t waiting = 0;
        bool go = false;
        co_await leat::with_group([&](leat::task_group& group) -> task<> {
            for (std::size_t i = 0; i < count; ++i)
                co_await group.spawn([&]() -> task<> {
                    auto held = co_await m.lock();
                    ++waiting;
                    while (!go)
                        co_await cv.wait(held);
                    ++woken;
                });
            auto held = co_await m.lock();
            while (waiting != count) {
                held.unlock();
                co_await leat::this_task::yield();
                held = co_await m.lock();
            }
            go = true;
            cv.notify_all();
            held.unlock();
        });
    });
    CHECK(woken == count);
}

TEST_CASE("condition_variable: destroyed with waiters it says so and ends the program" *
          doctest::skip(test::under_sanitizer))
{
    const test::child_end held = test::in_child([] {
        leat::mutex m;
        std::optional<leat::condition_variable> cv{std::in_place};
        leat::sim::world world;
        world
            .spawn([&]() -> task<> {
                auto mine = co_await m.lock();
                co_await cv->wait(mine);
            })
            .detach();
        world.settle();
        cv.reset();
        return 0;
    });
    CHECK(held.signal == SIGABRT);
}

TEST_CASE("condition_variable: a report names it, and afterwards its mutex")
{
    if (!LEAT_REGISTRY)
        return;
    leat::sim::world world;
    crowd all{world};
    all.add().detach();
    CHECK(world.report().find("waits for: condition_variable \"cv\"") != std::string::npos);
    auto held = all.m.try_lock();
    all.cv.notify_one();
    CHECK(world.report().find("waits for: mutex \"m\"") != std::string::npos);
    held.unlock();
    world.settle();
}
