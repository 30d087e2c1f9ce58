#include "support/rounds.hpp"

#include <leat/flow/circuit_breaker.hpp>
#include <leat/leat.hpp>

#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <deque>
#include <optional>
#include <random>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace {

using namespace std::chrono_literals;
using leat::circuit_breaker;
using leat::circuit_state;
using leat::trip_policy;

leat::task<int> answers()
{
    co_return 42;
}
leat::task<int> fails()
{
    throw std::domain_error{"on purpose"};
    co_return 0;
}

/// One call by hand.
void call(circuit_breaker& circuit, bool succeeds)
{
    auto permit = circuit.try_enter();
    REQUIRE(static_cast<bool>(permit));
    if (succeeds)
        permit.succeed();
    else
        permit.fail();
}

TEST_CASE(
    "circuit_breaker: opens after failures in a row, refuses for a time, then lets one try, and closes if that succeeds")
{
    leat::sim::world world{1};
    world.run([&]() -> leat::task<> {
        circuit_breaker circuit{{.trip = trip_policy::consecutive(3), .open_for = 10s}};
        for (int i = 0; i < 2; ++i) {
            const auto failed = co_await leat::as_result(circuit.run(fails));
            CHECK(failed.error() == leat::errc::failed);
        }
        int answer = co_await circuit.run(answers);
        CHECK(answer == 42);
        for (int i = 0; i < 3; ++i) {
            CHECK(circuit.state() == circuit_state::closed);
            const auto failed = co_await leat::as_result(circuit.run(fails));
            CHECK(failed.error() == leat::errc::failed);
        }
        CHECK(circuit.state() == circuit_state::open);
        co_await leat::sleep_for(4s);
        try {
            static_cast<void>(co_await circuit.run(answers));
            CHECK(false);
        } catch (const leat::circuit_open_error& refused) {
            CHECK(refused.retry_after() == 6s);
            CHECK(refused.code() == leat::errc::rejected);
            CHECK(refused.code() == std::errc::resource_unavailable_try_again);
        }
        co_await leat::sleep_for(6s - 1ns);
        CHECK(circuit.state() == circuit_state::open);
        co_await leat::sleep_for(1ns);
        CHECK(circuit.state() == circuit_state::half_open);
        answer = co_await circuit.run(answers);
        CHECK(answer == 42);
        CHECK(circuit.state() == circuit_state::closed);

        const leat::circuit_breaker_stats stats = circuit.stats();
        CHECK(stats.succeeded == 2);
        CHECK(stats.failed == 5);
        CHECK(stats.rejected == 1);
        CHECK(stats.tripped == 1);
    });
    CHECK(world.live_tasks() == 0);
}

TEST_CASE("circuit_breaker: a try that fails opens it again, for longer each time, up to a bound")
{
    leat::sim::world world{2};
    world.run([&]() -> leat::task<> {
        circuit_breaker circuit{
            {.trip = trip_policy::consecutive(1), .open_for = 10s, .open_factor = 2, .max_open = 35s}};
        call(circuit, false);
        for (const auto open_for : {10s, 20s, 35s, 35s}) {
            co_await leat::sleep_for(open_for - 1ns);
            CHECK(circuit.state() == circuit_state::open);
            CHECK(circuit.try_enter().retry_after() == 1ns);
            co_await leat::sleep_for(1ns);
            call(circuit, false);
        }
        co_await leat::sleep_for(35s);
        call(circuit, true);
        // From the beginning.
        call(circuit, false);
        co_await leat::sleep_for(10s);
        CHECK(circuit.state() == circuit_state::half_open);
    });
}

TEST_CASE("circuit_breaker: it may stay open for ever")
{
    leat::sim::world world{8};
    world.run([&]() -> leat::task<> {
        constexpr auto ever = leat::clock::duration::max();
        circuit_breaker circuit{
            {.trip = trip_policy::consecutive(1), .open_for = 1s, .open_factor = 1e30, .max_open = ever}};
        call(circuit, false);
        co_await leat::sleep_for(1s);
        call(circuit, false);
        co_await leat::sleep_for(24h * 10000);
        CHECK(circuit.state() == circuit_state::open);
        CHECK(circuit.try_enter().retry_after() == ever - 24h * 10000);
    });
}

TEST_CASE("circuit_breaker: half open it lets so many try at a time, and closes when so many have succeeded")
{
    leat::sim::world world{3};
    world.run([&]() -> leat::task<> {
        circuit_breaker circuit{
            {.trip = trip_policy::consecutive(1), .open_for = 1s, .probes = 2, .successes = 3}};
        call(circuit, false);
        co_await leat::sleep_for(1s);
        {
            auto first = circuit.try_enter();
            auto second = circuit.try_enter();
            CHECK(first);
            CHECK(second);
            CHECK(!circuit.try_enter());
            first.succeed();
            CHECK(circuit.try_enter());  // dropped at once, without a word
            CHECK(circuit.state() == circuit_state::half_open);
            second.succeed();
        }
        CHECK(circuit.state() == circuit_state::half_open);
        call(circuit, true);
        CHECK(circuit.state() == circuit_state::closed);
    });
}

