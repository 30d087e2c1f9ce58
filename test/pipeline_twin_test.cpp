// Each operator of a pipeline against its naive twin: what comes out of it, and to the nanosecond when the line has ended,
// for random items at random times, a source that fails, a take() that has enough, and a context that ends.
#include <leat/leat.hpp>

#include "support/rounds.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <optional>
#include <random>
#include <set>
#include <stdexcept>
#include <utility>
#include <vector>

using namespace std::chrono_literals;
using leat::from;
using leat::task;

namespace {

/// What a line does: what comes when, in milliseconds, and how it ends. Items come at even times and waits are odd, so that
/// nothing that matters happens at the same time.
class trace {
public:
    enum class end { ends, fails, is_late };
    std::vector<std::pair<long, int>> items;
    std::vector<long> collected;  ///< failures of on_error(collect)
    long until = 0;
    end how = end::ends;

    bool ends() const
    {
        return how == end::ends;
    }
    std::vector<int> values() const
    {
        std::vector<int> all;
        for (const auto& each : items)
            all.push_back(each.second);
        return all;
    }
};

trace random_source(std::mt19937_64& random)
{
    trace made;
    const int n = static_cast<int>(random() % 16);
    for (int i = 0; i < n; ++i) {
        made.until += static_cast<long>(2 * (1 + random() % (random() % 3 == 0 ? 30 : 5)));
        made.items.emplace_back(made.until, static_cast<int>(random() % 12));
    }
    made.until += static_cast<long>(2 * (1 + random() % 10));
    if (random() % 3 == 0)
        made.how = trace::end::fails;
    return made;
}

/// The same as a source.
auto source_of(trace what)
{
    return [what = std::move(what), at = std::size_t{0}]() mutable -> task<std::optional<int>> {
        std::optional<int> item;
        const bool more = at < what.items.size();
        const long when = more ? what.items[at].first : what.until;
        co_await leat::sleep_until(leat::clock::time_point{std::chrono::milliseconds{when}});
        if (more)
            item = what.items[at++].second;
        else if (what.how == trace::end::fails)
            throw std::domain_error{"the source"};
        co_return item;
    };
}

int code(const std::vector<int>& several)
{
    unsigned sum = 7;
    for (const int each : several)
        sum = 31 * sum + static_cast<unsigned>(each);
    return static_cast<int>(sum % 1'000'003);
}

trace taken(trace of, std::size_t enough)
{
    if (enough == 0)
        return {};
    if (of.items.size() < enough)
        return of;
    of.items.resize(enough);
    of.until = of.items.back().first;
    of.how = trace::end::ends;
    of.collected.erase(std::upper_bound(of.collected.begin(), of.collected.end(), of.until),
                       of.collected.end());
    return of;
}

/// An operator without time: what it makes of one item, and of the end.
template <class Each>
trace each_of(const trace& in, Each each)
{
    trace out = in;
    out.items.clear();
    for (const auto& [when, value] : in.items)
        for (const int made : each(value))
            out.items.emplace_back(when, made);
    return out;
}

trace groups_of(const trace& in, std::size_t size, std::size_t step, bool rest)
{
    trace out = in;
    out.items.clear();
    const std::vector<int> all = in.values();
    std::size_t first = 0;
    for (; first + size <= all.size(); first += step)
        out.items.emplace_back(in.items[first + size - 1].first,
                               code({all.begin() + static_cast<std::ptrdiff_t>(first),
                                     all.begin() + static_cast<std::ptrdiff_t>(first + size)}));
    if (rest && in.ends() && first < all.size())
        out.items.emplace_back(in.until, code({all.begin() + static_cast<std::ptrdiff_t>(first), all.end()}));
    return out;
}

trace timed_groups_of(const trace& in, std::size_t size, long wait)
{
    trace out = in;
    out.items.clear();
    for (std::size_t first = 0; first < in.items.size();) {
        const long late = in.items[first].first + wait;
        std::vector<int> group;
        long when = in.items[first].first;
        for (; first < in.items.size() && group.size() < size && in.items[first].first < late; ++first) {
            group.push_back(in.items[first].second);
            when = in.items[first].first;
        }
        if (group.size() < size)
            when = std::min(late, in.until);
        if (when < in.until || in.ends())
            out.items.emplace_back(when, code(group));
    }
    return out;
}

trace quiet_after(const trace& in, long silence)
{
    trace out = in;
    out.items.clear();
    for (std::size_t i = 0; i < in.items.size(); ++i) {
        const long due = in.items[i].first + silence;
        const bool last = i + 1 == in.items.size();
        if (!last && in.items[i + 1].first < due)
            continue;
        if (!last || due < in.until)
            out.items.emplace_back(due, in.items[i].second);
        else if (in.ends())
            out.items.emplace_back(in.until, in.items[i].second);
    }
    return out;
}

trace late_after(trace in, long limit)
{
    long before = 0;
    for (std::size_t i = 0; i <= in.items.size(); ++i) {
        const long next = i < in.items.size() ? in.items[i].first : in.until;
        if (next > before + limit) {
            in.items.resize(i);
            in.until = before + limit;
            in.how = trace::end::is_late;
            break;
        }
        before = next;
    }
    return in;
}

/// What holds up each item holds up those behind it, and the end.
template <class Hold>
trace held_up(const trace& in, Hold hold)
{
    trace out = in;
    out.items.clear();
    long now = 0;
    for (const auto& [when, value] : in.items) {
        now = std::max(now, when);
        if (!hold(now, value)) {
            out.until = now;
            out.how = trace::end::fails;
            return out;
        }
        out.items.emplace_back(now, value);
    }
    out.until = std::max(now, in.until);
    return out;
}

/// Runs lines of one operator and compares. `make(random, source)` gives the line up to the operator and its twin.
template <class Make>
void compare(Make make)
{
    for (std::uint64_t seed = 1; seed <= static_cast<std::uint64_t>(test::rounds(300)); ++seed) {
        CAPTURE(seed);
        std::mt19937_64 random{seed};
        leat::sim::world world{seed};
        const trace source = random_source(random);
        auto [line, twin] = make(random, source, from(source_of(source)));
        const std::size_t enough = random() % 2 == 0 ? 1000 : random() % 8;
        const trace expected = taken(std::move(twin), enough);
        const long limit = random() % 3 == 0 ? static_cast<long>(random() % 100) : 1'000'000;
        const auto end = std::chrono::milliseconds{limit} + 500us;
        auto whole = std::move(line) | leat::take(enough) | leat::collect;
        std::optional<std::vector<int>> got;
        bool failed = false;
        bool late = false;
        std::size_t collected = 0;
        try {
            got = world.run(leat::timeout(end, std::move(whole).run()));
        } catch (const std::domain_error&) {
            failed = true;
        } catch (const leat::timed_out_error&) {
            late = true;
        } catch (const leat::group_error& all) {
            collected = all.errors().size();
        }
        if (expected.until > limit) {
            CHECK(late);
            CHECK(world.now() == end);
        } else {
            CHECK(failed == (expected.how == trace::end::fails));
            CHECK(late == (expected.how == trace::end::is_late));
            CHECK(collected == (expected.ends() ? expected.collected.size() : 0));
            CHECK(got.has_value() == (expected.ends() && expected.collected.empty()));
            if (got)
                CHECK(*got == expected.values());
            CHECK(world.now() == std::chrono::milliseconds{expected.until});
        }
        CHECK(world.live_tasks() == 0);
    }
}

long odd(std::mt19937_64& random, unsigned most)
{
    return static_cast<long>(2 * (random() % most) + 1);
}

int fails_on_one_in_three(int n)
{
    if (n % 3 == 1)
        throw std::domain_error{"one in three"};
    return n;
}

std::vector<int> those_that_do_not_fail(int n)
{
    return n % 3 == 1 ? std::vector<int>{} : std::vector<int>{n};
}

}  // namespace

