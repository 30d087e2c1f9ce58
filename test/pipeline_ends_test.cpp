#include <leat/flow.hpp>
#include <leat/leat.hpp>

#include "support/rounds.hpp"

#include <doctest/doctest.h>

#include <chrono>
#include <memory>
#include <numeric>
#include <optional>
#include <ranges>
#include <span>
#include <stdexcept>
#include <string>
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

/// What a program does that wraps every error into one of its own, also that it was cancelled.
task<int> wraps_errors(int n)
{
    std::optional<std::string> what;
    try {
        if (n != 0)
            co_await leat::sleep_for(1h);
    } catch (const std::system_error& error) {
        what = error.what();
    }
    if (what)
        throw std::domain_error{*what};
    co_return n;
}

}  // namespace

TEST_CASE("pipeline: what a stage throws when it is ended from below is nobody's failure")
{
    for (std::uint64_t seed = 1; seed <= static_cast<std::uint64_t>(test::rounds(20)); ++seed) {
        for (const bool in_order : {false, true}) {
            CAPTURE(seed);
            CAPTURE(in_order);
            leat::sim::world world{seed};
            const auto ends = [&](auto policy) {
                return [in_order, policy]() -> task<std::vector<int>> {
                    return (policy(from(numbers(5)) |
                                   leat::map(wraps_errors, {.workers = 2, .ordered = in_order})) |
                            leat::take(1) | collect)
                        .run();
                };
            };
            CHECK(world.run(ends([](auto line) { return line; })) == numbers(1));
            CHECK(world.run(ends([](auto line) { return std::move(line) | leat::on_error(leat::skip); })) ==
                  numbers(1));
            CHECK(world.run(ends([](auto line) { return std::move(line) | leat::on_error(collect); })) ==
                  numbers(1));
            CHECK(world.run(ends([](auto line) {
                return std::move(line) | leat::on_error(leat::retry({.attempts = 3}));
            })) == numbers(1));
            CHECK(world.now() == 0s);
            CHECK(world.live_tasks() == 0);
        }
    }
}

TEST_CASE("pipeline: a failure that a policy covers is no failure of a pipeline that is cancelled either")
{
    leat::sim::world world;
    world.run([]() -> task<> {
        const auto one = from(numbers(5)) | leat::map(wraps_errors, {.workers = 2});
        auto skips = one | leat::on_error(leat::skip) | collect;
        auto collects = one | leat::on_error(collect) | collect;
        auto retries = one | leat::on_error(leat::retry({.attempts = 3})) | collect;
        const auto a = co_await leat::as_result(leat::timeout(1s, skips));
        CHECK(a.error() == leat::errc::deadline_exceeded);
        const auto b = co_await leat::as_result(leat::timeout(1s, collects));
        CHECK(b.error() == leat::errc::deadline_exceeded);
        const auto c = co_await leat::as_result(leat::timeout(1s, retries));
        CHECK(c.error() == leat::errc::deadline_exceeded);
    });
    CHECK(world.now() == 3s);
    CHECK(world.live_tasks() == 0);
}

TEST_CASE("pipeline: a source that fails when nobody wants more of it has not failed the pipeline")
{
    leat::sim::world world;
    world.run([]() -> task<> {
        auto source = [n = 0]() mutable -> task<std::optional<int>> {
            const int made = co_await wraps_errors(n++);
            co_return made;
        };
        const std::vector<int> got =
            co_await (from(source) | leat::batch(1, 1s) | leat::take(1) |
                      leat::map([](const std::vector<int>& v) { return v[0]; }) | collect);
        CHECK(got == numbers(1));
    });
    CHECK(world.live_tasks() == 0);
}

