#include <leat/flow.hpp>
#include <leat/leat.hpp>

#include "support/rounds.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <numeric>
#include <optional>
#include <random>
#include <set>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

using namespace std::chrono_literals;
using leat::collect;
using leat::from;
using leat::task;

namespace {

std::vector<int> numbers(int n)
{
    std::vector<int> all(static_cast<std::size_t>(n));
    std::iota(all.begin(), all.end(), 0);
    return all;
}

std::vector<int> sorted(std::vector<int> all)
{
    std::sort(all.begin(), all.end());
    return all;
}

int twice(int n)
{
    return 2 * n;
}

task<int> slowly_twice(int n)
{
    co_await leat::sleep_for(1s);
    co_return 2 * n;
}

/// Runs a test in a world, which has to be empty afterwards; how long it took.
template <class Body>
leat::clock::duration in_world(Body body, std::uint64_t seed = std::random_device{}())
{
    leat::sim::world world{seed};
    INFO("LEAT_SEED=", world.seed());
    world.run(std::move(body));
    CHECK(world.live_tasks() == 0);
    return world.now();
}

/// A vector made outside of the coroutine that uses it: g++ 12 refuses lists in an expression with a co_await.
template <class... Ints>
std::vector<int> list(Ints... items)
{
    return {items...};
}

/// Items that come at given times, in milliseconds.
template <class... Times>
auto at_times(Times... times)
{
    return [times = list(times...), at = std::size_t{0}]() mutable -> task<std::optional<int>> {
        std::optional<int> item;
        if (at < times.size()) {
            item = times[at++];
            co_await leat::sleep_until(leat::clock::time_point{std::chrono::milliseconds{*item}});
        }
        co_return item;
    };
}

}  // namespace

TEST_CASE("pipeline: sources: ranges, receivers, functions")
{
    in_world([]() -> task<> {
        const std::vector<int> all = numbers(5);
        const std::vector<int> a = co_await (from(all) | collect());
        CHECK(a == all);
        CHECK(all.size() == 5);
        leat::channel<int> ch{5};
        for (const int n : all)
            static_cast<void>(ch.try_send(n));
        ch.close();
        const std::vector<int> b = co_await (from(ch) | collect());
        CHECK(b == all);
        const std::vector<int> c = co_await (from([n = 0]() mutable -> std::optional<int> {
                                                 return n < 5 ? std::optional<int>{n++} : std::nullopt;
                                             }) |
                                             collect);
        CHECK(c == all);
        const std::vector<int> d = co_await (from(at_times(1, 2, 3)) | collect());
        CHECK(d == std::vector<int>{1, 2, 3});
    });
}

TEST_CASE("pipeline: stages whose functions are plain or coroutines")
{
    const auto took = in_world([]() -> task<> {
        auto odd = [](int n) { return n % 2 != 0; };
        auto slow_odd = [](const int& n) -> task<bool> {
            co_await leat::sleep_for(1s);
            co_return n % 2 != 0;
        };
        auto repeat = [](int n) { return std::vector<int>(static_cast<std::size_t>(n), n); };
        auto slow_repeat = [](int n) -> task<std::vector<int>> {
            co_await leat::sleep_for(1s);
            co_return std::vector<int>(static_cast<std::size_t>(n), n);
        };
        std::vector<int> seen;
        const std::vector<int> plain =
            co_await (from(numbers(5)) | leat::filter(odd) | leat::map(twice) |
                      leat::tee([&](int n) { seen.push_back(n); }) | leat::flat_map(repeat) | collect());
        CHECK(plain == std::vector<int>{2, 2, 6, 6, 6, 6, 6, 6});
        CHECK(seen == std::vector<int>{2, 6});
        CHECK(leat::clock::now().time_since_epoch() == 0s);
        const std::vector<int> slow =
            co_await (from(numbers(5)) | leat::filter(slow_odd) | leat::map(slowly_twice) |
                      leat::tee([](const int&) -> task<> { co_await leat::sleep_for(1s); }) |
                      leat::flat_map(slow_repeat) | collect());
        CHECK(slow == plain);
    });
    CHECK(took == 5s + 3 * 2s);
}