TEST_CASE("twins: map, filter, flat_map, tee")
{
    compare([](auto&, const trace& in, auto source) {
        return std::pair{std::move(source) | leat::map([](int n) { return n + 1; }),
                         each_of(in, [](int n) { return std::vector<int>{n + 1}; })};
    });
    compare([](auto&, const trace& in, auto source) {
        return std::pair{std::move(source) | leat::filter([](int n) { return n % 3 == 0; }),
                         each_of(in, [](int n) { return std::vector<int>(n % 3 == 0 ? 1 : 0, n); })};
    });
    compare([](auto&, const trace& in, auto source) {
        const auto repeat = [](int n) { return std::vector<int>(static_cast<std::size_t>(n % 3), n); };
        return std::pair{std::move(source) | leat::flat_map(repeat), each_of(in, repeat)};
    });
    compare([](auto&, const trace& in, auto source) {
        return std::pair{std::move(source) | leat::tee([](const int&) {}), in};
    });
}

TEST_CASE("twins: workers keep the order if asked, and a stage of its own changes nothing")
{
    compare([](auto& random, const trace& in, auto source) {
        const int workers = static_cast<int>(1 + random() % 4);
        return std::pair{std::move(source) |
                             leat::map([](int n) { return n + 1; }, {.workers = workers, .ordered = true}),
                         each_of(in, [](int n) { return std::vector<int>{n + 1}; })};
    });
    compare([](auto& random, const trace& in, auto source) {
        const int buffer = static_cast<int>(random() % 3);
        return std::pair{std::move(source) |
                             leat::map([](int n) -> task<int> { co_return n + 1; }, {.buffer = buffer}),
                         each_of(in, [](int n) { return std::vector<int>{n + 1}; })};
    });
}

