#include <leat/flow.hpp>
#include <leat/leat.hpp>

#include "support/rounds.hpp"
#include "support/scale.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>
#include <random>
#include <string>
#include <type_traits>
#include <vector>

using namespace std::chrono_literals;
using leat::rate;
using leat::rate_limiter;
using leat::task;

static_assert(std::is_nothrow_copy_constructible_v<rate_limiter>);
static_assert(!std::is_copy_constructible_v<leat::reservation>);
static_assert(std::is_nothrow_move_constructible_v<leat::reservation>);

namespace {

std::chrono::nanoseconds now()
{
    return leat::clock::now().time_since_epoch();
}

}  // namespace

// ---- Rates -----------------------------------------------------------------------------------------

TEST_CASE("rate: numbers are so many a second, kept as the fraction they stand for")
{
    CHECK(rate{10} == rate::per(10, 1s));
    CHECK(rate{10.0} == rate{10});
    CHECK(rate{0.1} == rate::per(1, 10s));
    CHECK(rate{1.0 / 3} == rate::per(1, 3s));
    CHECK(rate{2.5} == rate::per(5, 2s));
    CHECK(rate{1e9} == rate::every(1ns));
    CHECK(rate::every(100ms) == rate{10});
    CHECK(rate::every(0s).is_infinite());
    CHECK(rate::every(-1s).is_infinite());
    CHECK(rate{std::numeric_limits<double>::infinity()}.is_infinite());
    CHECK(rate{1e30}.is_infinite());
    CHECK(rate{0}.per_second() == 0);
    CHECK(rate{1e-30}.per_second() > 0);
    CHECK(rate{7}.per_second() == doctest::Approx(7));
    for (double tried : {1e-9, 0.001, 0.7, 3.14159265358979, 1234567.891, 1e12, 9.9e17})
        CHECK(rate{tried}.per_second() == doctest::Approx(tried).epsilon(1e-9));
    CHECK_THROWS_AS(rate{-1.0}, leat::usage_error);
    CHECK_THROWS_AS(rate{-1}, leat::usage_error);
    CHECK_THROWS_AS(rate{std::nan("")}, leat::usage_error);
    CHECK_THROWS_AS(rate::per(1, 0s), leat::usage_error);
    CHECK_THROWS_AS((rate_limiter{1, -1}), leat::usage_error);
}

// ---- What x/time/rate tests, in our words ----------------------------------------------------------
//
// Times are in steps of 100 ms, the limiter's rate is one token for each.

namespace {

constexpr auto step = 100ms;

/// Puts a world's clock at step n; back is impossible, so the table's times only grow.
void go_to(leat::sim::world& world, int n)
{
    if (world.now() < n * step)
        world.advance(n * step - world.now());
}

struct asked {
    int at;
    int n;
    bool ok;
};

void check_allowed(double per_second, int burst, const std::vector<asked>& all)
{
    leat::sim::world world;
    rate_limiter limiter{per_second, burst};
    for (const asked& each : all) {
        CAPTURE(each.at);
        CAPTURE(each.n);
        go_to(world, each.at);
        CHECK(limiter.allow(each.n) == each.ok);
    }
}

void check_reserved(rate_limiter& limiter, int n, int acts_at)
{
    CAPTURE(n);
    const leat::reservation got = limiter.reserve(n);
    REQUIRE(got.ok());
    CHECK(got.when().time_since_epoch() == acts_at * step);
}

}  // namespace

TEST_CASE("rate_limiter: a burst of one, of three, jumps of time")
{
    check_allowed(10, 1,
                  {{0, 1, true},
                   {0, 1, false},
                   {0, 1, false},
                   {1, 1, true},
                   {1, 1, false},
                   {1, 1, false},
                   {2, 2, false},
                   {2, 1, true},
                   {2, 1, false}});
    check_allowed(10, 3,
                  {{0, 2, true},
                   {0, 2, false},
                   {0, 1, true},
                   {0, 1, false},
                   {1, 4, false},
                   {2, 1, true},
                   {3, 1, true},
                   {4, 1, true},
                   {4, 1, true},
                   {4, 1, false},
                   {4, 1, false},
                   {9, 3, true},
                   {9, 0, true}});
    check_allowed(10, 3,
                  {{0, 1, true},
                   {0, 1, true},
                   {0, 1, true},
                   {0, 1, false},
                   {10, 3, true},
                   {10, 1, false},
                   {13, 3, true},
                   {13, 1, false}});
}

