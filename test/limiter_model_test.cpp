#include <leat/leat.hpp>

#include "support/scale.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

using namespace std::chrono_literals;
using leat::rate;
using leat::rate_limiter;
using leat::task;

namespace {

using wide = leat::detail::wide_int;

/// What the contracts say, in the simplest way: a level of tokens, in parts of which one nanosecond brings a whole
/// number; taken ahead of time for reservations.
class reference {
public:
    reference(rate events, std::int64_t burst) : size_{burst}
    {
        to(events);
        level_ = full();
    }
    void flow_until(std::int64_t now)
    {
        level_ = std::min(full(), level_ + wide{now - now_} * tokens_);
        now_ = now;
    }
    bool allow(std::int64_t n)
    {
        if (level_ < n * period_)
            return false;
        take(n, now_);
        return true;
    }
    std::optional<std::int64_t> reserve(std::int64_t n)
    {
        const wide missing = n * period_ - level_;
        if (n > size_ || (missing > 0 && tokens_ == 0))
            return std::nullopt;
        const std::int64_t at =
            missing <= 0 ? now_ : now_ + static_cast<std::int64_t>((missing + tokens_ - 1) / tokens_);
        take(n, at);
        return at;
    }
    /// What flows in between its time and that of the last one is what those after it are owed.
    bool cancel(std::int64_t n, std::int64_t at)
    {
        const std::int64_t span = std::max<std::int64_t>(last_ - at, 0);
        const wide back = n * period_ - wide{span} * tokens_;
        if (at < now_ || n == 0 || back <= 0)
            return false;
        level_ = std::min(full(), level_ + back);
        if (span != 0)
            mixed_ = true;
        else if (!mixed_ && tokens_ != 0 && wide{at - now_} * tokens_ >= n * period_ - tokens_ + 1)
            last_ = at - static_cast<std::int64_t>(n * period_ / tokens_);
        return true;
    }
    void change(rate events)
    {
        const wide before = period_;
        to(events);
        const wide scaled = level_ * period_;
        level_ = scaled / before - (scaled % before < 0 ? 1 : 0);
    }
    void resize(std::int64_t burst)
    {
        size_ = burst;
        level_ = std::min(level_, full());
    }
    double tokens() const
    {
        return static_cast<double>(level_) / static_cast<double>(period_);
    }

private:
    void to(rate events)
    {
        tokens_ = events.flow().tokens;
        period_ = events.flow().period;
    }
    wide full() const
    {
        return wide{size_} * period_;
    }
    void take(std::int64_t n, std::int64_t at)
    {
        level_ -= n * period_;
        if (n == 0 && at == now_)
            return;
        if (last_ <= now_)
            mixed_ = false;
        last_ = std::max(last_, at);
    }

    wide tokens_ = 0;
    wide period_ = 1;
    std::int64_t size_;
    wide level_ = 0;
    std::int64_t now_ = 0;
    std::int64_t last_ = std::numeric_limits<std::int64_t>::min() / 2;
    bool mixed_ = false;
};

}  // namespace