TEST_CASE("twins: skip, take, distinct, batch, window")
{
    compare([](auto& random, const trace& in, auto source) {
        const std::size_t n = random() % 8;
        return std::pair{std::move(source) | leat::skip(n),
                         each_of(in, [n, at = std::size_t{0}](int v) mutable {
                             return std::vector<int>(at++ < n ? 0 : 1, v);
                         })};
    });
    compare([](auto& random, const trace& in, auto source) {
        const std::size_t n = 1 + random() % 8;
        return std::pair{std::move(source) | leat::take(n), taken(in, n)};
    });
    compare([](auto& random, const trace& in, auto source) {
        const int kinds = static_cast<int>(1 + random() % 12);
        const auto key = [kinds](int n) { return n % kinds; };
        return std::pair{std::move(source) | leat::distinct(key),
                         each_of(in, [key, seen = std::set<int>{}](int n) mutable {
                             return std::vector<int>(seen.insert(key(n)).second ? 1 : 0, n);
                         })};
    });
    compare([](auto& random, const trace& in, auto source) {
        const std::size_t size = 1 + random() % 5;
        return std::pair{std::move(source) | leat::batch(size) | leat::map(code),
                         groups_of(in, size, size, true)};
    });
    compare([](auto& random, const trace& in, auto source) {
        const std::size_t size = 1 + random() % 5;
        const std::size_t step = 1 + random() % 6;
        return std::pair{std::move(source) | leat::window(size, step) | leat::map(code),
                         groups_of(in, size, step, false)};
    });
}

TEST_CASE("twins: batch and window in time, debounce, timeout, throttle")
{
    compare([](auto& random, const trace& in, auto source) {
        const std::size_t size = 1 + random() % 5;
        const long wait = odd(random, 20);
        return std::pair{std::move(source) | leat::batch(size, std::chrono::milliseconds{wait}) |
                             leat::map(code),
                         timed_groups_of(in, size, wait)};
    });
    compare([](auto& random, const trace& in, auto source) {
        const long span = odd(random, 20);
        return std::pair{std::move(source) | leat::window(std::chrono::milliseconds{span}) | leat::map(code),
                         timed_groups_of(in, 1'000'000, span)};
    });
    compare([](auto& random, const trace& in, auto source) {
        const long silence = odd(random, 15);
        return std::pair{std::move(source) | leat::debounce(std::chrono::milliseconds{silence}),
                         quiet_after(in, silence)};
    });
    compare([](auto& random, const trace& in, auto source) {
        const long limit = odd(random, 35);
        return std::pair{std::move(source) | leat::timeout(std::chrono::milliseconds{limit}),
                         late_after(in, limit)};
    });
    compare([](auto& random, const trace& in, auto source) {
        const long period = odd(random, 10);
        const long burst = static_cast<long>(1 + random() % 3);
        // In milliseconds: a token is a period.
        long level = burst * period;
        long before = 0;
        auto twin = held_up(in, [&](long& now, int) {
            level = std::min(burst * period, level + now - before);
            now += std::max(0L, period - level);
            level = std::max(period, level) - period;
            before = now;
            return true;
        });
        leat::rate_limiter limiter{leat::rate::every(std::chrono::milliseconds{period}), burst};
        return std::pair{std::move(source) | leat::throttle(limiter), std::move(twin)};
    });
}