TEST_CASE("pipeline: last stages: for_each, fold, collect; items that only move")
{
    in_world([]() -> task<> {
        const int sum = co_await (from(numbers(5)) | leat::fold(10, [](int a, int b) { return a + b; }));
        CHECK(sum == 20);
        const std::string text = co_await (
            from(numbers(3)) | leat::fold(std::string{}, [](std::string s, int n) -> task<std::string> {
                co_await leat::sleep_for(1s);
                s += std::to_string(n);
                co_return s;
            }));
        CHECK(text == "012");
        std::vector<int> seen;
        co_await (from(numbers(3)) | leat::for_each([&](int n) -> task<> {
                      co_await leat::sleep_for(1s);
                      seen.push_back(n);
                  }));
        CHECK(seen == numbers(3));
        const auto boxes =
            co_await (from(numbers(3)) | leat::map([](int n) { return std::make_unique<int>(n); }) |
                      leat::filter([](const std::unique_ptr<int>& p) { return *p != 1; }) |
                      leat::map([](std::unique_ptr<int> p) { return p; }, {.workers = 2}) | collect());
        CHECK(boxes.size() == 2);
    });
}

TEST_CASE("pipeline: so many workers, no more; in order if asked")
{
    for (const bool in_order : {false, true}) {
        CAPTURE(in_order);
        int running = 0;
        int most = 0;
        const auto took = in_world([&]() -> task<> {
            auto work = [&](int n) -> task<int> {
                most = std::max(most, ++running);
                co_await leat::sleep_for(std::chrono::milliseconds{1000 - n});
                --running;
                co_return n;
            };
            const std::vector<int> got = co_await (
                from(numbers(20)) | leat::map(work, {.workers = 4, .ordered = in_order}) | collect());
            CHECK(sorted(got) == numbers(20));
            CHECK((got == numbers(20)) == in_order);
        });
        CHECK(most == 4);
        CHECK(took <= 5s);
        CHECK(took >= 4900ms);
    }
}

TEST_CASE("pipeline: for_each with workers")
{
    std::vector<int> seen;
    const auto took = in_world([&]() -> task<> {
        const int n = 5;
        co_await (from(numbers(20)) | leat::map(twice) |
                  leat::for_each(
                      [&](int item) -> task<> {
                          co_await leat::sleep_for(1s);
                          seen.push_back(item / 2);
                      },
                      {.workers = n, .buffer = 3}));
    });
    CHECK(took == 4s);
    CHECK(sorted(seen) == numbers(20));
}

TEST_CASE("pipeline: the first failure ends all, upwards and downwards, and is thrown")
{
    for (int where = 0; where < 4; ++where) {
        CAPTURE(where);
        leat::sim::world world;
        bool source_gone = false;
        auto fail = [](int n) -> task<int> {
            co_await leat::sleep_for(1s);
            if (n == 3)
                throw std::domain_error{"three"};
            co_return n;
        };
        auto body = [&]() -> task<> {
            auto source = [&, n = 0, gone = std::shared_ptr<bool>{&source_gone, [](bool* p) {
                                                                      *p = true;
                                                                  }}]() mutable -> task<std::optional<int>> {
                co_await leat::sleep_for(1ms);
                co_return n++;
            };
            auto pass = [](int n) { return n; };
            if (where == 0)
                co_await (from(std::move(source)) | leat::map(fail) | leat::for_each(pass, {.workers = 2}));
            else if (where == 1)
                co_await (from(std::move(source)) | leat::map(fail, {.workers = 3}) | leat::for_each(pass));
            else if (where == 2)
                co_await (from(std::move(source)) | leat::map(fail, {.workers = 3, .ordered = true}) |
                          leat::for_each(pass, {.workers = 2}));
            else
                co_await (from(std::move(source)) | leat::batch(1, 5s) |
                          leat::for_each([&](std::vector<int> v) { return fail(v.at(0)); }));
        };
        CHECK_THROWS_AS(world.run(body), std::domain_error);
        CHECK(source_gone);
        CHECK(world.live_tasks() == 0);
    }
}

