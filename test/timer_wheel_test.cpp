// The order of deadlines: what lib/timer_wheel.cpp promises, mostly against a std::multimap, its naive twin.
#include <leat/detail/timer_wheel.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <deque>
#include <limits>
#include <map>
#include <memory>
#include <random>
#include <type_traits>
#include <utility>
#include <vector>

using leat::detail::timer_link;
using leat::detail::timer_wheel;

static_assert(sizeof(timer_link) <= 32);
static_assert(sizeof(timer_wheel) <= 16384);
static_assert(!std::is_copy_constructible_v<timer_link> && !std::is_copy_constructible_v<timer_wheel>);

namespace {

constexpr std::int64_t never = timer_wheel::never;
constexpr std::int64_t day = 86'400'000'000'000;

struct timer : timer_link {
    int id = 0;
};

unsigned seed()
{
    const char* const given = std::getenv("LEAT_TEST_SEED");
    return given != nullptr ? static_cast<unsigned>(std::strtoul(given, nullptr, 10))
                            : std::random_device{}();
}

int pop(timer_wheel& wheel, std::int64_t now)
{
    timer_link* const link = wheel.expire(now);
    if (link == nullptr)
        return -1;
    CHECK_FALSE(link->armed());
    return static_cast<timer*>(link)->id;
}

// Removes what is armed on the way out of a test, failed or not.
struct timers {
    explicit timers(timer_wheel& w, int n = 8) : wheel{w}
    {
        while (static_cast<int>(all.size()) != n)
            all.emplace_back().id = static_cast<int>(all.size());
    }
    timers(const timers&) = delete;
    ~timers()
    {
        for (timer& t : all) {
            if (t.armed())
                wheel.remove(t);
        }
    }
    timer& operator[](int i)
    {
        return all[static_cast<std::size_t>(i)];
    }
    timer_wheel& wheel;
    std::deque<timer> all;
};

}  // namespace

TEST_CASE("timer wheel: an empty one has no earliest deadline, and nothing expires")
{
    timer_wheel wheel{0};
    CHECK(wheel.size() == 0);
    CHECK(wheel.earliest() == never);
    CHECK(wheel.earliest_hint() == never);
    CHECK(wheel.expire(0) == nullptr);
    CHECK(wheel.expire(1000 * day) == nullptr);
    CHECK(wheel.expire(never) == nullptr);
}

TEST_CASE("timer wheel: a timer expires at its deadline, not before")
{
    timer_wheel wheel{0};
    timers t{wheel};
    for (const std::int64_t deadline :
         {std::int64_t{1}, std::int64_t{63}, std::int64_t{64}, std::int64_t{65}, std::int64_t{4095},
          std::int64_t{4096}, day, 36500 * day, never - 1}) {
        CAPTURE(deadline);
        CHECK_FALSE(t[0].armed());
        wheel.insert(t[0], deadline);
        CHECK(t[0].armed());
        CHECK(t[0].deadline() == deadline);
        CHECK(wheel.size() == 1);
        CHECK(wheel.earliest() == deadline);
        CHECK(wheel.earliest_hint() <= deadline);
        CHECK(wheel.expire(deadline - 1) == nullptr);
        CHECK(wheel.earliest() == deadline);
        CHECK(wheel.expire(deadline) == &t[0]);
        CHECK(wheel.size() == 0);
    }
}

TEST_CASE("timer wheel: equal deadlines expire in the order of insertion, however far they were then")
{
    timer_wheel wheel{0};
    timers t{wheel};
    const std::int64_t deadline = 3 * day + 12345;
    wheel.insert(t[0], deadline);
    CHECK(wheel.expire(2 * day) == nullptr);
    wheel.insert(t[1], deadline);
    CHECK(wheel.expire(3 * day) == nullptr);
    wheel.insert(t[2], deadline + 1);
    wheel.insert(t[3], deadline);
    CHECK(wheel.expire(deadline - 100) == nullptr);
    wheel.insert(t[4], deadline);
    CHECK(wheel.expire(deadline - 1) == nullptr);
    wheel.insert(t[5], deadline);

    for (const int next : {0, 1, 3, 4, 5, -1})
        CHECK(pop(wheel, deadline) == next);
    wheel.insert(t[6], deadline);  // it is that time still
    CHECK(pop(wheel, deadline) == 6);
    CHECK(pop(wheel, deadline) == -1);
    CHECK(pop(wheel, never) == 2);
}

TEST_CASE("timer wheel: a deadline in the past expires next, after what is due at the present time")
{
    timer_wheel wheel{0, 1000};
    timers t{wheel};
    wheel.insert(t[0], 1000);
    wheel.insert(t[1], 5);
    wheel.insert(t[2], std::numeric_limits<std::int64_t>::min());
    wheel.insert(t[3], 1001);
    CHECK(wheel.earliest() == 1000);
    CHECK(t[1].deadline() == 5);
    for (const int next : {0, 1, 2, -1})
        CHECK(pop(wheel, 1000) == next);
    CHECK(pop(wheel, 1001) == 3);
}

