#include <leat/flow.hpp>
#include <leat/leat.hpp>

#include "support/rounds.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <memory>
#include <numeric>
#include <optional>
#include <random>
#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

using namespace std::chrono_literals;
using leat::receiver;
using leat::task;
using leat::task_group;

namespace {

template <class T>
task<std::vector<T>> all_of(receiver<T> from)
{
    std::vector<T> got;
    while (auto item = co_await from.recv())
        got.push_back(std::move(*item));
    co_return got;
}

std::vector<int> numbers(int n, int first = 0)
{
    std::vector<int> all(static_cast<std::size_t>(n));
    std::iota(all.begin(), all.end(), first);
    return all;
}

std::vector<int> sorted(std::vector<int> all)
{
    std::sort(all.begin(), all.end());
    return all;
}

template <class Body>
leat::clock::duration in_group(Body body, std::uint64_t seed = std::random_device{}())
{
    leat::sim::world world{seed};
    INFO("LEAT_SEED=", world.seed());
    world.run(leat::with_group(std::move(body)));
    CHECK(world.live_tasks() == 0);
    return world.now();
}

}  // namespace

TEST_CASE("fan_out: so many workers, each value once")
{
    int running = 0;
    int most = 0;
    const auto took = in_group([&](task_group& group) -> task<> {
        auto work = [&](int n) -> task<int> {
            most = std::max(most, ++running);
            co_await leat::sleep_for(1s);
            --running;
            co_return n * 2;
        };
        auto in = leat::generate(group, numbers(10));
        const std::vector<int> got = sorted(co_await all_of(leat::fan_out(group, in, 4, work)));
        for (int i = 0; i < 10; ++i)
            CHECK(got.at(static_cast<std::size_t>(i)) == 2 * i);
    });
    CHECK(most == 4);
    CHECK(took == 3s);
}

TEST_CASE("fan_out: takes a channel, a plain function, and values that only move")
{
    in_group([](task_group& group) -> task<> {
        leat::channel<int> in{3};
        for (int i = 0; i < 3; ++i)
            static_cast<void>(in.try_send(i));
        in.close();
        auto boxes = leat::fan_out(group, in, 2, [](int n) { return std::make_unique<int>(n); });
        auto back = leat::fan_out(group, boxes, 2, [](std::unique_ptr<int> box) { return *box; });
        const std::vector<int> got = sorted(co_await all_of(back));
        CHECK(got == std::vector<int>{0, 1, 2});
        CHECK_THROWS_AS(static_cast<void>(leat::fan_out(group, in, 0, [](int n) { return n; })),
                        leat::usage_error);
    });
}

TEST_CASE("fan_out: told about its workers as stages of pipelines are")
{
    leat::sim::world world;
    world.run(leat::with_group([](leat::task_group& group) -> leat::task<> {
        std::vector<int> items;
        for (int n = 0; n < 8; ++n)
            items.push_back(n);
        auto slowly = [](int n) -> leat::task<int> {
            co_await leat::sleep_for(1s);
            co_return n;
        };
        auto out = leat::fan_out(group, leat::generate(group, items), {.workers = 4, .buffer = 2}, slowly);
        int sum = 0;
        while (auto n = co_await out.recv())
            sum += *n;
        CHECK(sum == 28);
        CHECK_THROWS_AS(static_cast<void>(leat::fan_out(group, out, {.workers = 0}, slowly)),
                        leat::usage_error);
        CHECK_THROWS_AS(static_cast<void>(leat::fan_out(group, out, {.ordered = true}, slowly)),
                        leat::usage_error);
    }));
    CHECK(world.now() == 2s);
    CHECK(world.live_tasks() == 0);
}

TEST_CASE("fan_out: the first failure ends all, and is thrown by the group")
{
    leat::sim::world world;
    CHECK_THROWS_AS(world.run(leat::with_group([](task_group& group) -> task<> {
        auto in = leat::generate(group, [n = 0]() mutable { return n++; });
        auto out = leat::fan_out(group, in, 3, [](int n) -> task<int> {
            co_await leat::sleep_for(1s);
            if (n == 7)
                throw std::domain_error{"seven"};
            co_return n;
        });
        for (;;)
            static_cast<void>(co_await out.recv());
    })),
                    std::domain_error);
    CHECK(world.now() == 3s);
    CHECK(world.live_tasks() == 0);
}

TEST_CASE("a reader that stops early ends the whole line, up to its source and wherever it waits")
{
    SUBCASE("a source that never gives anything")
    {
        const auto took = in_group([](task_group& group) -> task<> {
            const leat::channel<int> never;
            auto doubled = leat::fan_out(group, never, 2, [](int n) { return n; });
            auto few = leat::take(group, doubled, 3);
            auto later = leat::skip(group, few, 1);
            auto [a, b] = leat::tee(group, later);
            auto one = leat::fan_in(group, a, b);
            auto pair = leat::zip(group, one, one);
            const auto got = co_await leat::as_result(leat::timeout(1s, pair.recv()));
            CHECK(got.error() == leat::errc::deadline_exceeded);
        });
        CHECK(took == 1s);
    }
    SUBCASE("one that never ends")
    {
        in_group([](task_group& group) -> task<> {
            auto in = leat::generate(group, [n = 0]() mutable { return n++; });
            auto out = leat::take(group, leat::fan_out(group, in, 3, [](int n) { return n; }), 5);
            const std::vector<int> got = co_await all_of(out);
            CHECK(got.size() == 5);
        });
    }
}

