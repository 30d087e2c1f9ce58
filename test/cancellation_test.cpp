// Every awaitable of the library (support/awaitables.hpp) against every way in which a wait can be cut short.
#include "support/awaitables.hpp"
#include "support/counted.hpp"
#include "support/rounds.hpp"

#include <doctest/doctest.h>

#include <leat/leat.hpp>

#include <algorithm>
#include <array>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <thread>

namespace {

using namespace std::chrono_literals;
using test::awaitable_case;
using test::awaitable_entry;
using test::happens;

enum class ending { none, done, cancelled, timed_out, other };

const char* name_of(ending how)
{
    constexpr std::array names{"none", "done", "cancelled", "timed out", "other"};
    return names[static_cast<std::size_t>(how)];
}

doctest::String toString(ending how)
{
    return name_of(how);
}

struct attempt_result {
    std::atomic<ending> how{ending::none};
    std::string what;
    std::error_code code;
    bool same_executor = false;
    leat::clock::time_point at{};
};

/// One wait, and how it ended. What it holds is gone when the task is.
leat::task<> attempt(awaitable_case& of, attempt_result& into)
{
    const test::counted held{1};
    const leat::executor home = leat::this_task::executor();
    ending how = ending::none;
    try {
        co_await of.wait();
        how = ending::done;
    } catch (const leat::cancelled_error& thrown) {
        how = ending::cancelled;
        into.code = thrown.code();
    } catch (const leat::timed_out_error& thrown) {
        how = ending::timed_out;
        into.code = thrown.code();
    } catch (const std::exception& thrown) {
        how = ending::other;
        into.what = thrown.what();
    }
    into.same_executor =
        leat::this_task::executor() == home && leat::detail::current_turn()->sched == &home.sched();
    into.at = leat::clock::now();
    into.how.store(how);
}

/// The same with a result, and a case, that stay for as long as the task does: when a check has failed, it may wait for
/// ever, and ends with its world.
leat::task<> kept_attempt(std::shared_ptr<awaitable_case> of, std::shared_ptr<attempt_result> into)
{
    co_await attempt(*of, *into);
}

/// The same where no cancellation reaches it.
leat::task<> deaf_attempt(awaitable_case& of, attempt_result& into)
{
    const leat::context deaf = leat::without_cancel(leat::this_task::context());
    co_await leat::with_context(deaf, attempt(of, into));
}

/// A case in a world, set up.
class stage {
public:
    explicit stage(const awaitable_entry& of) : entry{of}
    {
        test::time_until_happening() = 1h;
        subject = of.create();
        world.run(subject->set_up());
    }
    void settle()
    {
        // A task may go elsewhere and come back.
        for (int i = 0; i < 3; ++i) {
            world.settle();
            subject->elsewhere();
        }
        world.settle();
    }
    template <class W>
    void start(W&& what, const leat::context& under)
    {
        world.spawn(std::forward<W>(what), {.context = under}).detach();
    }
    /// Makes it happen and lets everything follow that does.
    bool let_happen()
    {
        const bool made = subject->make();
        settle();
        world.advance(2h);
        settle();
        return made;
    }
    /// A wait of nobody's who is cancelled.
    ending wait_again()
    {
        const auto again = std::make_shared<attempt_result>();
        start(kept_attempt(subject, again), leat::background());
        settle();
        return again->how.load();
    }
    void tear_down()
    {
        start(subject->tear_down(), leat::background());
        settle();
    }

    const awaitable_entry& entry;
    leat::sim::world world;
    std::shared_ptr<awaitable_case> subject;
};

template <class Row>
void for_each_in_world(Row row)
{
    for (const awaitable_entry& each : test::awaitables())
        if (each.in_world) {
            INFO("awaitable: ", std::string{each.name});
            const test::no_more_than_before counts;
            const long parcels = test::parcel::live();
            {
                stage on{each};
                INFO("LEAT_SEED=", on.world.seed());
                row(on);
                on.tear_down();
                CHECK(on.world.live_tasks() == 0);
            }
            CHECK(counts.excess() == 0);
            CHECK(test::parcel::live() == parcels);
        }
}

}  // namespace