TEST_CASE("circuit_breaker: what ends in another state than it began in does not count")
{
    leat::sim::world world{4};
    world.run([&]() -> leat::task<> {
        circuit_breaker circuit{{.trip = trip_policy::consecutive(1), .open_for = 1s}};
        auto early = circuit.try_enter();
        auto also_early = circuit.try_enter();
        call(circuit, false);
        CHECK(circuit.state() == circuit_state::open);
        early.succeed();
        CHECK(circuit.state() == circuit_state::open);
        co_await leat::sleep_for(1s);
        auto probe = circuit.try_enter();
        also_early.fail();
        CHECK(circuit.state() == circuit_state::half_open);
        probe.succeed();
        CHECK(circuit.state() == circuit_state::closed);
        CHECK(circuit.stats().ignored == 2);
    });
}

TEST_CASE("circuit_breaker: opens at a rate of failures among the last calls")
{
    circuit_breaker circuit{{.trip = trip_policy::rate(0.5, 10)}};
    // Nine calls are too few, whatever became of them.
    for (int i = 0; i < 9; ++i)
        call(circuit, i % 2 == 0);
    CHECK(circuit.state() == circuit_state::closed);  // of nine, four have failed
    call(circuit, true);
    for (int i = 0; i < 4; ++i)
        call(circuit, true);
    CHECK(circuit.state() == circuit_state::closed);
    for (int i = 0; i < 4; ++i)
        call(circuit, false);
    CHECK(circuit.state() == circuit_state::closed);  // the earlier failures have left the window
    call(circuit, false);
    CHECK(circuit.state() == circuit_state::open);
}

/// The window, as one would write it without a thought for speed.
bool naive_rate(const std::deque<bool>& failed, double part)
{
    std::size_t failures = 0;
    for (const bool each : failed)
        failures += each;
    return static_cast<double>(failures) >= part * static_cast<double>(failed.size());
}

TEST_CASE("circuit_breaker: the rate agrees with a naive window over random calls")
{
    std::mt19937 dice{99};
    for (int round = 0; round < test::rounds(500); ++round) {
        const auto size = static_cast<std::uint32_t>(1 + dice() % 20);
        const double part = 0.05 * (1 + static_cast<double>(dice() % 20));
        circuit_breaker circuit{{.trip = trip_policy::rate(part, size)}};
        std::deque<bool> last;
        for (int i = 0; i < 200; ++i) {
            const bool failed = dice() % 3 == 0;
            call(circuit, !failed);
            last.push_back(failed);
            if (last.size() > size)
                last.pop_front();
            const bool tripped = failed && last.size() == size && naive_rate(last, part);
            REQUIRE((circuit.state() == circuit_state::open) == tripped);
            if (tripped) {
                circuit.reset();
                last.clear();
            }
        }
    }
}

TEST_CASE("circuit_breaker: opens at a rate of failures within a time, and forgets what is older")
{
    leat::sim::world world{5};
    world.run([&]() -> leat::task<> {
        circuit_breaker circuit{{.trip = trip_policy::rate_within(0.5, 10s, 4), .open_for = 1s}};
        for (int i = 0; i < 3; ++i)
            call(circuit, false);
        CHECK(circuit.state() == circuit_state::closed);  // too few
        co_await leat::sleep_for(12s);
        for (int i = 0; i < 3; ++i)
            call(circuit, false);
        CHECK(circuit.state() == circuit_state::closed);  // the others are forgotten
        for (int i = 0; i < 4; ++i)
            call(circuit, true);
        co_await leat::sleep_for(5s);
        call(circuit, false);
        CHECK(circuit.state() == circuit_state::open);  // four of eight
    });
}

TEST_CASE("circuit_breaker: what says whether a failure counts may capture")
{
    leat::sim::world world;
    bool counts = false;
    world.run([&]() -> leat::task<> {
        circuit_breaker circuit{{.trip = trip_policy::consecutive(1),
                                 .counts = [&counts](const std::exception_ptr&) { return counts; }}};
        static_cast<void>(co_await leat::as_result(circuit.run(fails)));
        CHECK(circuit.state() == circuit_state::closed);
        counts = true;
        static_cast<void>(co_await leat::as_result(circuit.run(fails)));
        CHECK(circuit.state() == circuit_state::open);
    });
}

