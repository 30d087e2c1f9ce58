#include <leat/leat.hpp>

#include "support/parcel.hpp"
#include "support/rounds.hpp"

#include <doctest/doctest.h>

#include <chrono>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>

namespace {

using namespace std::chrono_literals;

}  // namespace

TEST_CASE("oneshot: a value, before it is waited for or after")
{
    leat::sim::world world;
    for (const bool before : {false, true}) {
        auto [promise, future] = leat::oneshot<std::string>{};
        std::string got;
        if (before)
            CHECK(promise.set_value("hello"));
        world.spawn([&got, mine = std::move(future)]() -> leat::task<> { got = co_await mine; }).detach();
        world.settle();
        if (!before) {
            CHECK(got.empty());
            CHECK(promise.set_value("hello"));
        }
        world.settle();
        CHECK(got == "hello");
        CHECK(promise.abandoned());
    }
}

TEST_CASE("oneshot: nothing, references, and values that only move")
{
    leat::sim::world world;
    world.run([]() -> leat::task<> {
        leat::oneshot<> signal;
        CHECK(signal.promise.set_value());
        co_await signal.future;

        int object = 1;
        leat::oneshot<int&> reference;
        reference.promise.set_value(object);
        int& got = co_await reference.future;
        CHECK(&got == &object);

        leat::oneshot<std::unique_ptr<int>> owner;
        owner.promise.set_value(std::make_unique<int>(7));
        const std::unique_ptr<int> owned = co_await std::move(owner.future);
        CHECK(*owned == 7);
    });
}

TEST_CASE("oneshot: a failure instead of a value")
{
    leat::sim::world world;
    world.run([]() -> leat::task<> {
        leat::oneshot<int> one;
        one.promise.set_exception(std::make_exception_ptr(std::domain_error{"on purpose"}));
        bool thrown = false;
        try {
            static_cast<void>(co_await one.future);
        } catch (const std::domain_error&) {
            thrown = true;
        }
        CHECK(thrown);
        leat::oneshot<int> other;
        other.promise.set_error(std::make_error_code(std::errc::no_such_file_or_directory));
        const leat::result<int> failed = co_await leat::as_result(other.future);
        CHECK(failed.error() == std::errc::no_such_file_or_directory);
    });
}

TEST_CASE("oneshot: a promise that goes without a value breaks, also under a task that waits")
{
    leat::sim::world world;
    for (const bool before : {false, true}) {
        auto one = std::make_unique<leat::oneshot<int>>();
        std::error_code why;
        bool caught = false;
        auto waiter = [&, mine = std::move(one->future)]() -> leat::task<> {
            try {
                static_cast<void>(co_await mine);
            } catch (const leat::broken_promise_error& error) {
                why = error.code();
                caught = true;
            }
        };
        if (before)
            one.reset();
        world.spawn(std::move(waiter)).detach();
        world.settle();
        one.reset();
        world.settle();
        CHECK(caught);
        CHECK(why == leat::errc::broken_promise);
    }
}

TEST_CASE("oneshot: kept twice, had twice, or used when empty, it says so")
{
    leat::oneshot<int> one;
    CHECK(one.promise.set_value(1));
    CHECK_THROWS_AS(one.promise.set_value(2), leat::usage_error);
    CHECK_THROWS_AS(one.promise.set_exception(nullptr), leat::usage_error);
    CHECK(one.future.ready());
    CHECK(one.future.blocking_get() == 1);
    CHECK_THROWS_AS(one.future.blocking_get(), leat::usage_error);
    leat::oneshot_promise<int> taken = std::move(one.promise);
    CHECK_FALSE(one.promise);
    CHECK_THROWS_AS(one.promise.set_value(3), leat::usage_error);
    leat::oneshot_future<int> empty;
    CHECK_THROWS_AS(static_cast<void>(empty.get()), leat::usage_error);
    CHECK_FALSE(empty.ready());
}