TEST_CASE("every awaitable: happens when nobody interferes")
{
    for_each_in_world([](stage& on) {
        attempt_result got;
        on.start(attempt(*on.subject, got), leat::background());
        if (on.entry.how != happens::at_once) {
            on.settle();
            CHECK(got.how.load() == ending::none);
            CHECK(on.let_happen());
        } else {
            on.settle();
        }
        CHECK(got.what == "");
        CHECK(got.how.load() == ending::done);
        CHECK(got.same_executor);
        CHECK(on.subject->left() == 0);
    });
}

TEST_CASE("every awaitable: under a context that has been cancelled it has no effect, ready or not")
{
    for (const bool ready : {false, true})
        for_each_in_world([ready](stage& on) {
            INFO("ready: ", ready);
            if (ready && (!on.entry.ready_ahead || on.entry.how == happens::by_itself))
                return;
            const auto [ended, cancel] = leat::with_cancel(on.world.context());
            cancel();
            if (ready) {
                CHECK(on.subject->make());
                on.settle();
                on.world.advance(1s);
            }
            const int before = on.subject->left();
            attempt_result got;
            on.start(attempt(*on.subject, got), ended);
            on.settle();
            CHECK(got.same_executor);
            if (ready && on.entry.if_ended) {
                CHECK(got.how.load() == ending::done);
                return;
            }
            CHECK(got.how.load() == ending::cancelled);
            CHECK(got.code == leat::errc::cancelled);
            CHECK(got.code == std::errc::operation_canceled);
            CHECK(got.same_executor);
            CHECK(on.subject->intact());
            CHECK(on.subject->left() == before);
            // Nothing was lost: whoever comes next has it.
            if (ready)
                CHECK(on.wait_again() == ending::done);
        });
}

TEST_CASE("every awaitable: cancelled while parked, it throws and has had no effect, and the next wait works")
{
    for_each_in_world([](stage& on) {
        const auto [ctx, cancel] = leat::with_cancel(on.world.context());
        attempt_result got;
        on.start(attempt(*on.subject, got), ctx);
        if (on.entry.how == happens::at_once)
            on.world.step();
        else
            on.settle();
        CHECK(got.how.load() == ending::none);
        cancel();
        on.settle();
        CHECK(got.how.load() == ending::cancelled);
        if (on.entry.how != happens::at_once)  // which may have moved, and stays where it is
            CHECK(got.same_executor);
        CHECK(on.subject->intact());
        CHECK(on.subject->left() == 0);
        attempt_result next;
        on.start(attempt(*on.subject, next), leat::background());
        on.settle();
        on.let_happen();
        CHECK(next.what == "");
        CHECK(next.how.load() == ending::done);
        CHECK(on.subject->left() == 0);
    });
}

TEST_CASE("every awaitable: cancelled in the same instant as it is made to happen, one of the two has won")
{
    for_each_in_world([](stage& on) {
        if (on.entry.how == happens::by_itself || on.entry.how == happens::at_once)
            return;
        for (const bool cancel_first : {false, true}) {
            INFO("cancel first: ", cancel_first);
            stage fresh{on.entry};
            const auto [ctx, cancel] = leat::with_cancel(fresh.world.context());
            attempt_result got;
            fresh.start(attempt(*fresh.subject, got), ctx);
            fresh.settle();
            if (cancel_first)
                cancel();
            const bool made = fresh.subject->make();
            if (!cancel_first)
                cancel();
            fresh.settle();
            fresh.world.advance(1s);
            fresh.settle();
            if (cancel_first && !on.entry.if_ended)
                CHECK(got.how.load() == ending::cancelled);
            CHECK((got.how.load() == ending::done || got.how.load() == ending::cancelled));
            if (got.how.load() == ending::done) {
                CHECK(made);
                CHECK(fresh.subject->left() == 0);
            } else {
                CHECK(fresh.subject->intact());
                if (made)
                    CHECK(fresh.wait_again() == ending::done);
            }
            fresh.tear_down();
        }
    });
}

