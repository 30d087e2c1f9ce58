#include <leat/leat.hpp>

#include "support/counted.hpp"
#include "support/rounds.hpp"
#include "support/scale.hpp"

#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <memory>
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

TEST_CASE("once: many call at once, it is done once, and nobody returns before it has been")
{
    leat::runtime pool{workers(3)};
    pool.block_on([]() -> leat::task<> {
        for (int round = 0; round < test::rounds(3000); ++round) {
            leat::once first;
            std::atomic<int> runs{0};
            int plain = 0;  // written by one, read by all
            auto make = [&]() -> leat::task<> {
                co_await leat::this_task::yield();
                plain = 1 + runs.fetch_add(1);
            };
            auto make_plainly = [&] { plain = 1 + runs.fetch_add(1); };
            leat::wait_group group;
            std::atomic<int> wrong{0};
            for (int i = 0; i < 10; ++i) {
                auto caller = [&, suspends = round % 2 == 0]() -> leat::task<> {
                    if (suspends)
                        co_await first.call(make);
                    else
                        co_await first.call(make_plainly);
                    wrong.fetch_add(plain == 1 ? 0 : 1);
                };
                group.spawn(caller);
            }
            co_await group.wait();
            CHECK(runs.load() == 1);
            CHECK(wrong.load() == 0);
            CHECK(first.done());
        }
    });
}

TEST_CASE("once: a million callers share one attempt, and are woken without growing the stack")
{
    const std::size_t count = test::scaled(1'000'000);
    leat::runtime pool{{.workers = 2}};
    std::atomic<std::size_t> come{0};
    std::atomic<std::size_t> served{0};
    std::atomic<int> attempts{0};
    pool.block_on([&]() -> leat::task<> {
        leat::once first;
        leat::event go;
        leat::wait_group group;
        auto work = [&]() -> leat::task<> {
            ++attempts;
            co_await go.wait();
        };
        for (std::size_t i = 0; i < count; ++i) {
            auto caller = [&]() -> leat::task<> {
                ++come;
                co_await first.call(work);
                served.fetch_add(1, std::memory_order_relaxed);
            };
            group.spawn(caller);
        }
        while (come != count)
            co_await leat::this_task::yield();
        CHECK(served == 0);
        go.set();
        co_await group.wait();
    });
    CHECK(served.load() == count);
    CHECK(attempts == 1);
}

TEST_CASE("once: what fails is thrown to all who share the attempt, and tried again")
{
    leat::sim::world world;
    leat::once first;
    int runs = 0;
    int failed = 0;
    auto fails_twice = [&]() -> leat::task<> {
        co_await leat::sleep_for(1ms);
        if (++runs < 3)
            throw std::domain_error{"on purpose"};
    };
    auto caller = [&]() -> leat::task<> {
        try {
            co_await first.call(fails_twice);
        } catch (const std::domain_error&) {
            ++failed;
        }
    };
    for (int i = 0; i < 5; ++i)
        world.spawn(caller).detach();
    world.advance(1ms);
    CHECK(runs == 1);
    CHECK(failed == 5);
    CHECK_FALSE(first.done());
    world.run(caller);
    CHECK(runs == 2);
    CHECK(failed == 6);
    world.run(caller);
    world.run(caller);
    CHECK(runs == 3);
    CHECK(failed == 6);
    CHECK(first.done());
}

TEST_CASE("once: a plain function that throws is tried again")
{
    leat::sim::world world;
    leat::once first;
    int runs = 0;
    auto fails_once = [&] {
        if (++runs == 1)
            throw std::domain_error{"on purpose"};
        return 5;  // which nobody wants
    };
    world.run([&]() -> leat::task<> {
        const leat::result<> failed = co_await leat::as_result(first.call(fails_once));
        CHECK(failed.error() == leat::errc::failed);
        CHECK_FALSE(first.done());
        co_await first.call(fails_once);
        co_await first.call(fails_once);
    });
    CHECK(runs == 2);
}

TEST_CASE("once: cancelling one caller, be it the one that began, leaves the others theirs")
{
    for (const int who : {0, 1}) {
        leat::sim::world world;
        leat::once first;
        int runs = 0;
        int done = 0;
        int cancelled = 0;
        auto slow = [&]() -> leat::task<> {
            ++runs;
            co_await leat::sleep_for(1s);
        };
        leat::cancellable_context contexts[2] = {leat::with_cancel(world.context()),
                                                 leat::with_cancel(world.context())};
        auto caller = [&]() -> leat::task<> {
            const leat::result<> called = co_await leat::as_result(first.call(slow));
            ++(called ? done : cancelled);
        };
        for (const auto& each : contexts) {
            world.spawn(caller, {.context = each.first}).detach();
            world.settle();
        }
        contexts[who].second();
        world.settle();
        CHECK(cancelled == 1);
        world.advance(1s);
        CHECK(done == 1);
        CHECK(runs == 1);
        CHECK(first.done());
    }
}