TEST_CASE("rate_limiter: a million random operations agree with a reference, the clock jumping")
{
    std::size_t done = 0;
    for (std::uint64_t seed = 1; seed <= test::scaled(1000); ++seed) {
        CAPTURE(seed);
        leat::sim::world world{seed};
        std::mt19937_64 random{seed};
        const auto number = [&](std::uint64_t below) { return static_cast<std::int64_t>(random() % below); };
        const auto any_rate = [&] {
            const std::int64_t span = random() % 2 == 0 ? number(1000) + 1 : number(5'000'000'000) + 1;
            return rate::per(random() % 20 == 0 ? 0 : number(1000) + 1, std::chrono::nanoseconds{span});
        };
        const rate first = any_rate();
        const std::int64_t burst = number(50);
        rate_limiter limiter{first, burst};
        reference twin{first, burst};
        class booked {
        public:
            booked(leat::reservation r, std::int64_t n) : got{std::move(r)}, tokens{n}, at{got.when()}
            {
            }
            leat::reservation got;
            std::int64_t tokens;
            leat::clock::time_point at;
        };
        std::vector<booked> all;
        std::int64_t size = burst;
        for (int op = 0; op < 1000; ++op, ++done) {
            const auto dice = random() % 100;
            const std::int64_t jump = dice < 50   ? number(2000)
                                      : dice < 70 ? number(3'000'000'000)
                                      : dice < 72 ? std::int64_t{1} << 40
                                                  : 0;
            world.advance(std::chrono::nanoseconds{jump});
            twin.flow_until(world.now().count());
            const std::int64_t n = number(static_cast<std::uint64_t>(size) + 3);
            std::string differs;
            switch (random() % 16) {
            case 0:
            case 1:
            case 2:
            case 3:
            case 4:
            case 5:
                if (limiter.allow(n) != twin.allow(n))
                    differs = "allow";
                break;
            case 6:
            case 7:
            case 8:
            case 9: {
                booked made{limiter.reserve(n), n};
                const auto expected = twin.reserve(n);
                if (made.got.ok() != expected.has_value() ||
                    (expected && made.at.time_since_epoch().count() != *expected))
                    differs = "reserve";
                if (expected)
                    all.push_back(std::move(made));
                break;
            }
            case 10:
            case 11:
            case 12:
                if (!all.empty()) {
                    // Mostly one of the last, whose time may not have come.
                    const std::size_t back = std::min<std::size_t>(random() % 4, all.size() - 1);
                    const auto which = all.end() - 1 - static_cast<std::ptrdiff_t>(back);
                    if (which->got.cancel() !=
                        twin.cancel(which->tokens, which->at.time_since_epoch().count()))
                        differs = "cancel";
                    all.erase(which);
                }
                break;
            case 13: {
                const rate next = any_rate();
                limiter.set_rate(next);
                twin.change(next);
                // What is reserved keeps its time.
                for (const booked& each : all)
                    if (each.got.when() != each.at)
                        differs = "a reservation, after set_rate";
                break;
            }
            case 14:
                size = number(50);
                limiter.set_burst(size);
                twin.resize(size);
                break;
            default: break;
            }
            if (limiter.tokens() != twin.tokens())
                differs += " tokens";
            if (!differs.empty())
                FAIL("operation ", op, ": ", differs);
            if (all.size() > 8)
                all.erase(all.begin());
        }
    }
    CHECK((done == 1'000'000 || test::under_sanitizer));
}

// ---- What x/time/rate tests besides, in our words ---------------------------------------------------

TEST_CASE("rate_limiter: what is reserved keeps its time when rate and burst change")
{
    const auto at = [](const leat::reservation& r) { return r.when().time_since_epoch(); };
    {
        leat::sim::world world;
        rate_limiter limiter{5, 2};
        CHECK(at(limiter.reserve(2)) == 0ms);
        const leat::reservation kept = limiter.reserve(1);
        CHECK(at(kept) == 200ms);
        world.advance(100ms);
        limiter.set_rate(10);
        CHECK(at(kept) == 200ms);
        CHECK(kept.delay() == 100ms);
        world.advance(100ms);
        CHECK(at(limiter.reserve(1)) == 250ms);
    }
    {
        leat::sim::world world;
        rate_limiter limiter{5, 2};
        CHECK(at(limiter.reserve(2)) == 0ms);
        CHECK(at(limiter.reserve(1)) == 200ms);
        CHECK(!limiter.reserve(4).ok());
        world.advance(300ms);
        limiter.set_burst(4);
        CHECK(at(limiter.reserve(4)) == 1s);
    }
    {
        leat::sim::world world;
        rate_limiter limiter{5, 2};
        CHECK(at(limiter.reserve(2)) == 0ms);
        leat::reservation given_up = limiter.reserve(2);
        CHECK(at(given_up) == 400ms);
        world.advance(100ms);
        limiter.set_rate(10);
        world.advance(100ms);
        CHECK(given_up.cancel());
        CHECK(at(limiter.reserve(2)) == 250ms);
    }
}

TEST_CASE("rate_limiter: of threads that ask at the same time just as many are allowed as there are tokens")
{
    rate_limiter limiter{0, 10};
    std::atomic<int> allowed{0};
    {
        std::vector<std::jthread> all;
        for (int i = 0; i < 5; ++i)
            all.emplace_back([&] {
                for (int round = 0; round < 100; ++round)
                    if (limiter.allow())
                        ++allowed;
            });
    }
    CHECK(allowed == 10);
}

TEST_CASE("rate_limiter: in the long run it is the rate, and small rates are not lost in rounding")
{
    leat::sim::world world;
    rate_limiter limiter{100, 100};
    int allowed = 0;
    for (int i = 0; i < 5000; ++i, world.advance(2ms))
        allowed += limiter.allow();
    CHECK(allowed == 1099);  // 100 and, until the last try at 9.998 s, 999.8

    rate_limiter odd{0.7692307692307693, 1};
    CHECK(odd.allow());
    const leat::reservation next = odd.reserve();
    CHECK(next.delay() == std::chrono::nanoseconds{1'300'000'000});

    // One token in thirty years.
    rate_limiter tiny{1e-9, 1};
    CHECK(tiny.allow());
    CHECK(!tiny.allow());
    CHECK(tiny.reserve().delay() == 1'000'000'000s);
}

TEST_CASE("rate_limiter: a deadline that is too near is waited for, and takes nothing")
{
    leat::sim::world world;
    rate_limiter limiter{10, 1};
    world.run([&]() -> task<> {
        co_await limiter.wait();
        const auto late = co_await leat::as_result(leat::timeout(50ms, limiter.wait()));
        CHECK(late.error() == leat::errc::deadline_exceeded);
        CHECK(leat::clock::now().time_since_epoch() == 50ms);
        co_await limiter.wait();
        CHECK(leat::clock::now().time_since_epoch() == 100ms);
        const auto too_many = co_await leat::as_result(limiter.wait(2));
        CHECK(!too_many);
    });
}

TEST_CASE("keyed_rate_limiter: used by all workers, keys coming and going, none gets more than its share")
{
    constexpr int keys = 500;
    constexpr int burst = 3;
    constexpr int per_second = 1000;
    leat::keyed_rate_limiter<int> limiter{per_second, burst, {.expire_after = 1ms}};
    std::vector<std::atomic<int>> given(keys);
    const auto began = std::chrono::steady_clock::now();
    leat::run(
        [&]() -> task<> {
            co_await leat::with_group([&](leat::task_group& group) -> task<> {
                for (std::uint64_t worker = 0; worker < 4; ++worker) {
                    co_await group.spawn([&, worker]() -> task<> {
                        std::mt19937_64 random{worker};
                        for (std::size_t round = 0; round < test::scaled(20'000); ++round) {
                            const int key = static_cast<int>(random() % keys);
                            const auto here = static_cast<std::size_t>(key);
                            if (limiter.allow(key))
                                ++given[here];
                            if (random() % 64 == 0) {
                                co_await limiter.wait(key);
                                ++given[here];
                            }
                            if (random() % 64 == 0) {
                                leat::reservation ahead = limiter.reserve(key);
                                const auto at = ahead.when();
                                if (!ahead.cancel()) {
                                    co_await leat::sleep_until(at);
                                    ++given[here];
                                }
                            }
                            if (random() % 256 == 0)
                                limiter.expire();
                        }
                    });
                }
            });
        },
        {.workers = 4});
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - began;
    int most = 0;
    for (const auto& each : given)
        most = std::max(most, each.load());
    CHECK(most <= burst + per_second * took.count());
    CHECK(most > 0);
    CHECK(limiter.size() <= keys);
}