TEST_CASE("every awaitable: a deadline ends it to the nanosecond, with timed_out_error")
{
    for_each_in_world([](stage& on) {
        if (on.entry.how == happens::at_once)
            return;
        const leat::clock::duration start = on.world.now();
        const auto [ctx, cancel] = leat::with_timeout(on.world.context(), 10ms);
        attempt_result got;
        on.start(attempt(*on.subject, got), ctx);
        on.settle();
        on.world.advance(10ms - 1ns);
        CHECK(got.how.load() == ending::none);
        on.world.advance(1ns);
        CHECK(got.how.load() == ending::timed_out);
        CHECK(got.code == leat::errc::deadline_exceeded);
        CHECK(got.code == std::errc::timed_out);
        CHECK(got.at.time_since_epoch() == start + 10ms);
        CHECK(got.same_executor);
        CHECK(on.subject->intact());
        CHECK(on.subject->left() == 0);
        attempt_result next;
        on.start(attempt(*on.subject, next), leat::background());
        on.settle();
        on.let_happen();
        CHECK(next.how.load() == ending::done);
    });
}

TEST_CASE("every awaitable: under a deadline that has passed it has no effect")
{
    for_each_in_world([](stage& on) {
        const auto [ctx, cancel] = leat::with_timeout(on.world.context(), -1ns);
        attempt_result got;
        on.start(attempt(*on.subject, got), ctx);
        on.settle();
        CHECK(got.how.load() == ending::timed_out);
        CHECK(on.subject->intact());
        CHECK(on.subject->left() == 0);
    });
}

TEST_CASE("every awaitable: under without_cancel it is not interrupted")
{
    for_each_in_world([](stage& on) {
        const auto [ctx, cancel] = leat::with_timeout(on.world.context(), 1ms);
        attempt_result got;
        on.start(deaf_attempt(*on.subject, got), ctx);
        on.settle();
        cancel();
        on.settle();
        on.world.advance(1s);
        if (on.entry.how != happens::at_once) {
            CHECK(got.how.load() == ending::none);
            on.let_happen();
        }
        CHECK(got.what == "");
        CHECK(got.how.load() == ending::done);
        CHECK(on.subject->left() == 0);
    });
}

TEST_CASE("every awaitable: cancelled through the task's handle while it waits, it throws")
{
    for_each_in_world([](stage& on) {
        if (on.entry.how == happens::at_once)
            return;
        attempt_result got;
        auto handle = on.world.spawn(attempt(*on.subject, got));
        on.settle();
        CHECK(got.how.load() == ending::none);
        handle.cancel();
        on.settle();
        CHECK(got.how.load() == ending::cancelled);
        CHECK(handle.done());
        CHECK(on.subject->intact());
        CHECK(on.subject->left() == 0);
        on.let_happen();
        if (on.entry.how != happens::by_itself && on.entry.ready_ahead)
            CHECK(on.wait_again() == ending::done);
    });
}

TEST_CASE("every awaitable: in every order of a waiter, a maker and a canceller there is one outcome")
{
    for (const awaitable_entry& each : test::awaitables()) {
        if (!each.in_world || each.how == happens::by_itself || each.how == happens::at_once)
            continue;
        INFO("awaitable: ", std::string{each.name});
        int done = 0;
        int cancelled = 0;
        // The first choice is the last to be varied, so there are no fewer where code is slow.
        leat::sim::explore({.schedules = 400}, [&](leat::sim::world& world) {
            const std::shared_ptr<awaitable_case> subject = each.create();
            world.run(subject->set_up());
            const auto [ctx, cancel] = leat::with_cancel(leat::background());
            const auto result = std::make_shared<attempt_result>();
            const attempt_result& got = *result;
            bool made = false;
            world.spawn(kept_attempt(subject, result), {.context = ctx}).detach();
            world.spawn([&] { made = subject->make(); }).detach();
            world.spawn([&, &stop = cancel] { stop(); }).detach();
            world.settle();
            world.advance(1s);
            CHECK((got.how.load() == ending::done || got.how.load() == ending::cancelled));
            if (got.how.load() == ending::done) {
                ++done;
                CHECK(made);
                CHECK(subject->left() == 0);
            } else {
                ++cancelled;
                CHECK(subject->intact());
                const auto next = std::make_shared<attempt_result>();
                world.spawn(kept_attempt(subject, next), {.context = leat::background()}).detach();
                world.settle();
                if (made) {
                    CHECK(next->how.load() == ending::done);
                } else {
                    CHECK(next->how.load() == ending::none);
                    CHECK(subject->make());
                    world.settle();
                    CHECK(next->how.load() == ending::done);
                }
            }
            world.spawn(subject->tear_down(), {.context = leat::background()}).detach();
            world.settle();
            CHECK(world.live_tasks() == 0);
        });
        CHECK((done > 0 || each.on_the_clock));
        CHECK(cancelled > 0);
    }
}