TEST_CASE("twins: on_error: fail, skip, collect, retry")
{
    compare([](auto&, const trace& in, auto source) {
        return std::pair{std::move(source) | leat::map(fails_on_one_in_three),
                         held_up(in, [](long&, int n) { return n % 3 != 1; })};
    });
    compare([](auto&, const trace& in, auto source) {
        return std::pair{std::move(source) | leat::map(fails_on_one_in_three) | leat::on_error(leat::skip),
                         each_of(in, those_that_do_not_fail)};
    });
    compare([](auto&, const trace& in, auto source) {
        trace twin = each_of(in, those_that_do_not_fail);
        for (const auto& [when, value] : in.items)
            if (value % 3 == 1)
                twin.collected.push_back(when);
        return std::pair{std::move(source) | leat::map(fails_on_one_in_three) | leat::on_error(leat::collect),
                         std::move(twin)};
    });
    compare([](auto& random, const trace& in, auto source) {
        // An item fails as often as its value says, modulo three; each wait is odd.
        const std::size_t attempts = 1 + random() % 3;
        const long delay = odd(random, 5);
        auto flaky = [tries = 0](int n) mutable {
            if (tries++ < n % 3) {
                if (tries == 3)
                    tries = 0;
                throw std::domain_error{"again"};
            }
            tries = 0;
            return n;
        };
        auto twin = held_up(in, [&](long& now, int n) {
            const auto failures = static_cast<std::size_t>(n % 3);
            now += delay * static_cast<long>(std::min(failures, attempts - 1));
            return failures < attempts;
        });
        return std::pair{
            std::move(source) | leat::map(flaky) |
                leat::on_error(leat::retry(
                    {.attempts = attempts, .delay = std::chrono::milliseconds{delay}, .factor = 1})),
            std::move(twin)};
    });
}

TEST_CASE("twins: fold, for_each, a channel's copies, loops over ranges")
{
    for (std::uint64_t seed = 1; seed <= static_cast<std::uint64_t>(test::rounds(100)); ++seed) {
        CAPTURE(seed);
        std::mt19937_64 random{seed};
        leat::sim::world world{seed};
        const trace source = random_source(random);
        const int workers = static_cast<int>(1 + random() % 4);
        const std::vector<int> all = source.values();
        const auto sorted = [](std::vector<int> v) {
            std::sort(v.begin(), v.end());
            return v;
        };
        std::vector<int> seen;
        std::vector<int> copies;
        std::vector<int> looped;
        std::optional<int> folded;
        const leat::channel<int> to{100};
        bool failed = false;
        try {
            world.run([&]() -> task<> {
                long sum = 0;
                const long expected = 3 * std::accumulate(all.begin(), all.end(), 0L);
                sum = co_await leat::transform_reduce(
                    all, {.workers = workers}, 0L, [](long a, long b) { return a + b; },
                    [](int n) -> task<long> { co_return 3L * n; });
                CHECK(sum == expected);
                co_await leat::for_each(all, {.workers = workers}, [&](int n) -> task<> {
                    co_await leat::sleep_for(std::chrono::milliseconds{n});
                    looped.push_back(n);
                });
                CHECK(sorted(looped) == sorted(all));
                co_await (from(source_of(source)) | leat::tee(to) |
                          leat::for_each(
                              [&](int n) -> task<> {
                                  co_await leat::sleep_for(std::chrono::milliseconds{n});
                                  seen.push_back(n);
                              },
                              {.workers = workers}));
            });
        } catch (const std::domain_error&) {
            failed = true;
        }
        CHECK(failed == !source.ends());
        if (!failed)
            CHECK(sorted(seen) == sorted(all));
        to.close();
        while (auto copy = to.try_recv())
            copies.push_back(*copy);
        // In order, and if nobody was held up by workers all of them.
        CHECK(copies.size() <= all.size());
        CHECK(std::equal(copies.begin(), copies.end(), all.begin()));
        if (!failed)
            CHECK(copies == all);
        leat::sim::world other{seed};
        failed = false;
        try {
            folded = other.run([&]() -> task<int> {
                return (from(source_of(source)) |
                        leat::fold(1, [](int a, int n) { return (31 * a + n) % 1009; }))
                    .run();
            });
        } catch (const std::domain_error&) {
            failed = true;
        }
        CHECK(failed == !source.ends());
        int naive = 1;
        for (const int n : all)
            naive = (31 * naive + n) % 1009;
        CHECK(folded.value_or(naive) == naive);
        CHECK(world.live_tasks() + other.live_tasks() == 0);
    }
}