TEST_CASE("split: each value goes to one of n, tee: to all of n")
{
    in_group([](task_group& group) -> task<> {
        auto parts = leat::split(group, leat::generate(group, numbers(100)), 3);
        auto read = leat::fan_in(group, parts);
        parts.clear();
        const std::vector<int> got = sorted(co_await all_of(read));
        CHECK(got == numbers(100));

        auto copies = leat::tee(group, leat::generate(group, numbers(100)), 3, {.buffer = 100});
        for (auto& each : copies) {
            const std::vector<int> all = co_await all_of(each);
            CHECK(all == numbers(100));
        }
    });
}

TEST_CASE("tee: a reader that goes is left out, the slowest sets the pace")
{
    const auto took = in_group([](task_group& group) -> task<> {
        auto copies = leat::tee(group, leat::generate(group, numbers(10)), 3);
        auto slow = group.try_spawn([from = copies[0]]() -> task<> {
            while (auto item = co_await from.recv())
                co_await leat::sleep_for(1s);
        });
        CHECK(slow);
        group.try_spawn([from = copies[1]]() -> task<> {
            const auto first = co_await from.recv();
            CHECK(first == 0);
        });
        const receiver<int> fast = copies[2];
        copies.clear();
        const std::vector<int> all = co_await all_of(fast);
        CHECK(all == numbers(10));
    });
    CHECK(took == 10s);
}

TEST_CASE("fan_in: everything from all, ends with the last")
{
    in_group([](task_group& group) -> task<> {
        std::vector<receiver<int>> sources;
        for (int i = 0; i < 10; ++i)
            sources.push_back(leat::generate(group, numbers(i, 100 * i)));
        auto all = leat::fan_in(group, sources);
        sources.clear();
        const std::vector<int> got = sorted(co_await all_of(all));
        std::vector<int> expected;
        for (int i = 0; i < 10; ++i)
            for (const int n : numbers(i, 100 * i))
                expected.push_back(n);
        CHECK(got == expected);
        auto none = leat::fan_in(group, std::vector<receiver<int>>{});
        const auto end = co_await none.recv();
        CHECK(!end);
    });
}

TEST_CASE("merge: in order, if what it reads is, and stable")
{
    for (std::uint64_t seed = 1; seed <= 50; ++seed) {
        CAPTURE(seed);
        std::mt19937_64 random{seed};
        std::vector<std::vector<std::pair<int, int>>> inputs(random() % 6);
        std::vector<std::pair<int, int>> expected;
        for (std::size_t i = 0; i < inputs.size(); ++i) {
            for (auto n = random() % 20; n > 0; --n)
                inputs[i].emplace_back(static_cast<int>(random() % 30), static_cast<int>(i));
            std::sort(inputs[i].begin(), inputs[i].end());
            expected.insert(expected.end(), inputs[i].begin(), inputs[i].end());
        }
        auto by_key = [](const auto& a, const auto& b) { return a.first < b.first; };
        std::sort(expected.begin(), expected.end());  // by key, then by source
        in_group(
            [&](task_group& group) -> task<> {
                std::vector<receiver<std::pair<int, int>>> sources;
                for (const auto& each : inputs)
                    sources.push_back(leat::generate(group, each));
                auto merged = leat::merge(group, sources, by_key);
                const auto got = co_await all_of(merged);
                CHECK(got == expected);
            },
            seed);
    }
    in_group([](task_group& group) -> task<> {
        auto merged =
            leat::merge(group, leat::generate(group, numbers(3)), leat::generate(group, numbers(3, 1)));
        const std::vector<int> got = co_await all_of(merged);
        CHECK(got == std::vector<int>{0, 1, 1, 2, 2, 3});
    });
}

TEST_CASE("zip: tuples, as many as the shortest gives")
{
    in_group([](task_group& group) -> task<> {
        auto rows = leat::zip(group, leat::generate(group, numbers(3)),
                              leat::generate(group, std::vector<std::string>{"a", "b", "c", "d"}));
        int at = 0;
        while (auto row = co_await rows.recv()) {
            CHECK(std::get<0>(*row) == at);
            CHECK(std::get<1>(*row) == std::string(1, static_cast<char>('a' + at)));
            ++at;
        }
        CHECK(at == 3);
    });
}

TEST_CASE("take and skip: agree with what they say")
{
    for (std::size_t n : {0U, 1U, 5U, 10U, 11U}) {
        CAPTURE(n);
        in_group([&](task_group& group) -> task<> {
            const auto all = numbers(10);
            const auto middle = all.begin() + static_cast<std::ptrdiff_t>(std::min<std::size_t>(n, 10));
            const std::vector<int> first = co_await all_of(leat::take(group, leat::generate(group, all), n));
            CHECK(first == std::vector<int>(all.begin(), middle));
            const std::vector<int> rest = co_await all_of(leat::skip(group, leat::generate(group, all), n));
            CHECK(rest == std::vector<int>(middle, all.end()));
        });
    }
}