TEST_CASE("pipeline: flat_map copies what it does not own")
{
    leat::sim::world world;
    world.run([]() -> task<> {
        const std::string text(40, 'x');
        std::vector<std::string> words(3, text);
        const std::vector<std::string> before = words;
        auto view = [&](int) { return std::span<std::string>{words}; };
        auto view_later = [&](int) -> task<std::span<std::string>> {
            co_return std::span<std::string>{words};
        };
        auto plain = from(numbers(2)) | leat::flat_map(view) | collect;
        auto later = from(numbers(2)) | leat::flat_map(view_later) | collect;
        auto down_later = from(numbers(2)) | leat::flat_map(view) |
                          leat::map([](std::string s) -> task<std::string> { co_return s; }) | collect;
        for (int run = 0; run < 2; ++run) {
            const auto a = co_await plain;
            const auto b = co_await later;
            const auto c = co_await down_later;
            CHECK(a == std::vector<std::string>(6, text));
            CHECK(b == a);
            CHECK(c == a);
            CHECK(words == before);
        }
    });
}

TEST_CASE("pipeline: flat_map moves what is made as it looks")
{
    leat::sim::world world;
    world.run([]() -> task<> {
        const std::vector<int> sizes{1, 2};
        auto boxes = [](int count) {
            return std::views::iota(0, count) |
                   std::views::transform([](int i) { return std::make_unique<int>(i); });
        };
        const auto made = co_await (from(sizes) | leat::flat_map(boxes) |
                                    leat::map([](std::unique_ptr<int> box) { return *box; }) | collect);
        CHECK(made == std::vector<int>{0, 0, 1});
    });
}

TEST_CASE("pipeline: take(0) wants nothing, and takes nothing")
{
    leat::sim::world world;
    world.run([]() -> task<> {
        leat::channel<int> some{3};
        for (const int n : numbers(3))
            static_cast<void>(some.try_send(n));
        const std::vector<int> none = co_await (from(some) | leat::take(0) | collect);
        CHECK(none.empty());
        CHECK(some.size() == 3);
        const leat::channel<int> silent;
        auto pass = [](int n) { return n; };
        const std::vector<int> still_none =
            co_await (from(silent) | leat::map(pass, {.workers = 2}) | leat::take(0) |
                      leat::map(pass, {.workers = 2, .ordered = true}) | leat::take(2) | collect);
        CHECK(still_none.empty());
        const std::vector<int> rest = co_await (from(numbers(3)) | leat::skip(0) | collect);
        CHECK(rest == numbers(3));
    });
    CHECK(world.live_tasks() == 0);
    CHECK(from(numbers(1)).describe() == "from");
    const auto line = from(numbers(1)) | leat::skip(0) | leat::take(0) | leat::skip(2);
    CHECK(line.describe() == "from -> skip (0) -> take (0) -> skip (2)");
}

TEST_CASE("pipeline: flat_map over what has no end lets others run, and ends when it is told to")
{
    class endless {
    public:
        class iterator {
        public:
            int operator*() const
            {
                return n_;
            }
            iterator& operator++()
            {
                ++n_;
                return *this;
            }
            bool operator!=(int) const
            {
                return n_ >= 0;
            }

        private:
            int n_ = 0;
        };
        iterator begin() const
        {
            return {};
        }
        int end() const
        {
            return 0;
        }
    };
    leat::sim::world world;
    world.run([]() -> task<> {
        int seen = 0;
        auto line = leat::spawn(from(numbers(1)) | leat::flat_map([](int) { return endless{}; }) |
                                leat::for_each([&](int) { ++seen; }));
        while (seen < 1000)
            co_await leat::this_task::yield();
        line.cancel();
        const auto ended = co_await leat::as_result(line);
        CHECK(ended.error() == leat::errc::cancelled);
        const std::vector<int> some =
            co_await (from(numbers(2)) |
                      leat::flat_map([](int) { return endless{}; }, {.workers = 2, .ordered = true}) |
                      leat::take(300) | collect);
        CHECK(some == numbers(300));
    });
    CHECK(world.live_tasks() == 0);
}