TEST_CASE("timer wheel: what expires may arm others, which take their turn")
{
    timer_wheel wheel{0};
    timers t{wheel};
    wheel.insert(t[0], 10);
    wheel.insert(t[1], 30);
    CHECK(pop(wheel, 100) == 0);
    wheel.insert(t[2], 20);  // late too, but not as late
    wheel.insert(t[3], 3);
    wheel.insert(t[4], 30);
    wheel.insert(t[5], 101);
    for (const int next : {3, 2, 1, 4, -1})
        CHECK(pop(wheel, 100) == next);
    CHECK(wheel.earliest() == 101);
}

TEST_CASE("timer wheel: a clock that goes back counts as one that stands still")
{
    timer_wheel wheel{0, 50};
    timers t{wheel};
    wheel.insert(t[0], 60);
    CHECK(pop(wheel, 59) == -1);
    CHECK(pop(wheel, 10) == -1);
    wheel.insert(t[1], 55);
    CHECK(pop(wheel, 10) == 1);
    CHECK(pop(wheel, 60) == 0);
}

TEST_CASE("timer wheel: the whole range of int64 is good for deadlines")
{
    constexpr auto first = std::numeric_limits<std::int64_t>::min();
    for (const unsigned shift : {0U, 1U, 16U, 63U}) {
        CAPTURE(shift);
        timer_wheel wheel{shift, first};
        timers t{wheel};
        wheel.insert(t[3], never);
        wheel.insert(t[2], 1);
        wheel.insert(t[1], -1);
        wheel.insert(t[0], first);
        CHECK(pop(wheel, first) == 0);
        if (shift == 63)
            continue;
        CHECK(pop(wheel, -2) == -1);
        CHECK(pop(wheel, 0) == 1);
        CHECK(pop(wheel, never - 1) == 2);
        CHECK(wheel.earliest() == never);
        CHECK(pop(wheel, never) == (shift == 0 ? 3 : -1));  // with ticks, its own comes after the end of time
    }
}

TEST_CASE("timer wheel: with ticks, a deadline is rounded up")
{
    timer_wheel wheel{10};
    timers t{wheel};
    wheel.insert(t[0], 1025);
    wheel.insert(t[1], 1024);
    wheel.insert(t[2], 1);
    CHECK(wheel.earliest() == 1024);
    CHECK(pop(wheel, 1023) == -1);
    CHECK(pop(wheel, 1024) == 1);
    CHECK(pop(wheel, 1024) == 2);
    CHECK(wheel.earliest() == 2048);
    CHECK(pop(wheel, 2047) == -1);
    wheel.insert(t[3], 2040);  // past, though its tick is to come
    CHECK(pop(wheel, 2047) == 3);
    CHECK(pop(wheel, 2048) == 0);
}

TEST_CASE("timer wheel: removing the earliest one brings up the next")
{
    timer_wheel wheel{0};
    timers t{wheel};
    // All in one slot of a high level.
    for (const int i : {3, 0, 2, 1, 4})
        wheel.insert(t[i], 10 * day + i);
    for (int i = 0; i != 5; ++i) {
        CHECK(wheel.earliest() == 10 * day + i);
        wheel.insert(t[5], day);
        CHECK(wheel.earliest() == day);
        wheel.remove(t[5]);
        CHECK(wheel.earliest() == 10 * day + i);
        wheel.remove(t[i]);
    }
    CHECK(wheel.earliest() == never);
}