TEST_CASE("once: work that nobody waits for any more is cancelled, and begun anew by the next")
{
    leat::sim::world world;
    leat::once first;
    int began = 0;
    int ended = 0;
    int cleaned = 0;
    auto slow = [&]() -> leat::task<> {
        ++began;
        const leat::result<> slept = co_await leat::as_result(leat::sleep_for(1s));
        if (!slept) {
            ++cleaned;
            static_cast<void>(slept.value());
        }
        ++ended;
    };
    auto caller = [&]() -> leat::task<> { co_await leat::timeout(10ms, first.call(slow)); };
    CHECK_THROWS_AS(world.run(caller), leat::timed_out_error);
    world.settle();
    CHECK(began == 1);
    CHECK(cleaned == 1);
    CHECK_FALSE(first.done());
    world.run([&]() -> leat::task<> { co_await first.call(slow); });
    CHECK(began == 2);
    CHECK(ended == 1);
    CHECK(world.live_tasks() == 0);
}

TEST_CASE("once: in every order of callers and a cancellation it is done once, by whoever is left")
{
    leat::sim::explore({.schedules = 4000}, [](leat::sim::world& world) {
        leat::once first;
        const auto [ctx, cancel] = leat::with_cancel(leat::background());
        int runs = 0;
        int done = 0;
        auto work = [&]() -> leat::task<> {
            co_await leat::this_task::yield();
            ++runs;
        };
        auto caller = [&]() -> leat::task<> {
            const leat::result<> called = co_await leat::as_result(first.call(work));
            done += called ? 1 : 0;
        };
        world.spawn(caller, {.context = ctx}).detach();
        world.spawn(caller).detach();
        world.spawn([&, &stop = cancel] { stop(); }).detach();
        world.settle();
        CHECK(done >= 1);
        CHECK(runs == 1);
        CHECK(first.done());
        CHECK(world.live_tasks() == 0);
    });
}

TEST_CASE("once: the work sees the values of the caller that began it, not its end")
{
    leat::sim::world world;
    leat::once first;
    int seen = 0;
    const auto [ctx, cancel] = leat::with_cancel(leat::with_value(world.context(), 7));
    auto work = [&]() -> leat::task<> {
        const int* const value = leat::this_task::context().value<int>();
        seen = value != nullptr ? *value : -1;
        co_await leat::sleep_for(1s);
    };
    world.spawn([&]() -> leat::task<> { co_await first.call(work); }, {.context = ctx}).detach();
    bool done = false;
    world
        .spawn([&]() -> leat::task<> {
            co_await first.call(work);
            done = true;
        })
        .detach();
    world.settle();
    cancel();
    world.advance(1s);
    CHECK((seen == 7 || seen == -1));  // whoever came first
    CHECK(done);
}

TEST_CASE("once: destroyed as soon as the call has returned, while the work is still ending")
{
    leat::runtime pool{workers(3)};
    pool.block_on([]() -> leat::task<> {
        for (int round = 0; round < test::rounds(5000); ++round) {
            auto first = std::make_unique<leat::once>();
            auto work = []() -> leat::task<> { co_return; };
            if (round % 2 == 0) {
                co_await first->call(work);
            } else {
                auto helper = [&once = *first, &work]() -> leat::task<> { co_await once.call(work); };
                leat::join_handle<> other = leat::spawn(helper);
                co_await first->call(work);
                while (!first->done())
                    co_await leat::this_task::yield();
                co_await other;
            }
        }
    });
}

TEST_CASE("once: destroyed by its last caller, who was cancelled, while the work is on its way")
{
    leat::runtime pool{workers(3)};
    pool.block_on([]() -> leat::task<> {
        for (int round = 0; round < test::rounds(2000); ++round) {
            auto first = std::make_unique<leat::once>();
            auto work = []() -> leat::task<> { co_await leat::this_task::yield(); };
            const auto [ctx, cancel] = leat::with_cancel();
            auto caller = [&once = *first, &work]() -> leat::task<> {
                static_cast<void>(co_await leat::as_result(once.call(work)));
            };
            leat::join_handle<> call = leat::spawn(caller, {.context = ctx});
            if (round % 2 == 0)
                co_await leat::this_task::yield();
            cancel();
            co_await call;
            first.reset();
        }
    });
}

TEST_CASE("once: what is done is had even under a context that has ended; what is not, is not begun")
{
    leat::sim::world world;
    leat::once first;
    leat::once second;
    int runs = 0;
    auto work = [&] { ++runs; };
    world.run([&]() -> leat::task<> { co_await first.call(work); });
    const auto [ctx, cancel] = leat::with_cancel(world.context());
    cancel();
    bool had = false;
    bool refused = false;
    world
        .spawn(
            [&]() -> leat::task<> {
                co_await first.call(work);
                had = true;
                const leat::result<> other = co_await leat::as_result(second.call(work));
                refused = other.error() == leat::errc::cancelled;
            },
            {.context = ctx})
        .detach();
    world.settle();
    CHECK(had);
    CHECK(refused);
    CHECK(runs == 1);
}