TEST_CASE("or_done: ends with its source, with its reader, or when the context ends")
{
    in_group([](task_group& group) -> task<> {
        const auto got =
            co_await all_of(leat::or_done(group, leat::generate(group, numbers(5)), leat::background()));
        CHECK(got == numbers(5));
    });
    const auto took = in_group([](task_group& group) -> task<> {
        const auto limited = leat::with_timeout(5500ms);
        auto ticks = leat::generate(group, []() -> task<int> {
            co_await leat::sleep_for(1s);
            co_return 1;
        });
        const std::vector<int> got = co_await all_of(leat::or_done(group, ticks, limited.first));
        CHECK(got.size() == 5);
        CHECK(leat::clock::now().time_since_epoch() == 5500ms);
    });
    CHECK(took == 5500ms);
    in_group([](task_group& group) -> task<> {
        auto some = leat::or_done(group, leat::generate(group, [] { return 1; }), leat::background());
        const auto got = co_await some.recv();
        CHECK(got == 1);
    });
}

TEST_CASE("random lines of stages, cut at random: nothing is doubled, nothing is left")
{
    for (std::uint64_t seed = 1; seed <= static_cast<std::uint64_t>(test::rounds(200)); ++seed) {
        CAPTURE(seed);
        leat::sim::world world{seed};
        std::mt19937_64 random{seed};
        const int items = static_cast<int>(random() % 40);
        const auto enough = random() % 50;
        const auto ends = random() % 4;
        std::vector<int> got;
        auto body = [&](task_group& group) -> task<> {
            receiver<int> line = leat::generate(group, numbers(items));
            for (auto stages = random() % 5; stages > 0; --stages)
                switch (random() % 5) {
                case 0:
                    line = leat::fan_out(
                        group, line, 1 + static_cast<int>(random() % 3), [&](int n) -> task<int> {
                            co_await leat::sleep_for(std::chrono::milliseconds{random() % 3});
                            if (ends == 1 && random() % 30 == 0)
                                throw std::domain_error{"on purpose"};
                            co_return n;
                        });
                    break;
                case 1: {
                    auto parts = leat::split(group, line, 1 + random() % 3);
                    line = leat::fan_in(group, parts);
                    break;
                }
                case 2: {
                    auto both = leat::tee(group, line, 2, {.buffer = random() % 3});
                    auto pairs = leat::zip(group, both[0], both[1]);
                    both.clear();
                    line = leat::fan_out(group, pairs, 1, [](const std::tuple<int, int>& pair) {
                        CHECK(std::get<0>(pair) == std::get<1>(pair));
                        return std::get<0>(pair);
                    });
                    break;
                }
                case 3: line = leat::take(group, line, enough + 5); break;
                default: line = leat::or_done(group, line, leat::background()); break;
                }
            while (got.size() < enough) {
                auto item = co_await line.recv();
                if (!item)
                    break;
                got.push_back(*item);
            }
            if (ends == 2)
                group.cancel();
        };
        try {
            auto whole = leat::with_group(body);
            if (ends == 3) {
                const auto ended = world.run([&]() -> task<std::error_code> {
                    const auto limited = co_await leat::as_result(leat::timeout(20ms, std::move(whole)));
                    co_return limited.error();
                });
                CHECK((!ended || ended == leat::errc::deadline_exceeded));
            } else {
                world.run(std::move(whole));
            }
            if (ends == 0)
                CHECK(got.size() == std::min<std::size_t>(enough, static_cast<std::size_t>(items)));
        } catch (const std::domain_error&) {
            CHECK(ends == 1);
        }
        CHECK(world.live_tasks() == 0);
        std::vector<int> once = sorted(got);
        CHECK(std::adjacent_find(once.begin(), once.end()) == once.end());
    }
}

TEST_CASE("on the pool: a long line, read to its end, and abandoned")
{
    for (int round = 0; round < test::rounds(20); ++round) {
        const int stop = round % 2 == 0 ? 1'000'000 : 50 * round;
        leat::run(
            [stop]() -> task<> {
                co_await leat::with_group([stop](task_group& group) -> task<> {
                    auto in = leat::generate(group, numbers(2000));
                    auto out = leat::fan_out(group, in, 4, [](int n) { return n; });
                    auto parts = leat::split(group, out, 3);
                    auto all = leat::fan_in(group, parts);
                    parts.clear();
                    long sum = 0;
                    int count = 0;
                    while (auto item = co_await all.recv()) {
                        sum += *item;
                        if (++count == stop)
                            break;
                    }
                    if (count == 2000)
                        CHECK(sum == 1999L * 2000 / 2);
                    else
                        CHECK(count == stop);
                });
            },
            {.workers = 2});
    }
}