TEST_CASE(
    "every awaitable: a world that ends while a deaf task waits destroys it, and the source is as before")
{
    for (const awaitable_entry& each : test::awaitables()) {
        if (!each.in_world || each.how == happens::at_once)
            continue;
        INFO("awaitable: ", std::string{each.name});
        const test::no_more_than_before counts;
        const long parcels = test::parcel::live();
        {
            test::time_until_happening() = 1h;
            std::unique_ptr<awaitable_case> subject;
            attempt_result got;
            {
                leat::sim::world world;
                subject = each.create();
                world.run(subject->set_up());
                world.spawn(deaf_attempt(*subject, got)).detach();
                world.settle();
                CHECK(got.how.load() == ending::none);
                if (!each.outlives) {
                    leat::sim::world* const ending_world = &world;
                    CHECK(ending_world->live_tasks() != 0);
                }
            }
            CHECK(got.how.load() == (each.how == happens::by_itself ? got.how.load() : ending::none));
            CHECK(counts.excess() == 0);
            CHECK(subject->left() == 0);
            if (each.outlives && each.how != happens::by_itself) {
                leat::sim::world another;
                attempt_result next;
                another.spawn(attempt(*subject, next)).detach();
                another.settle();
                CHECK(subject->make());
                another.settle();
                CHECK(next.how.load() == ending::done);
            }
        }
        CHECK(counts.excess() == 0);
        CHECK(test::parcel::live() == parcels);
    }
}

namespace {

leat::runtime_options quiet(int workers, std::chrono::nanoseconds grace = 5s)
{
    leat::runtime_options options;
    options.workers = workers;
    options.blocking_threads = 1;
    options.grace = grace;
    options.on_stuck = [](const std::string&) {};
    options.detect_deadlock = false;
    return options;
}

leat::task<> build(const awaitable_entry& each, std::unique_ptr<awaitable_case>& into)
{
    into = each.create();
    co_await into->set_up();
}

leat::join_handle<> start(leat::runtime& pool, leat::task<> what)
{
    return pool.spawn(std::move(what), {.name = "attempt"});
}

/// Nothing but a report tells that a task has parked.
void until_parked(leat::runtime& pool)
{
    const auto parked = [&] {
        const auto all = leat::inspect::tasks(pool.get_executor());
        return std::any_of(all.begin(), all.end(),
                           [](const auto& each) { return each.parked && each.name == "attempt"; });
    };
    while (!parked())
        std::this_thread::yield();
}

/// A wait that has to succeed, in a runtime of its own.
ending wait_elsewhere(awaitable_case& of)
{
    leat::runtime another{quiet(2)};
    attempt_result next;
    const leat::join_handle<> waiter = start(another, attempt(of, next));
    until_parked(another);
    CHECK(of.make());
    another.block_on([&]() -> leat::task<> { co_await waiter; });
    return next.how.load();
}

}  // namespace