TEST_CASE("oneshot: a value that can not be made leaves the promise to be kept")
{
    class awkward {
    public:
        explicit awkward(int v) : value{v}
        {
            if (v < 0)
                throw std::domain_error{"on purpose"};
        }
        int value;
    };
    leat::oneshot<awkward> one;
    CHECK_THROWS_AS(one.promise.set_value(-1), std::domain_error);
    CHECK_FALSE(one.future.ready());
    CHECK(one.promise.set_value(3));
    CHECK(one.future.blocking_get().value == 3);
}

TEST_CASE("oneshot: the value of a future that has gone is dropped, and nothing leaks")
{
    const long parcels = test::parcel::live();
    {
        auto one = std::make_unique<leat::oneshot<test::parcel>>();
        leat::oneshot_promise<test::parcel> promise = std::move(one->promise);
        CHECK_FALSE(promise.abandoned());
        one.reset();
        CHECK(promise.abandoned());
        CHECK_FALSE(promise.set_value(3));
    }
    CHECK(test::parcel::live() == parcels);
}

TEST_CASE("oneshot: a cancelled wait leaves the value to the next, in every order")
{
    leat::sim::explore([](leat::sim::world& world) {
        leat::oneshot<test::parcel> one;
        const auto [ctx, cancel] = leat::with_cancel(leat::background());
        int got = 0;
        auto waiter = [&]() -> leat::task<> {
            leat::result<test::parcel> value = co_await leat::as_result(one.future);
            got += value ? value->value() : 0;
        };
        leat::join_handle<> first = world.spawn(waiter, {.context = ctx});
        world.spawn([&] { one.promise.set_value(7); }).detach();
        world.spawn([&, &stop = cancel] { stop(); }).detach();
        world.settle();
        CHECK(first.done());
        if (got == 0) {
            world.spawn(waiter).detach();
            world.settle();
        }
        CHECK(got == 7);
    });
}

TEST_CASE("oneshot: in a select, where the loser keeps its value")
{
    leat::sim::world world;
    world.run([]() -> leat::task<> {
        leat::oneshot<int> slow;
        leat::oneshot<int> quick;
        quick.promise.set_value(1);
        const auto got = co_await leat::select(slow.future, quick.future, leat::after(1s));
        CHECK(got.index == 1);
        slow.promise.set_value(2);
        int seen = 0;
        static_cast<void>(co_await leat::select(leat::on(slow.future, [&](int v) { seen = v; })));
        CHECK(seen == 2);
    });
}

TEST_CASE("oneshot: a thread of no runtime waits for a task, and the other way round")
{
    leat::runtime pool;
    for (int round = 0; round < test::rounds(2000); ++round) {
        auto [there, here] = leat::oneshot<int>{};
        pool.spawn([round, mine = std::move(there)]() mutable { mine.set_value(round); }).detach();
        CHECK(here.blocking_get() == round);
    }
    leat::oneshot<int> back;
    std::thread other{[promise = std::move(back.promise)]() mutable { promise.set_value(5); }};
    CHECK(pool.block_on([&]() -> leat::task<int> { co_return co_await back.future; }) == 5);
    other.join();
}

TEST_CASE("oneshot: both sides go at once, on two workers")
{
    const long parcels = test::parcel::live();
    leat::runtime_options options;
    options.workers = 3;
    leat::runtime pool{options};
    pool.block_on([]() -> leat::task<> {
        for (int round = 0; round < test::rounds(20'000); ++round) {
            auto [promise, future] = leat::oneshot<test::parcel>{};
            auto giver = [round, mine = std::move(promise)]() mutable {
                if (round % 3 != 0)
                    mine.set_value(round);
                auto gone = std::move(mine);
            };
            leat::join_handle<> other = leat::spawn(std::move(giver));
            if (round % 2 == 0) {
                auto mine = std::move(future);
                leat::result<test::parcel> got = co_await leat::as_result(mine);
                CHECK(got.has_value() == (round % 3 != 0));
            } else {
                auto gone = std::move(future);
            }
            co_await other;
        }
    });
    CHECK(test::parcel::live() == parcels);
}