TEST_CASE("pipeline: take ends what is above it, even asleep; what is below goes on")
{
    const auto took = in_world([]() -> task<> {
        const std::vector<int> got =
            co_await (from(at_times(1, 2, 3, 3'600'000)) | leat::map(twice, {.workers = 3}) | leat::take(3) |
                      leat::map(slowly_twice, {.workers = 1}) | collect());
        CHECK(sorted(got) == std::vector<int>{4, 8, 12});
        const std::vector<int> endless =
            co_await (from([n = 0]() mutable { return n++; }) | leat::skip(2) | leat::take(3) | collect());
        CHECK(endless == std::vector<int>{2, 3, 4});
    });
    CHECK(took <= 3s + 3ms);
}

TEST_CASE("pipeline: on_error: skip, retry, collect")
{
    in_world([]() -> task<> {
        int calls = 0;
        auto fails_on_odd = [&](int n) {
            ++calls;
            if (n % 2 != 0)
                throw std::domain_error{std::to_string(n)};
            return n;
        };
        const std::vector<int> skipped =
            co_await (from(numbers(6)) | leat::map(fails_on_odd) | leat::on_error(leat::skip) | collect());
        CHECK(skipped == std::vector<int>{0, 2, 4});
        const std::vector<int> in_workers =
            co_await (from(numbers(6)) | leat::map(fails_on_odd, {.workers = 2, .ordered = true}) |
                      leat::on_error(leat::skip) | collect());
        CHECK(in_workers == skipped);

        std::size_t failures = 0;
        std::vector<int> passed;
        try {
            co_await (from(numbers(6)) | leat::map(fails_on_odd) | leat::on_error(collect) |
                      leat::for_each([&](int n) { passed.push_back(n); }));
        } catch (const leat::group_error& error) {
            failures = error.errors().size();
        }
        CHECK(failures == 3);
        CHECK(passed == skipped);

        int tries = 0;
        auto third_time = [&](int n) -> task<int> {
            co_await leat::sleep_for(1s);
            if (++tries % 3 != 0)
                throw std::domain_error{"not yet"};
            co_return n;
        };
        const auto began = leat::clock::now();
        const std::vector<int> retried =
            co_await (from(numbers(2)) | leat::map(third_time) |
                      leat::on_error(leat::retry({.attempts = 3, .delay = 100ms})) | collect());
        CHECK(retried == numbers(2));
        CHECK(leat::clock::now() - began == 2 * (3s + 300ms));
        const auto given_up =
            co_await leat::as_result(from(numbers(2)) | leat::map(third_time) |
                                     leat::on_error(leat::retry({.attempts = 2})) | collect());
        CHECK(!given_up);
    });
}

TEST_CASE("pipeline: batch and window")
{
    in_world([]() -> task<> {
        using lists = std::vector<std::vector<int>>;
        const lists batches = co_await (from(numbers(5)) | leat::batch(2) | collect());
        CHECK(batches == lists{{0, 1}, {2, 3}, {4}});
        const lists cut = co_await (from(numbers(10)) | leat::take(3) | leat::batch(2) | collect());
        CHECK(cut == lists{{0, 1}, {2}});
        const lists sliding = co_await (from(numbers(5)) | leat::window(3) | collect());
        CHECK(sliding == lists{{0, 1, 2}, {1, 2, 3}, {2, 3, 4}});
        const lists steps = co_await (from(numbers(7)) | leat::window(2, 3) | collect());
        CHECK(steps == lists{{0, 1}, {3, 4}});
        const lists timed =
            co_await (from(at_times(10, 20, 30, 200, 500, 510)) | leat::batch(3, 100ms) | collect());
        CHECK(timed == lists{{10, 20, 30}, {200}, {500, 510}});
        const lists windows =
            co_await (from(at_times(1000, 1050, 1150, 1400)) | leat::window(100ms) | collect());
        CHECK(windows == lists{{1000, 1050}, {1150}, {1400}});
    });
}