TEST_CASE("every awaitable: a runtime that stops while a task waits cancels the wait")
{
    for (const awaitable_entry& each : test::awaitables()) {
        if (!each.on_pool || each.how == happens::at_once)
            continue;
        INFO("awaitable: ", std::string{each.name});
        const test::no_more_than_before counts;
        const long parcels = test::parcel::live();
        {
            test::time_until_happening() = 1h;
            std::unique_ptr<awaitable_case> subject;
            attempt_result got;
            {
                leat::runtime pool{quiet(2)};
                pool.block_on(build(each, subject));
                start(pool, attempt(*subject, got)).detach();
                until_parked(pool);
                CHECK(got.how.load() == ending::none);
                // What was set up is deaf, so it is told to go while the runtime ends.
                std::thread stopper{[&] { pool.stop(); }};
                while (got.how.load() == ending::none)
                    std::this_thread::yield();
                CHECK(got.how.load() == ending::cancelled);
                CHECK(subject->intact());
                CHECK(subject->left() == 0);
                pool.spawn(subject->tear_down(), {.context = leat::background()}).detach();
                stopper.join();
                if (!each.outlives)
                    subject.reset();
            }
            if (subject && each.how != happens::by_itself)
                CHECK(wait_elsewhere(*subject) == ending::done);
        }
        CHECK(counts.excess() == 0);
        CHECK(test::parcel::live() == parcels);
    }
}

TEST_CASE(
    "every awaitable: a runtime that ends while a deaf task waits destroys it, and the source is as before")
{
    for (const awaitable_entry& each : test::awaitables()) {
        if (!each.on_pool || !each.outlives || each.how == happens::at_once)
            continue;
        INFO("awaitable: ", std::string{each.name});
        const test::no_more_than_before counts;
        const long parcels = test::parcel::live();
        {
            test::time_until_happening() = 1h;
            std::unique_ptr<awaitable_case> subject;
            attempt_result got;
            {
                leat::runtime pool{quiet(2, 1ms)};
                pool.block_on(build(each, subject));
                start(pool, deaf_attempt(*subject, got)).detach();
                until_parked(pool);
            }
            CHECK(got.how.load() == ending::none);
            CHECK(counts.excess() == 0);
            CHECK(subject->left() == 0);
            if (each.how != happens::by_itself)
                CHECK(wait_elsewhere(*subject) == ending::done);
        }
        CHECK(counts.excess() == 0);
        CHECK(test::parcel::live() == parcels);
    }
}