namespace {

// Random steps on a wheel and on a multimap, which keeps equal keys in the order of insertion.
void compare(std::mt19937_64& random, unsigned shift, std::int64_t start, int steps)
{
    const std::int64_t tick = std::int64_t{1} << shift;
    const auto uniform = [&](std::int64_t low, std::int64_t high) {
        return std::uniform_int_distribution<std::int64_t>{low, high}(random);
    };
    // A span of time of any magnitude up to weeks, small ones as likely as large ones.
    const auto some_time = [&] { return uniform(0, std::int64_t{1} << uniform(0, 51)); };
    const auto clear_low = [&](std::int64_t ns) { return ns & ~(tick - 1); };

    timer_wheel wheel{shift, start};
    timers t{wheel, 300};
    std::multimap<std::int64_t, int> twin;  // by tick
    std::vector<std::multimap<std::int64_t, int>::iterator> armed(t.all.size(), twin.end());
    std::int64_t now = start;
    std::int64_t present = clear_low(start);  // where expire() has come to
    std::vector<std::int64_t> recent{start};
    bool same = true;

    const auto expire_one = [&] {
        timer_link* const link = wheel.expire(now);
        const bool due = !twin.empty() && twin.begin()->first <= now;
        if (!due) {
            present = clear_low(now);
            same = same && link == nullptr;
            return false;
        }
        const int expected = twin.begin()->second;
        present = twin.begin()->first;
        twin.erase(twin.begin());
        armed[static_cast<std::size_t>(expected)] = twin.end();
        same = same && link == &t[expected] && link->deadline() <= now;
        return same;
    };

    for (int step = 0; same && step != steps; ++step) {
        const auto picked = static_cast<std::size_t>(uniform(0, static_cast<std::int64_t>(t.all.size()) - 1));
        timer& timer = t.all[picked];
        const auto what = uniform(0, 99);
        if (timer.armed()) {
            if (what < 60) {
                wheel.remove(timer);
                twin.erase(armed[picked]);
                armed[picked] = twin.end();
            }
        } else if (what < 85) {
            std::int64_t deadline = now + some_time();
            if (what < 15)
                deadline = recent[static_cast<std::size_t>(
                    uniform(0, static_cast<std::int64_t>(recent.size()) - 1))];
            else if (what < 20)
                deadline = now - some_time();
            recent.push_back(deadline);
            if (recent.size() > 20)
                recent.erase(recent.begin());
            wheel.insert(timer, deadline);
            const std::int64_t rounded =
                deadline <= now ? clear_low(deadline) : clear_low(deadline + tick - 1);
            armed[picked] = twin.emplace(std::max(rounded, present), static_cast<int>(picked));
        }
        same = same && timer.armed() == (armed[picked] != twin.end()) && wheel.size() == twin.size();

        const std::int64_t earliest = twin.empty() ? never : twin.begin()->first;
        if (uniform(0, 1) == 0) {
            same = same && wheel.earliest() == earliest;
            same = same && wheel.earliest_hint() <= earliest &&
                   (twin.empty() == (wheel.earliest_hint() == never));
        }
        switch (uniform(0, 9)) {
        case 0:  // time passes
            now += some_time() / 16;
            while (expire_one()) {}
            break;
        case 1:  // to the next deadline, just before it, or a part of the way
            if (!twin.empty() && earliest > now) {
                now = uniform(0, 2) == 0   ? earliest
                      : uniform(0, 1) == 0 ? earliest - 1
                                           : uniform(now, earliest);
                while (expire_one()) {}
            }
            break;
        case 2:  // not all that is due
            now += some_time() / 16;
            for (auto n = uniform(1, 3); n != 0 && expire_one();)
                --n;
            break;
        case 3:  // days go by in one step
            if (uniform(0, 50) == 0) {
                now += uniform(1, 100) * day;
                while (expire_one()) {}
            }
            break;
        default: break;
        }
    }
    CHECK(same);

    // The rest, sleeping by the hint.
    int sleeps = 0;
    while (same && wheel.size() != 0) {
        now = std::max(now, wheel.earliest_hint());
        ++sleeps;
        while (expire_one()) {}
    }
    CHECK(same);
    CHECK(twin.empty());
    CHECK(sleeps <= 11 * 300);
}

}  // namespace

TEST_CASE("timer wheel: random steps, against a multimap")
{
    const unsigned chosen = seed();
    MESSAGE("LEAT_TEST_SEED=", chosen);
    std::mt19937_64 random{chosen};
    for (unsigned round = 0; round != 40; ++round) {
        for (const unsigned shift : {0U, 3U, 16U, 20U}) {
            CAPTURE(chosen);
            CAPTURE(round);
            CAPTURE(shift);
            const std::int64_t near_wrap = (std::int64_t{1} << (round % 10 * 6 + shift % 6)) - 3;
            compare(random, shift, round % 4 == 0 ? 0 : round % 4 == 1 ? -near_wrap : near_wrap, 3000);
        }
    }
}

TEST_CASE("timer wheel: a million armed at once")
{
    constexpr std::size_t count = 1'000'000;
    const unsigned chosen = seed();
    INFO("LEAT_TEST_SEED=", chosen);
    std::mt19937_64 random{chosen};
    timer_wheel wheel{0};
    const auto all = std::make_unique<timer[]>(count);
    std::vector<std::pair<std::int64_t, int>> expected;
    for (std::size_t i = 0; i != count; ++i) {
        all[i].id = static_cast<int>(i);
        const auto deadline = static_cast<std::int64_t>(random() % (i % 2 == 0 ? 1000 : 10 * day));
        wheel.insert(all[i], deadline);
        if (i % 3 == 0)
            wheel.remove(all[i]);
        else
            expected.emplace_back(deadline, all[i].id);
    }
    CHECK(wheel.size() == expected.size());
    std::sort(expected.begin(), expected.end());

    std::int64_t previous = 0;
    bool right = true;
    for (const auto& [deadline, id] : expected) {
        right = right && wheel.earliest() == deadline;
        if (previous < deadline)
            right = right && wheel.expire(deadline - 1) == nullptr;
        timer_link* const link = right ? wheel.expire(deadline) : nullptr;
        right = link != nullptr && static_cast<timer*>(link)->id == id;
        previous = deadline;
        if (!right)
            break;
    }
    CHECK(right);
    for (std::size_t i = 0; i != count; ++i) {
        if (all[i].armed())
            wheel.remove(all[i]);
    }
}