TEST_CASE("pipeline: a batch that waits no longer is given on at its time")
{
    in_world([]() -> task<> {
        std::vector<std::pair<std::size_t, std::chrono::nanoseconds>> got;
        co_await (from(at_times(10, 20, 300, 310, 320)) | leat::batch(3, 100ms) |
                  leat::for_each([&](const std::vector<int>& items) {
                      got.emplace_back(items.size(), leat::clock::now().time_since_epoch());
                  }));
        REQUIRE(got.size() == 2);
        CHECK(got[0].first == 2);
        CHECK(got[0].second == 110ms);
        CHECK(got[1].first == 3);
        CHECK(got[1].second == 320ms);
    });
}

TEST_CASE("pipeline: distinct, debounce, throttle, timeout, tee to a channel")
{
    in_world([]() -> task<> {
        const std::vector<int> once =
            co_await (from(list(1, 2, 1, 3, 2, 64, 64)) | leat::distinct() | collect());
        CHECK(once == std::vector<int>{1, 2, 3, 64});
        const std::vector<std::string> words{"a", "b", "cc", "dd", "eee"};
        const std::vector<std::string> by_length = co_await (
            from(words) | leat::distinct([](const std::string& s) { return s.size(); }) | collect());
        CHECK(by_length == std::vector<std::string>{"a", "cc", "eee"});
        const std::vector<int> quiet =
            co_await (from(at_times(10, 20, 30, 200, 500, 510)) | leat::debounce(100ms) | collect());
        CHECK(quiet == std::vector<int>{30, 200, 510});

        const auto began = leat::clock::now();
        leat::rate_limiter limiter{10, 1};
        const std::vector<int> slow = co_await (from(numbers(5)) | leat::throttle(limiter) | collect());
        CHECK(slow == numbers(5));
        CHECK(leat::clock::now() - began == 400ms);

        const auto late =
            co_await leat::as_result(from(at_times(2000, 2050, 2200)) | leat::timeout(100ms) | collect());
        CHECK(late.error() == leat::errc::deadline_exceeded);

        leat::channel<int> copies{10};
        const std::vector<int> both = co_await (from(numbers(3)) | leat::tee(copies) | collect());
        CHECK(both == numbers(3));
        CHECK(copies.size() == 3);
        copies.close();
        const std::vector<int> alone = co_await (from(numbers(3)) | leat::tee(copies) | collect());
        CHECK(alone == numbers(3));
    });
}

TEST_CASE("pipeline: a value: copied, run twice, spawned, timed out, cancelled")
{
    in_world([]() -> task<> {
        auto line = from(numbers(5)) | leat::map(slowly_twice, {.workers = 5}) |
                    leat::fold(0, [](int a, int b) { return a + b; });
        const int first = co_await line;
        const int second = co_await line;
        CHECK(first == 20);
        CHECK(second == 20);
        auto copy = line;
        auto handle = leat::spawn(copy);
        auto [a, b] = co_await leat::when_all(line.run(), std::move(line).run());
        CHECK(a == 20);
        CHECK(b == 20);
        const int third = co_await handle;
        CHECK(third == 20);
        CHECK(leat::clock::now().time_since_epoch() == 3s);
        const auto late = co_await leat::as_result(leat::timeout(500ms, copy));
        CHECK(late.error() == leat::errc::deadline_exceeded);
    });
}