TEST_CASE("circuit_breaker: what counts is the user's to say; being cancelled never does; slow calls fail")
{
    leat::sim::world world{6};
    world.run([&]() -> leat::task<> {
        circuit_breaker circuit{
            {.trip = trip_policy::consecutive(1), .slow = 2s, .counts = [](const std::exception_ptr& thrown) {
                 try {
                     std::rethrow_exception(thrown);
                 } catch (const std::domain_error&) {
                     return false;
                 } catch (...) {
                     return true;
                 }
             }}};
        static_cast<void>(co_await leat::as_result(circuit.run(fails)));
        CHECK(circuit.state() == circuit_state::closed);
        CHECK(circuit.stats().succeeded == 1);

        auto forever = []() -> leat::task<> { co_await leat::sleep_for(1h); };
        auto cancelled = [&]() -> leat::task<> {
            auto [ended, cancel] = leat::with_cancel();
            cancel();
            co_await leat::with_context(ended, circuit.run(forever));
        };
        auto how = co_await leat::as_result(cancelled());
        CHECK(how.error() == leat::errc::cancelled);
        CHECK(circuit.state() == circuit_state::closed);
        CHECK(circuit.stats().ignored == 1);

        auto takes = [](leat::clock::duration span) -> leat::task<> { co_await leat::sleep_for(span); };
        co_await circuit.run([&] { return takes(2s); });
        CHECK(circuit.state() == circuit_state::closed);
        co_await circuit.run([&] { return takes(2s + 1ns); });
        CHECK(circuit.state() == circuit_state::open);
        circuit.reset();

        // A time limit within counts.
        auto limited = [&] { return leat::timeout(1s, takes(1h)); };
        auto late = co_await leat::as_result(circuit.run(limited));
        CHECK(late.error() == leat::errc::deadline_exceeded);
        CHECK(circuit.state() == circuit_state::open);
    });
    CHECK(world.live_tasks() == 0);
}

TEST_CASE("circuit_breaker: runs functions of all kinds; a result without a value is a failure")
{
    leat::sim::world world{7};
    world.run([&]() -> leat::task<> {
        circuit_breaker circuit{{.trip = trip_policy::consecutive(2)}};
        int calls = 0;
        const int plain = co_await circuit.run([&] { return ++calls; });
        CHECK(plain == 1);
        int& same = co_await circuit.run([&]() -> int& { return calls; });
        CHECK(&same == &calls);
        co_await circuit.run([&] { ++calls; });
        CHECK(calls == 2);
        auto refusal = []() -> leat::result<int> { return leat::errc::failed; };
        for (int i = 0; i < 2; ++i) {
            const leat::result<int> got = co_await circuit.run(refusal);
            CHECK(got.error() == leat::errc::failed);
        }
        CHECK(circuit.state() == circuit_state::open);
    });
}

TEST_CASE("circuit_breaker: by hand")
{
    circuit_breaker circuit;
    CHECK(circuit.state() == circuit_state::closed);
    circuit.trip();
    CHECK(circuit.state() == circuit_state::open);
    CHECK(!circuit.try_enter());
    CHECK(circuit.try_enter().retry_after() > 29s);
    circuit.reset();
    CHECK(circuit.try_enter());
}

TEST_CASE("circuit_breaker: opened by hand while it is half open, it does not stay open for longer")
{
    leat::sim::world world{1};
    world.run([&]() -> leat::task<> {
        leat::circuit_breaker circuit{{.open_for = 1s, .open_factor = 2}};
        circuit.trip();
        co_await leat::sleep_for(1s);
        CHECK(circuit.state() == leat::circuit_state::half_open);
        circuit.trip();
        CHECK(circuit.try_enter().retry_after() == 1s);
    });
}

TEST_CASE("circuit_breaker: many at once on the pool; everything is counted once")
{
    leat::runtime pool{{.workers = 4}};
    circuit_breaker circuit{
        {.trip = trip_policy::rate(0.5, 8), .open_for = 50us, .probes = 2, .successes = 2}};
    const int each = test::rounds(20'000);
    std::atomic<long> called{0};
    std::atomic<long> refused{0};
    pool.block_on([&]() -> leat::task<> {
        co_await leat::with_group([&](leat::task_group& group) -> leat::task<> {
            for (int i = 0; i < 8; ++i)
                co_await group.spawn([&, i]() -> leat::task<> {
                    for (int n = 0; n < each; ++n) {
                        auto permit = circuit.try_enter();
                        if (!permit) {
                            ++refused;
                            co_await leat::this_task::yield();
                            continue;
                        }
                        ++called;
                        if ((n + i) % 5 == 0)
                            co_await leat::this_task::yield();
                        if ((n + i) % 3 == 0)
                            permit.fail();
                        else if ((n + i) % 7 != 0)
                            permit.succeed();
                    }
                });
        });
    });
    const leat::circuit_breaker_stats stats = circuit.stats();
    CHECK(static_cast<long>(stats.succeeded + stats.failed + stats.ignored) == called.load());
    CHECK(static_cast<long>(stats.rejected) == refused.load());
}

}  // namespace