TEST_CASE("rate_limiter: an infinite rate allows everything, whatever the burst")
{
    leat::sim::world world;
    rate_limiter limiter{rate::infinite(), 0};
    CHECK(limiter.allow(1'000'000'000));
    CHECK(limiter.reserve(1'000'000'000).delay() == 0s);
    world.run([&]() -> task<> {
        co_await limiter.wait(1'000'000'000);
        CHECK(now() == 0s);
    });
    CHECK(limiter.rate().is_infinite());
}

TEST_CASE("rate_limiter: a zero rate gives what is in the bucket, once")
{
    leat::sim::world world;
    rate_limiter limiter{0, 5};
    CHECK(limiter.allow(3));
    world.advance(1000h);
    CHECK(!limiter.allow(3));
    CHECK(!limiter.reserve(3).ok());
    CHECK(limiter.reserve(3).delay() == leat::clock::duration::max());
    CHECK(limiter.allow(2));
    CHECK(!limiter.allow(1));
    CHECK_THROWS_AS(world.run([&]() -> task<> { co_await limiter.wait(); }), leat::deadlock_error);
    // A change of the rate serves who waits; the first still does.
    auto waits = world.spawn([&]() -> task<> { co_await limiter.wait(2); });
    world.settle();
    limiter.set_rate(1);
    world.run([&]() -> task<> { co_await waits; });
    CHECK(world.now() == 1000h + 3s);
}

TEST_CASE("rate_limiter: reservations tell when, and more than the burst is never")
{
    leat::sim::world world;
    rate_limiter limiter{10, 2};
    check_reserved(limiter, 2, 0);
    check_reserved(limiter, 2, 2);
    check_reserved(limiter, 2, 4);
    CHECK(!limiter.reserve(3).ok());
    CHECK(!limiter.reserve(3));
    check_reserved(limiter, 1, 5);
    CHECK(limiter.tokens() == doctest::Approx(-5));
}

TEST_CASE("rate_limiter: reservations mix with allow, and with jumps of time")
{
    leat::sim::world world;
    rate_limiter limiter{10, 2};
    check_reserved(limiter, 2, 0);
    go_to(world, 1);
    check_reserved(limiter, 2, 2);
    go_to(world, 3);
    CHECK(limiter.allow(1));
    CHECK(!limiter.allow(1));
    go_to(world, 4);
    check_reserved(limiter, 2, 5);
    go_to(world, 100);
    check_reserved(limiter, 2, 100);
    check_reserved(limiter, 1, 101);
}

TEST_CASE("rate_limiter: a cancelled reservation gives back what nobody has built on")
{
    SUBCASE("of nothing")
    {
        leat::sim::world world;
        rate_limiter limiter{10, 2};
        check_reserved(limiter, 2, 0);
        auto r = limiter.reserve(1);
        CHECK(r.cancel());
        CHECK(!r.cancel());
        check_reserved(limiter, 1, 1);
    }
    SUBCASE("the first of two")
    {
        leat::sim::world world;
        rate_limiter limiter{10, 2};
        check_reserved(limiter, 2, 0);
        auto r = limiter.reserve(2);
        go_to(world, 1);
        CHECK(r.cancel());
        check_reserved(limiter, 2, 2);
    }
    SUBCASE("with one behind: one of the two comes back")
    {
        leat::sim::world world;
        rate_limiter limiter{10, 2};
        check_reserved(limiter, 2, 0);
        auto r = limiter.reserve(2);
        check_reserved(limiter, 1, 3);
        go_to(world, 2);
        CHECK(r.cancel());
        check_reserved(limiter, 2, 4);
    }
    SUBCASE("with as many behind: nothing comes back")
    {
        leat::sim::world world;
        rate_limiter limiter{10, 2};
        check_reserved(limiter, 2, 0);
        auto r = limiter.reserve(1);
        check_reserved(limiter, 1, 2);
        CHECK(!r.cancel());
        check_reserved(limiter, 1, 3);
    }
    SUBCASE("the last, twice")
    {
        leat::sim::world world;
        rate_limiter limiter{10, 2};
        check_reserved(limiter, 2, 0);
        auto first = limiter.reserve(1);
        auto second = limiter.reserve(1);
        CHECK(second.cancel());
        CHECK(first.cancel());
        check_reserved(limiter, 2, 2);
    }
    SUBCASE("too late")
    {
        leat::sim::world world;
        rate_limiter limiter{10, 2};
        check_reserved(limiter, 2, 0);
        go_to(world, 1);
        auto r = limiter.reserve(2);
        go_to(world, 3);
        CHECK(!r.cancel());
        check_reserved(limiter, 2, 4);
    }
    SUBCASE("at once")
    {
        leat::sim::world world;
        rate_limiter limiter{10, 2};
        auto r = limiter.reserve(2);
        CHECK(r.delay() == 0s);
        CHECK(!limiter.allow());
        CHECK(r.cancel());
        CHECK(limiter.allow(2));
    }
    SUBCASE("moved and assigned over, it stays taken")
    {
        leat::sim::world world;
        rate_limiter limiter{10, 2};
        auto a = limiter.reserve(1);
        auto b = limiter.reserve(1);
        a = std::move(b);
        CHECK(a.cancel());
        CHECK(limiter.allow(1));
        CHECK(!limiter.allow(1));
    }
}

TEST_CASE("rate_limiter: rate and burst change at run time")
{
    SUBCASE("the rate")
    {
        leat::sim::world world;
        rate_limiter limiter{10, 10};
        CHECK(limiter.allow(5));
        limiter.set_rate(100);
        CHECK(limiter.tokens() == doctest::Approx(5));
        world.advance(10ms);
        CHECK(limiter.allow(6));
        CHECK(!limiter.allow(1));
        limiter.set_rate(rate::infinite());
        CHECK(limiter.allow(1000));
        limiter.set_rate(10);
        CHECK(limiter.allow(10));
        CHECK(!limiter.allow(1));
        CHECK(limiter.rate() == rate{10});
    }
    SUBCASE("the burst")
    {
        leat::sim::world world;
        rate_limiter limiter{10, 10};
        limiter.set_burst(4);
        CHECK(limiter.burst() == 4);
        CHECK(!limiter.allow(5));
        CHECK(limiter.allow(4));
        limiter.set_burst(20);
        world.advance(2s);
        CHECK(limiter.allow(20));
        CHECK_THROWS_AS(limiter.set_burst(-1), leat::usage_error);
    }
    SUBCASE("those who wait are served, or fail, accordingly")
    {
        leat::sim::world world;
        rate_limiter limiter{1, 10};
        CHECK(limiter.allow(10));
        auto big = world.spawn([&]() -> task<> {
            const auto got = co_await leat::as_result(limiter.wait(8));
            CHECK(!got.has_value());
            CHECK_THROWS_AS(got.value(), leat::usage_error);
            CHECK(now() == 1s);
        });
        auto small = world.spawn([&]() -> task<> {
            co_await leat::sleep_for(1ms);  // behind
            co_await limiter.wait(2);
            CHECK(now() == 1s + 100ms);
        });
        world.advance(1s);
        limiter.set_burst(5);
        limiter.set_rate(10);
        world.run([&]() -> task<> {
            co_await big;
            co_await small;
        });
    }
}

// ---- Waiting ---------------------------------------------------------------------------------------

TEST_CASE("rate_limiter: waits take exactly their time, in the order of arrival")
{
    leat::sim::world world;
    rate_limiter limiter{10, 3};
    std::vector<std::pair<int, std::chrono::nanoseconds>> served;
    world.run([&]() -> task<> {
        co_await leat::with_group([&](leat::task_group& group) -> task<> {
            for (int i = 0; i < 10; ++i) {
                co_await group.spawn([&, i]() -> task<> {
                    co_await leat::sleep_for(std::chrono::nanoseconds{i});
                    co_await limiter.wait();
                    served.emplace_back(i, now());
                });
            }
        });
    });
    REQUIRE(served.size() == 10);
    for (int i = 0; i < 10; ++i) {
        CHECK(served[static_cast<std::size_t>(i)].first == i);
        CHECK(served[static_cast<std::size_t>(i)].second ==
              (i < 3 ? std::chrono::nanoseconds{i} : (i - 2) * 100ms));
    }
}

TEST_CASE("rate_limiter: a large wait is not overtaken by small ones, nor by allow or reserve")
{
    leat::sim::world world;
    rate_limiter limiter{10, 5};
    std::string order;
    CHECK(limiter.allow(5));
    auto large = world.spawn([&]() -> task<> {
        co_await limiter.wait(5);
        CHECK(now() == 500ms);
        order += 'L';
    });
    world.settle();
    auto small = world.spawn([&]() -> task<> {
        co_await limiter.wait(1);
        CHECK(now() == 600ms);
        order += 's';
    });
    world.advance(200ms);
    CHECK(!limiter.allow(1));
    auto reserved = limiter.reserve(2);
    CHECK(reserved.delay() == 600ms);
    world.run([&]() -> task<> {
        co_await large;
        co_await small;
        CHECK(limiter.tokens() == doctest::Approx(-2));
        co_await limiter.wait();
        CHECK(now() == 900ms);
    });
    CHECK(order == "Ls");
}

TEST_CASE("rate_limiter: a cancelled wait gives its turn back to those behind")
{
    leat::sim::world world;
    rate_limiter limiter{10, 5};
    CHECK(limiter.allow(5));
    auto first = world.spawn([&]() -> task<> { co_await limiter.wait(5); });
    world.settle();
    auto second = world.spawn([&]() -> task<> {
        co_await limiter.wait(1);
        CHECK(now() == 250ms);
    });
    auto third = world.spawn([&]() -> task<> {
        co_await leat::sleep_for(1ms);
        co_await limiter.wait(2);
        CHECK(now() == 300ms);
    });
    world.advance(250ms);
    first.cancel();
    world.run([&]() -> task<> {
        co_await second;
        co_await third;
        const auto got = co_await leat::as_result(first);
        CHECK(got.error() == leat::errc::cancelled);
    });
    CHECK(!world.step());
}

TEST_CASE("rate_limiter: a reservation behind waiters keeps its time, and can be cancelled in the line")
{
    leat::sim::world world;
    rate_limiter limiter{10, 5};
    CHECK(limiter.allow(5));
    auto first = world.spawn([&]() -> task<> { co_await limiter.wait(4); });
    world.settle();
    SUBCASE("the waiter gives up: what it gives back is not given out twice")
    {
        auto kept = limiter.reserve(1);
        CHECK(kept.delay() == 500ms);
        auto last = world.spawn([&]() -> task<> {
            co_await limiter.wait(1);
            CHECK(now() == 600ms);
        });
        world.advance(50ms);
        first.cancel();
        world.run([&]() -> task<> { co_await last; });
    }
    SUBCASE("the reservation is cancelled")
    {
        auto kept = limiter.reserve(1);
        auto last = world.spawn([&]() -> task<> {
            co_await limiter.wait(1);
            CHECK(now() == 500ms);
        });
        world.advance(50ms);
        CHECK(kept.cancel());
        world.run([&]() -> task<> { co_await last; });
    }
    SUBCASE("the reservation is dropped, and stays")
    {
        CHECK(limiter.reserve(1).ok());
        CHECK(limiter.reserve(1).delay() == 600ms);
        auto last = world.spawn([&]() -> task<> {
            co_await limiter.wait(1);
            CHECK(now() == 700ms);
        });
        world.run([&]() -> task<> { co_await last; });
    }
    SUBCASE("the limiter goes with a dropped reservation in the line")
    {
        static_cast<void>(limiter.reserve(1));
    }
    first.cancel();
    world.settle();
}

TEST_CASE("rate_limiter: waiting for more than the burst fails and says why")
{
    leat::sim::world world;
    rate_limiter limiter{10, 5};
    CHECK(!limiter.allow(6));
    CHECK_THROWS_AS(limiter.allow(-1), leat::usage_error);
    CHECK_THROWS_AS(limiter.reserve(-1).ok(), leat::usage_error);
    CHECK_THROWS_AS(static_cast<void>(limiter.wait(-1)), leat::usage_error);
    world.run([&]() -> task<> {
        std::string said;
        try {
            co_await limiter.wait(6);
        } catch (const leat::usage_error& error) {
            said = error.what();
        }
        CHECK(said.find("wait(6)") != std::string::npos);
        CHECK(said.find("burst is 5") != std::string::npos);
        co_await limiter.wait(5);
        co_await limiter.wait(0);
        CHECK(now() == 0s);
    });
}

TEST_CASE("rate_limiter: a wait is a case of select; a case that loses has taken nothing")
{
    leat::sim::world world;
    rate_limiter limiter{1, 1};
    leat::channel<int> ch{1};
    world.run([&]() -> task<> {
        co_await limiter.wait();
        const auto first = co_await leat::select(limiter.wait(), leat::after(300ms));
        CHECK(first.index == 1);
        CHECK(now() == 300ms);
        const auto second = co_await leat::select(limiter.wait(), leat::after(10s));
        CHECK(second.index == 0);
        CHECK(now() == 1s);
        CHECK_THROWS_AS(co_await leat::select(limiter.wait(2), leat::after(10s)), leat::usage_error);
        const auto late = co_await leat::as_result(leat::timeout(100ms, limiter.wait()));
        CHECK(late.error() == leat::errc::deadline_exceeded);
        co_await limiter.wait();
        CHECK(now() == 2s);
    });
}

TEST_CASE("rate_limiter: nothing is left behind when a world ends with tasks that wait")
{
    rate_limiter limiter{1, 1};
    {
        leat::sim::world world;
        CHECK(limiter.allow());
        for (int i = 0; i < 3; ++i)
            world.spawn([&]() -> task<> { co_await limiter.wait(); });
        world.settle();
    }
    CHECK(limiter.tokens() <= 1);
}

// ---- Against a model -------------------------------------------------------------------------------

TEST_CASE("token_bucket: a million random operations agree with a model, the clock jumping")
{
    const std::uint64_t seed = std::random_device{}();
    INFO("seed ", seed);
    std::mt19937_64 random{seed};
    __extension__ using wide = __int128;

    // The model knows whole tokens and a remainder, and goes through time as the definition says.
    struct model {
        std::int64_t tokens, period, size;
        wide units;
        std::int64_t last = 0;
        void flow(std::int64_t at)
        {
            if (at <= last)
                return;
            const wide more = wide{at - last} * tokens;
            const wide room = wide{size} * period - units;
            units += more < room ? more : room;
            last = at;
        }
    };
    std::int64_t at = 0;
    for (int setting = 0; setting < test::rounds(1000); ++setting) {
        const std::int64_t events = static_cast<std::int64_t>(random() % 1000 + 1);
        const std::int64_t size = static_cast<std::int64_t>(random() % 50);
        const auto span = std::chrono::nanoseconds{
            static_cast<std::int64_t>(random() % (setting % 2 == 0 ? 1000U : 5'000'000'000U) + 1)};
        const leat::detail::token_flow flow = rate::per(events, span).flow();
        leat::detail::token_bucket bucket{flow, size};
        at = 0;
        bucket.refill(at);
        model twin{flow.tokens, flow.period, size, wide{size} * flow.period};
        wide given = 0;
        for (int op = 0; op < 1000; ++op) {
            // Forwards, mostly a little; sometimes for ages; now and then backwards.
            const auto dice = random() % 100;
            if (dice < 70)
                at += static_cast<std::int64_t>(random() % 2000);
            else if (dice < 80)
                at += static_cast<std::int64_t>(random() % 3'000'000'000);
            else if (dice < 83)
                at -= static_cast<std::int64_t>(random() % 1'000'000);
            else if (dice < 84)
                at += std::int64_t{1} << 40;
            const auto n = static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(size + 3));
            bucket.refill(at);
            twin.flow(at);
            const bool allowed = twin.units >= wide{n} * twin.period;
            if (bucket.has(n) != allowed)
                FAIL("they differ about ", n, " tokens");
            if (allowed) {
                bucket.take(n);
                twin.units -= wide{n} * twin.period;
                given += n;
            } else if (n <= size) {
                // When they say it will be had, it is; a nanosecond before, it is not.
                const std::int64_t due = bucket.when(n);
                auto early = bucket;
                early.refill(due - 1);
                if (early.has(n))
                    FAIL("it could have been had before ", due);
                early.refill(due);
                if (!early.has(n))
                    FAIL("it is not there at ", due);
            }
            if (given * flow.period > wide{size} * flow.period + wide{twin.last} * flow.tokens)
                FAIL("more than burst + rate x time");
        }
    }
}

TEST_CASE("token_bucket: the largest numbers neither overflow nor drift")
{
    using leat::detail::token_bucket;
    token_bucket bucket{leat::detail::token_flow{token_bucket::largest, 1}, token_bucket::largest};
    bucket.refill(0);
    CHECK(bucket.full());
    bucket.take(token_bucket::largest);
    CHECK(!bucket.has(1));
    CHECK(bucket.when(token_bucket::largest) == 1);
    bucket.refill(std::numeric_limits<std::int64_t>::max());
    CHECK(bucket.full());

    token_bucket slow{leat::detail::token_flow{1, token_bucket::largest}, token_bucket::largest};
    slow.refill(std::numeric_limits<std::int64_t>::max());
    slow.take(token_bucket::largest);
    CHECK(slow.when(1) == token_bucket::never);

    // A third of a token each nanosecond, for a long time.
    token_bucket third{rate::per(1, 3ns).flow(), 1};
    third.refill(0);
    std::int64_t taken = 0;
    for (std::int64_t at = 0; at < 300'000; ++at) {
        third.refill(at);
        if (third.has(1)) {
            third.take(1);
            ++taken;
        }
    }
    CHECK(taken == 100'000);
}

TEST_CASE("rate_limiter: whatever is asked, at most burst + rate x span is given in any span")
{
    for (std::uint64_t seed = 1; seed <= static_cast<std::uint64_t>(test::rounds(60)); ++seed) {
        CAPTURE(seed);
        leat::sim::world world{seed};
        const std::int64_t burst = 1 + static_cast<std::int64_t>(seed % 7);
        rate_limiter limiter{rate::every(10ms), burst};
        std::vector<std::pair<std::int64_t, std::int64_t>> given;  // when, how many
        world.run([&]() -> task<> {
            co_await leat::with_group([&](leat::task_group& group) -> task<> {
                for (int i = 0; i < 20; ++i) {
                    co_await group.spawn([&, i]() -> task<> {
                        std::mt19937_64 random{seed * 100 + static_cast<std::uint64_t>(i)};
                        for (int round = 0; round < 20; ++round) {
                            co_await leat::sleep_for(std::chrono::microseconds{random() % 50'000});
                            const auto n =
                                static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(burst)) + 1;
                            switch (random() % 4) {
                            case 0:
                                if (limiter.allow(n))
                                    given.emplace_back(now().count(), n);
                                break;
                            case 1: {
                                auto booked = limiter.reserve(n);
                                if (random() % 3 == 0) {
                                    co_await leat::sleep_for(booked.delay() * static_cast<int>(random() % 3) /
                                                             2);
                                    if (booked.cancel())
                                        break;
                                    if (booked.when() > leat::clock::now())
                                        break;  // nothing came back, and it is not used either
                                }
                                co_await leat::sleep_until(booked.when());
                                given.emplace_back(now().count(), n);
                                break;
                            }
                            default: {
                                auto limit = std::chrono::microseconds{random() % 400'000};
                                const auto got =
                                    co_await leat::as_result(leat::timeout(limit, limiter.wait(n)));
                                if (got.has_value())
                                    given.emplace_back(now().count(), n);
                                else
                                    CHECK(got.error() == leat::errc::deadline_exceeded);
                            }
                            }
                        }
                    });
                }
            });
        });
        std::sort(given.begin(), given.end());
        for (std::size_t from = 0; from < given.size(); ++from) {
            std::int64_t sum = 0;
            for (std::size_t to = from; to < given.size(); ++to) {
                sum += given[to].second;
                const std::int64_t span = given[to].first - given[from].first;
                if ((sum - burst) * 10'000'000 > span)
                    FAIL(sum, " given in ", span, " ns with a burst of ", burst);
            }
        }
        CHECK(world.live_tasks() == 0);
    }
}

TEST_CASE("rate_limiter: on the pool, tasks that wait, give up and change the rate lose nothing")
{
    rate_limiter limiter{100'000, 10};
    std::atomic<std::int64_t> given{0};
    const auto began = std::chrono::steady_clock::now();
    leat::run(
        [&]() -> task<> {
            co_await leat::with_group([&](leat::task_group& group) -> task<> {
                for (int i = 0; i < 16; ++i) {
                    co_await group.spawn([&, i]() -> task<> {
                        std::mt19937_64 random{static_cast<std::uint64_t>(i)};
                        for (int round = 0; round < test::rounds(1000); ++round) {
                            const auto n = static_cast<std::int64_t>(random() % 4);
                            if (random() % 4 == 0) {
                                const auto got = co_await leat::as_result(leat::timeout(
                                    std::chrono::microseconds{random() % 100}, limiter.wait(n)));
                                if (got.has_value())
                                    given += n;
                            } else if (random() % 8 == 0) {
                                if (limiter.allow(n))
                                    given += n;
                            } else if (random() % 8 == 0) {
                                auto booked = limiter.reserve(n);
                                co_await leat::sleep_for(booked.delay());
                                given += n;
                            } else {
                                co_await limiter.wait(n);
                                given += n;
                            }
                        }
                    });
                }
            });
        },
        {.workers = 2});
    const auto took = std::chrono::steady_clock::now() - began;
    const double seconds = std::chrono::duration<double>(took).count();
    CHECK(static_cast<double>(given.load()) <= 10 + 100'000 * seconds);
    CHECK(limiter.allow(0));
}

// ---- Keyed -----------------------------------------------------------------------------------------

TEST_CASE("keyed_rate_limiter: each key has a bucket of its own")
{
    leat::sim::world world;
    leat::keyed_rate_limiter<std::string> limiter{10, 2};
    CHECK(limiter.allow("a", 2));
    CHECK(!limiter.allow("a"));
    CHECK(limiter.allow("b"));
    CHECK(limiter.reserve("b").delay() == 0s);
    CHECK(limiter.reserve("b").delay() == 100ms);
    CHECK(limiter.size() == 2);
    world.run([&]() -> task<> {
        co_await limiter.wait("a");
        CHECK(now() == 100ms);
    });
}

TEST_CASE("keyed_rate_limiter: keys are forgotten when they are full and have not been used for long")
{
    leat::sim::world world;
    leat::keyed_rate_limiter<int> limiter{1, 5, {.expire_after = 2001ms}};
    for (int key = 0; key < 1000; ++key)
        CHECK(limiter.allow(key, 5));
    CHECK(limiter.size() == 1000);
    world.advance(3s);
    limiter.expire();
    CHECK(limiter.size() == 1000);  // not full yet: who is forgotten would get a fresh burst
    CHECK(!limiter.allow(7, 4));
    world.advance(2s);
    const rate_limiter kept = limiter.of(8);
    limiter.expire();
    CHECK(limiter.size() == 1 + 1);  // 7 was used, 8 is held
    // And by themselves, when others come.
    for (int key = 0; key < 100'000; ++key) {
        limiter.allow(key);
        world.advance(1ms);
    }
    CHECK(limiter.size() < 20'000);
}