TEST_CASE("pipeline: describes itself, and can be watched while it runs")
{
    in_world([]() -> task<> {
        auto line = from(numbers(100)) |
                    leat::map(slowly_twice, {.workers = 4, .ordered = true, .buffer = 8}) |
                    leat::filter([](int n) { return n % 4 == 0; }) | leat::batch(10, 5ms) |
                    leat::for_each([](const std::vector<int>&) {});
        CHECK(line.describe() ==
              "from -> map (4 workers, ordered, buffer 8) -> filter -> batch (10, 5 ms) -> for_each");
        leat::pipeline_observer watcher = line.observe();
        CHECK(!watcher.running());
        auto running = leat::spawn(std::move(line));
        co_await leat::sleep_for(10500ms);
        CHECK(watcher.running());
        auto seen = watcher.stages();
        REQUIRE(seen.size() == 4);
        CHECK(seen[0].name == "map (4 workers, ordered, buffer 8)");
        CHECK(seen[0].items_in == 44);
        CHECK(seen[0].items_out == 40);
        CHECK(seen[0].busy == 40s);
        CHECK(seen[0].rate == doctest::Approx(44 / 10.5));
        CHECK(seen[0].queue_depth == 8);
        CHECK(seen[1].items_in == 40);
        CHECK(seen[1].items_out == 20);
        co_await running;
        CHECK(!watcher.running());
        seen = watcher.stages();
        CHECK(seen[0].items_in == 100);
        CHECK(seen[1].items_out == 50);
    });
}

TEST_CASE("pipeline: every stage counts what it takes, what it gives on, and the time that it works")
{
    in_world([]() -> task<> {
        leat::channel<int> copies{100};
        auto line = from(numbers(30)) | leat::skip(2) | leat::distinct() | leat::tee(copies) |
                    leat::throttle(leat::rate_limiter{10, 1}) | leat::timeout(1h) | leat::batch(4) |
                    leat::window(2) | leat::batch(2, 1h) | leat::take(2) |
                    leat::fold(0, [](int a, const std::vector<std::vector<std::vector<int>>>&) -> task<int> {
                        co_await leat::sleep_for(1s);
                        co_return a + 1;
                    });
        CHECK(line.describe() ==
              "from -> skip (2) -> distinct -> tee -> throttle -> timeout (3600 s) -> batch (4) -> "
              "window (2, step 1) -> batch (2, 3600 s) -> take (2) -> fold");
        const leat::pipeline_observer watcher = line.observe();
        const int made = co_await line;
        CHECK(made == 2);
        const auto seen = watcher.stages();
        const auto counts = [&](std::size_t stage, std::uint64_t in, std::uint64_t out) {
            INFO(seen[stage].name);
            CHECK(seen[stage].items_in >= in);
            CHECK(seen[stage].items_out >= out);
            CHECK(seen[stage].items_in <= in + 10);
            CHECK(seen[stage].items_out <= out + 10);
        };
        // At least what two windows of two batches of four need. Those above may have read ahead.
        REQUIRE(seen.size() == 10);
        counts(0, 22, 20);
        for (std::size_t stage = 1; stage < 5; ++stage)
            counts(stage, 20, 20);
        counts(5, 20, 5);
        counts(6, 5, 4);
        counts(7, 4, 2);
        CHECK(seen[8].items_in == 2);
        CHECK(seen[8].items_out == 2);
        CHECK(seen[9].items_in == 2);
        CHECK(seen[9].items_out == 2);
        CHECK(seen[9].busy == 2s);
        CHECK(seen[3].busy == 0s);
        CHECK(seen[1].rate > 0);

        auto flaky = [tries = 0](int n) mutable -> task<int> {
            co_await leat::sleep_for(1s);
            if (++tries % 2 != 0)
                throw std::domain_error{"again"};
            co_return n;
        };
        auto again = from(numbers(3)) | leat::map(flaky) |
                     leat::on_error(leat::retry({.attempts = 2, .delay = 10s})) | collect;
        const leat::pipeline_observer tries = again.observe();
        co_await again;
        CHECK(tries.stages()[0].items_in == 3);
        CHECK(tries.stages()[0].failed == 3);
        CHECK(tries.stages()[0].busy == 6s);  // without the waits between attempts
        CHECK(tries.stages()[1].items_out == 3);
    });
}