TEST_CASE(
    "once: as a case of a select it does not begin under a context that has ended, nor if another is ready")
{
    leat::sim::world world;
    leat::once plain;
    leat::once slow;
    int runs = 0;
    auto work = [&] { ++runs; };
    auto slow_work = [&]() -> leat::task<> {
        ++runs;
        co_return;
    };
    const auto [ctx, cancel] = leat::with_cancel(world.context());
    cancel();
    bool refused = false;
    world
        .spawn(
            [&]() -> leat::task<> {
                const auto picked = co_await leat::as_result(
                    leat::select(plain.call(work), slow.call(slow_work), leat::after(1s)));
                const auto any =
                    co_await leat::as_result(leat::when_any(plain.call(work), slow.call(slow_work)));
                refused = picked.error() == leat::errc::cancelled && any.error() == leat::errc::cancelled;
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
            const auto picked = co_await leat::select(plain.call(work), ready.recv(), slow.call(slow_work));
            CHECK(picked.index == 1);
            const std::size_t nothing = co_await leat::select(
                leat::on(plain.call(work), [] {}), leat::on(slow.call(slow_work), [] {}), leat::otherwise());
            CHECK(nothing == 2);
        }
        CHECK(runs == 0);
        // With nothing else, it begins; and once it is done it is ready like any other.
        const auto first = co_await leat::select(plain.call(work), ready.recv());
        CHECK(first.index == 0);
        const auto second = co_await leat::select(ready.recv(), slow.call(slow_work));
        CHECK(second.index == 1);
        CHECK(runs == 2);
        const std::size_t done =
            co_await leat::select(leat::on(slow.call(slow_work), [] {}), leat::otherwise());
        CHECK(done == 0);
    });
    CHECK(runs == 2);
}

TEST_CASE("once: a select that finds its case done at once, over and over, lets others run")
{
    leat::sim::world world;
    leat::channel<int> never;
    bool stop = false;
    int rounds = 0;
    world
        .spawn([&]() -> leat::task<> {
            while (!stop && rounds < 1'000'000) {
                leat::once each;
                const auto picked = co_await leat::select(never.recv(), each.call([&] { ++rounds; }));
                CHECK(picked.index == 1);
            }
        })
        .detach();
    world.spawn([&] { stop = true; }).detach();
    world.settle();
    CHECK(rounds < 10'000);
}

TEST_CASE("once_value: is made once, and the same for all")
{
    leat::sim::world world;
    int made = 0;
    leat::once_value value{[&]() -> leat::task<std::string> {
        ++made;
        co_await leat::sleep_for(1s);
        co_return "expensive";
    }};
    std::vector<std::string*> seen;
    CHECK(value.try_get() == nullptr);
    for (int i = 0; i < 3; ++i)
        world
            .spawn([&]() -> leat::task<> {
                std::string& got = co_await value.get();
                seen.push_back(&got);
            })
            .detach();
    world.advance(1s);
    CHECK(made == 1);
    REQUIRE(seen.size() == 3);
    CHECK(seen[0] == seen[1]);
    CHECK(seen[1] == seen[2]);
    CHECK(*seen[0] == "expensive");
    CHECK(value.try_get() == seen[0]);
}

TEST_CASE("once_value: of a plain function, of a value that only moves, and with the function given late")
{
    leat::sim::world world;
    leat::once_value plain{[] { return 42; }};
    leat::once_value<std::unique_ptr<int>> late;
    world.run([&]() -> leat::task<> {
        const int& got = co_await plain.get();
        CHECK(got == 42);
        auto make = []() -> leat::task<std::unique_ptr<int>> { co_return std::make_unique<int>(7); };
        auto make_other = [] { return std::make_unique<int>(8); };
        const std::unique_ptr<int>& owned = co_await late.get(make);
        CHECK(*owned == 7);
        const std::unique_ptr<int>& again = co_await late.get(make_other);
        CHECK(*again == 7);
    });
    CHECK(late.done());
}

TEST_CASE("once_value: a failure is tried again; without a function there is nothing to try")
{
    leat::sim::world world;
    int runs = 0;
    leat::once_value value{[&]() -> leat::task<int> {
        if (++runs == 1)
            throw std::domain_error{"on purpose"};
        co_return runs;
    }};
    leat::once_value<int> empty;
    world.run([&]() -> leat::task<> {
        const leat::result<int&> failed = co_await leat::as_result(value.get());
        CHECK(failed.error() == leat::errc::failed);
        const int& got = co_await value.get();
        CHECK(got == 2);
        bool refused = false;
        try {
            static_cast<void>(co_await empty.get());
        } catch (const leat::usage_error&) {
            refused = true;
        }
        CHECK(refused);
    });
}

TEST_CASE("once_value: the value goes with the once_value, and nothing is left")
{
    const test::no_more_than_before counts;
    {
        leat::sim::world world;
        leat::once_value value{[]() -> leat::task<test::counted> { co_return test::counted{3}; }};
        world.run([&]() -> leat::task<> {
            const test::counted& got = co_await value.get();
            CHECK(got.value == 3);
        });
        CHECK(counts.excess() == 1);
    }
    CHECK(counts.excess() == 0);
}