namespace {

struct race {
    std::unique_ptr<awaitable_case> subject;
    leat::cancellable_context limit = leat::with_cancel(leat::background());
    attempt_result got;
    attempt_result next;
    bool made = false;
};

struct tally {
    std::size_t done = 0;
    std::size_t cancelled = 0;
    std::size_t wrong = 0;
    std::string what;
    void note(bool right, const char* complaint)
    {
        if (!right && wrong++ == 0)
            what = complaint;
    }
};

/// Waiters, makers and cancellers of a few cases at a time, spread over the workers in random order.
leat::task<> race_many(const awaitable_entry& each, int rounds, unsigned seed, tally& sum)
{
    constexpr int side_by_side = 8;
    std::mt19937 random{seed};
    const leat::context deaf = leat::without_cancel(leat::background());
    for (int round = 0; round < rounds; round += side_by_side) {
        std::vector<std::unique_ptr<race>> races;
        for (int i = 0; i < side_by_side; ++i) {
            races.push_back(std::make_unique<race>());
            co_await build(each, races.back()->subject);
        }
        std::vector<int> order;
        for (int i = 0; i < 3 * side_by_side; ++i)
            order.push_back(i);
        std::shuffle(order.begin(), order.end(), random);
        const bool waiters_first = random() % 2 == 0;
        if (waiters_first)
            std::partition(order.begin(), order.end(), [](int what) { return what % 3 == 0; });
        const unsigned turns_apart = random() % 4;
        // The clock is looked at only now and then.
        const bool by_the_clock = each.how == happens::by_itself || each.on_the_clock;
        const unsigned patience = by_the_clock ? static_cast<unsigned>(random() % 400) : 0;
        co_await leat::with_group([&](leat::task_group& group) -> leat::task<> {
            int started = 0;
            for (const int what : order) {
                race& r = *races[static_cast<std::size_t>(what / 3)];
                if (what % 3 == 0) {
                    static_cast<void>(
                        co_await group.spawn(attempt(*r.subject, r.got), {.context = r.limit.first}));
                } else if (what % 3 == 1) {
                    static_cast<void>(co_await group.spawn([&r] { r.made = r.subject->make(); }));
                } else {
                    static_cast<void>(co_await group.spawn([&r, patience]() -> leat::task<> {
                        for (unsigned i = 0; i < patience; ++i)
                            co_await leat::this_task::yield();
                        r.limit.second();
                    }));
                }
                if (waiters_first && ++started == side_by_side)
                    for (unsigned i = 0; i < turns_apart; ++i)
                        co_await leat::this_task::yield();
            }
        });
        for (const std::unique_ptr<race>& each_race : races) {
            race& r = *each_race;
            const ending how = r.got.how;
            sum.note(how == ending::done || how == ending::cancelled, "ended in a third way");
            sum.note(r.got.what.empty(), r.got.what.c_str());
            sum.note(r.got.same_executor, "resumed elsewhere");
            if (how == ending::done) {
                ++sum.done;
                sum.note(r.made || each.how != happens::once, "happened although nobody made it");
                sum.note(r.subject->left() == 0, "happened, and was not used up");
            } else {
                ++sum.cancelled;
                sum.note(r.subject->intact(), "a value is gone that was not sent");
                if (!r.made && each.how == happens::once && !r.subject->make())
                    continue;
                if (each.how == happens::by_itself)
                    continue;
                // If it was lost, this waits for ever.
                const leat::result<> again =
                    co_await leat::as_result(leat::timeout(20s, attempt(*r.subject, r.next)));
                sum.note(again.has_value() && r.next.how.load() == ending::done,
                         "what was made has been lost");
            }
        }
        for (const std::unique_ptr<race>& each_race : races)
            co_await each_race->subject->tear_down();
    }
}

}  // namespace

TEST_CASE(
    "every awaitable: raced 100,000 times by a maker and a canceller on the pool, it has one outcome, and loses "
    "nothing")
{
    const unsigned seed = std::random_device{}();
    MESSAGE("seed ", seed);
    for (const awaitable_entry& each : test::awaitables()) {
        if (!each.on_pool)
            continue;
        INFO("awaitable: ", std::string{each.name});
        const test::no_more_than_before counts;
        const long parcels = test::parcel::live();
        tally sum;
        {
            test::time_until_happening() = 5us;
            // One blocking thread for each of those that are raced side by side would not do: they hold it.
            const std::string name = each.name;
            const bool slow = name.find("blocking") != std::string::npos;
            leat::runtime_options options = quiet(3);
            options.blocking_threads = slow ? 64 : 1;
            leat::runtime pool{options};
            // Each of these asks the system, or leat, for much.
            constexpr std::array<std::string_view, 6> costly{"as_result(blocking)",    "use_task, connect",
                                                             "use_task, resolve",      "use_task, signal",
                                                             "use_task, socket write", "race_to_connect"};
            const bool costs = std::find(costly.begin(), costly.end(), name) != costly.end();
            std::size_t full = costs ? 20'000 : 100'000;
            if (test::under_sanitizer)
                full = slow ? 2000 : 16'000;
            pool.block_on(race_many(each, test::rounds(full), seed, sum));
        }
        CHECK(sum.what == "");
        CHECK(sum.wrong == 0);
        // Of the fewer rounds where code is instrumented one side may win all.
        CHECK((sum.cancelled > 0 || test::under_sanitizer));
        CHECK((sum.done > 0 || test::under_sanitizer));
        CHECK(counts.excess() == 0);
        CHECK(test::parcel::live() == parcels);
    }
}

// -- what the table does not say: contexts that are replaced or dropped while a task lives ----------------------