TEST_CASE("pipeline: random lines agree with their naive twins, whole, cut short, failing and cancelled")
{
    for (std::uint64_t seed = 1; seed <= static_cast<std::uint64_t>(test::rounds(400)); ++seed) {
        CAPTURE(seed);
        leat::sim::world world{seed};
        std::mt19937_64 random{seed};
        const int items = static_cast<int>(random() % 40);
        const int workers = 1 + static_cast<int>(random() % 4);
        const bool in_order = random() % 2 == 0;
        const int buffer = static_cast<int>(random() % 3);
        const auto enough = random() % 45 + 1;
        const auto size = random() % 5 + 1;
        const int bad = random() % 3 == 0 ? static_cast<int>(random() % 40) : -1;
        const bool skips = random() % 2 == 0;
        const bool timed = random() % 4 == 0;
        const std::chrono::milliseconds limit{1 + random() % 15};

        std::vector<int> expected;
        bool fails = false;
        for (int n = 0; n < items; ++n) {
            if (n == bad) {
                fails = !skips;
                continue;
            }
            if (n % 3 != 1)
                for (int i = 0; i < n % 3; ++i)
                    expected.push_back(n);
        }
        const bool cut = expected.size() > enough;
        auto slow = [&](int n) -> task<int> {
            co_await leat::sleep_for(std::chrono::milliseconds{random() % 3});
            if (n == bad)
                throw std::domain_error{"bad"};
            co_return n;
        };
        auto repeat = [](int n) { return std::vector<int>(static_cast<std::size_t>(n % 3), n); };
        auto line = [&](auto head) -> task<std::vector<std::vector<int>>> {
            return (std::move(head) |
                    leat::filter([](int n) { return n % 3 != 1; },
                                 {.workers = workers, .ordered = in_order}) |
                    leat::flat_map(repeat, {.workers = workers, .ordered = in_order, .buffer = buffer}) |
                    leat::take(enough) | leat::batch(size) | collect)
                .run();
        };
        auto run = [&]() -> task<std::vector<std::vector<int>>> {
            auto mapped = from(numbers(items)) |
                          leat::map(slow, {.workers = workers, .ordered = in_order, .buffer = buffer});
            if (skips)
                return line(std::move(mapped) | leat::on_error(leat::skip));
            return line(std::move(mapped));
        };
        try {
            std::vector<std::vector<int>> got;
            if (timed) {
                auto limited = world.run([&]() -> task<leat::result<std::vector<std::vector<int>>>> {
                    co_return co_await leat::as_result(leat::timeout(limit, run()));
                });
                if (!limited) {
                    CHECK((limited.error() == leat::errc::deadline_exceeded || fails));
                    CHECK(world.live_tasks() == 0);
                    continue;
                }
                got = std::move(limited).value();
            } else {
                got = world.run(run());
            }
            std::vector<int> flat;
            for (std::size_t i = 0; i < got.size(); ++i) {
                CHECK((got[i].size() == size || i + 1 == got.size()));
                flat.insert(flat.end(), got[i].begin(), got[i].end());
            }
            // A failure is not swallowed, unless there was enough before it came; and nothing is lost.
            CHECK((!fails || expected.size() >= enough));
            CHECK(flat.size() == std::min<std::size_t>(enough, expected.size()));
            if (in_order && !fails) {
                if (cut)
                    expected.resize(enough);
                CHECK(flat == expected);
            } else if (!cut && !fails) {
                CHECK(sorted(flat) == expected);
            } else {
                CHECK(flat.size() <= enough);
                std::vector<int> all = expected;
                std::vector<int> part = sorted(flat);
                CHECK((fails || std::includes(all.begin(), all.end(), part.begin(), part.end())));
            }
        } catch (const std::domain_error&) {
            CHECK(fails);
        }
        CHECK(world.live_tasks() == 0);
    }
}

TEST_CASE("pipeline: on the pool")
{
    for (int round = 0; round < test::rounds(20); ++round) {
        const bool in_order = round % 2 == 0;
        const long sum = leat::run(
            [in_order]() -> task<long> {
                return (from(numbers(3000)) |
                        leat::map([](int n) { return n + 1; },
                                  {.workers = 3, .ordered = in_order, .buffer = 4}) |
                        leat::filter([](int n) { return n % 2 == 0; }, {.workers = 2}) |
                        leat::fold(0L, [](long a, int b) { return a + b; }))
                    .run();
            },
            {.workers = 2});
        CHECK(sum == 1500L * 1501);
        const auto few = leat::run(
            [in_order]() -> task<std::vector<int>> {
                return (from([n = 0]() mutable { return n++; }) |
                        leat::map(twice, {.workers = 3, .ordered = in_order}) | leat::take(100) | collect)
                    .run();
            },
            {.workers = 2});
        CHECK(few.size() == 100);
    }
}

// ---- Loops -----------------------------------------------------------------------------------------

TEST_CASE("for_each over a range: each element once, so many at a time, elements changed in place")
{
    int running = 0;
    int most = 0;
    std::vector<int> items = numbers(20);
    const auto took = in_world([&]() -> task<> {
        const int workers = 4;
        co_await leat::for_each(items, {.workers = workers}, [&](int& n) -> task<> {
            most = std::max(most, ++running);
            co_await leat::sleep_for(1s);
            --running;
            n = -n;
        });
        std::set<int> seen;
        co_await leat::for_each(list(1, 2, 3), {.workers = 8}, [&](int n) { seen.insert(n); });
        CHECK(seen.size() == 3);
        co_await leat::for_each(std::vector<int>{}, {.workers = 8}, [](int) {});
    });
    CHECK(most == 4);
    CHECK(took == 5s);
    for (int i = 0; i < 20; ++i)
        CHECK(items[static_cast<std::size_t>(i)] == -i);
}

TEST_CASE("for_each over a range: the first failure ends it; so does its context")
{
    leat::sim::world world;
    int calls = 0;
    CHECK_THROWS_AS(world.run([&]() -> task<> {
        co_await leat::for_each(numbers(100), {.workers = 3}, [&](int n) -> task<> {
            ++calls;
            co_await leat::sleep_for(1s);
            if (n == 10)
                throw std::domain_error{"ten"};
        });
    }),
                    std::domain_error);
    CHECK(calls <= 14);  // the first four rounds, and who is quicker than the failure
    world.run([&]() -> task<> {
        const auto late = co_await leat::as_result(
            leat::timeout(1s, leat::for_each(numbers(10), {.workers = 2},
                                             [](int) -> task<> { co_await leat::sleep_for(1h); })));
        CHECK(late.error() == leat::errc::deadline_exceeded);
    });
    CHECK(world.live_tasks() == 0);
    CHECK_THROWS_AS(static_cast<void>(leat::for_each(numbers(1), {.workers = -1}, [](int) {})),
                    leat::usage_error);
    CHECK_THROWS_AS(static_cast<void>(leat::for_each(numbers(1), {.workers = 0}, [](int) {})),
                    leat::usage_error);
}

TEST_CASE("transform_reduce: the sum of what a function makes, in any order")
{
    const auto took = in_world([]() -> task<> {
        auto plus = [](long a, long b) { return a + b; };
        const long plain = co_await leat::transform_reduce(numbers(1000), {.workers = 4}, 5L, plus,
                                                           [](int n) { return long{n} * n; });
        CHECK(plain == 5 + 999L * 1000 * 1999 / 6);
        const long slow =
            co_await leat::transform_reduce(numbers(8), {.workers = 4}, 0L, plus, [](int n) -> task<long> {
                co_await leat::sleep_for(1s);
                co_return n;
            });
        CHECK(slow == 28);
        const std::string none = co_await leat::transform_reduce(
            numbers(0), {.workers = 4}, std::string{"none"},
            [](std::string a, const std::string& b) { return a + b; },
            [](int n) { return std::to_string(n); });
        CHECK(none == "none");
    });
    CHECK(took == 2s);
}