TEST_CASE("group: a child given a context of its own keeps it when nobody else does")
{
    leat::sim::world world;
    int seen = 0;
    world.run([&]() -> leat::task<> {
        co_await leat::with_group([&](leat::task_group& group) -> leat::task<> {
            auto child = [&]() -> leat::task<> {
                co_await leat::sleep_for(1s);
                const int* const value = leat::this_task::context().value<int>();
                seen = value != nullptr ? *value : -1;
            };
            const leat::context given = leat::with_value(group.context(), 7);
            static_cast<void>(co_await group.spawn(child, {.context = given}));
        });
    });
    CHECK(seen == 7);
}

TEST_CASE("group: under another context, the task's own still ends with its handle, and survives the group")
{
    leat::sim::world world;
    const auto [other, cancel_other] = leat::with_cancel(leat::background());
    bool body_cancelled = false;
    bool after_cancelled = false;
    auto handle = world.spawn([&, &the_other = other]() -> leat::task<> {
        try {
            co_await leat::with_group({.context = the_other}, [&](leat::task_group&) -> leat::task<> {
                // Asks for a context that can be cancelled, which must not become that of the group.
                const leat::context inner = leat::this_task::context();
                co_await leat::sleep_for(1s);
                body_cancelled = inner.cancelled();
            });
            co_await leat::sleep_for(1h);
        } catch (const leat::cancelled_error&) {
            after_cancelled = true;
        }
    });
    world.settle();
    handle.cancel();
    world.advance(2s);
    CHECK_FALSE(body_cancelled);
    CHECK(after_cancelled);
    CHECK(handle.done());
}

TEST_CASE("resume_on: a task that has moved outlives the runtime it comes from, and its root context")
{
    leat::runtime there{quiet(1)};
    std::atomic<bool> moved{false};
    std::atomic<bool> go{false};
    leat::join_handle<> handle;
    std::error_code why;
    {
        leat::runtime here{quiet(1)};
        handle = here.spawn([&]() -> leat::task<> {
            co_await leat::this_task::resume_on(there.get_executor());
            moved.store(true);
            go.wait(false);
            why = leat::this_task::context().error();
            const leat::result<> waited = co_await leat::as_result(leat::sleep_for(1h));
            if (waited.error() != why)
                why = {};
        });
        while (!moved.load())
            std::this_thread::yield();
    }
    go.store(true);
    go.notify_all();
    there.block_on([&]() -> leat::task<> { co_await handle; });
    CHECK(why == leat::errc::cancelled);
}

TEST_CASE("when_any: of blocking calls, which are no cases for select, each runs in a task of its own")
{
    leat::runtime pool{quiet(2)};
    const std::size_t first = pool.block_on([]() -> leat::task<std::size_t> {
        auto quick = [] { return 1; };
        auto also = [] { return 2; };
        const auto got = co_await leat::when_any(leat::blocking(quick), leat::blocking(also));
        co_return got.index;
    });
    CHECK(first < 2);
}

TEST_CASE("recv: an operation that is awaited again has nothing left of the time before")
{
    leat::sim::world world;
    int received = 0;
    world.run([&]() -> leat::task<> {
        leat::channel<std::string> ch{2};
        co_await ch.send("one");
        co_await ch.send("two");
        ch.close();
        auto next = ch.recv();
        while (const std::optional<std::string> got = co_await next)
            if (++received > 2)
                break;
    });
    CHECK(received == 2);
}

TEST_CASE("when_any: the winner's result counts, although the caller is cancelled in the same instant")
{
    leat::sim::world world;
    const auto [ctx, cancel] = leat::with_cancel(leat::background());
    const leat::channel<int> ch{1};
    std::optional<int> got;
    auto take = [](leat::channel<int> from) -> leat::task<int> {
        const std::optional<int> value = co_await from.recv();
        co_return value.value_or(0);
    };
    world
        .spawn(
            [&]() -> leat::task<> {
                const auto first = co_await leat::when_any(take(leat::channel<int>{}), take(ch));
                got = std::get<1>(first.value);
            },
            {.context = ctx})
        .detach();
    world.settle();
    CHECK(ch.try_send(7).has_value());
    cancel();
    world.settle();
    CHECK(got == 7);
}
