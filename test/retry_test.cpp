#include <leat/flow.hpp>
#include <leat/leat.hpp>

#include <doctest/doctest.h>

#include <chrono>
#include <exception>
#include <stdexcept>
#include <vector>

using namespace std::chrono_literals;
using leat::retry;
using leat::task;

namespace {

/// Fails so many times, and notes when it was called.
class flaky {
public:
    explicit flaky(int failures) : left_{failures}
    {
    }
    task<int> operator()()
    {
        calls_.push_back(leat::clock::now().time_since_epoch());
        if (left_-- > 0)
            throw std::domain_error{"not yet"};
        co_return 7;
    }
    const std::vector<std::chrono::nanoseconds>& calls() const
    {
        return calls_;
    }

private:
    int left_;
    std::vector<std::chrono::nanoseconds> calls_;
};

}  // namespace

TEST_CASE("retry: again after waits that grow, up to their bound")
{
    leat::sim::world world;
    flaky call{4};
    const int got = world.run(
        retry({.attempts = 5, .delay = 100ms, .factor = 2, .max_delay = 300ms}, [&] { return call(); }));
    CHECK(got == 7);
    CHECK(call.calls() == std::vector<std::chrono::nanoseconds>{0ms, 100ms, 300ms, 600ms, 900ms});
}

TEST_CASE("retry: the last failure is thrown when the attempts are used up")
{
    leat::sim::world world;
    flaky call{9};
    CHECK_THROWS_AS(world.run(retry({.attempts = 3}, [&] { return call(); })), std::domain_error);
    CHECK(call.calls().size() == 3);
    int plain = 0;
    CHECK_THROWS_AS(world.run(retry([&] {
        ++plain;
        throw std::range_error{"plain"};
    })),
                    std::range_error);
    CHECK(plain == 3);
}

TEST_CASE("retry: the budget ends it before a wait that would go beyond")
{
    leat::sim::world world;
    flaky call{100};
    CHECK_THROWS_AS(
        world.run(retry({.attempts = 0, .delay = 1s, .factor = 1, .budget = 3500ms}, [&] { return call(); })),
        std::domain_error);
    CHECK(call.calls().size() == 4);
    CHECK(world.now() == 3s);
}

TEST_CASE("retry: only after failures that the predicate accepts")
{
    leat::sim::world world;
    flaky call{2};
    auto is_range_error = [](const std::exception_ptr& failure) {
        try {
            std::rethrow_exception(failure);
        } catch (const std::range_error&) {
            return true;
        } catch (...) {
            return false;
        }
    };
    CHECK_THROWS_AS(world.run(retry({.when = is_range_error}, [&] { return call(); })), std::domain_error);
    CHECK(call.calls().size() == 1);
}

TEST_CASE("retry: the predicate may capture; a null one accepts everything")
{
    leat::sim::world world;
    flaky call{5};
    int asked = 0;
    int most = 2;
    CHECK_THROWS_AS(
        world.run(retry(
            {.attempts = 0, .when = [&asked, most](const std::exception_ptr&) { return ++asked <= most; }},
            [&] { return call(); })),
        std::domain_error);
    CHECK(call.calls().size() == 3);
    CHECK(asked == 3);
    bool (*const none)(const std::exception_ptr&) = nullptr;
    flaky twice{2};
    world.run(retry({.when = none}, [&] { return twice(); }));
    CHECK(twice.calls().size() == 3);
    const leat::retry_policy plain{.when = nullptr};
    CHECK(!plain.when);
}

TEST_CASE("retry: jitter shortens the waits, differently, the same for the same seed")
{
    auto waits = [](std::uint64_t seed) {
        leat::sim::world world{seed};
        flaky call{3};
        world.run(retry({.attempts = 4, .delay = 1s, .factor = 1, .jitter = 0.5}, [&] { return call(); }));
        return call.calls();
    };
    const auto first = waits(1);
    CHECK(first == waits(1));
    CHECK(first != waits(2));
    for (std::size_t i = 1; i < first.size(); ++i) {
        CHECK(first[i] - first[i - 1] >= 500ms);
        CHECK(first[i] - first[i - 1] <= 1s);
    }
}

TEST_CASE("retry: who is cancelled is not tried again, neither in a call nor between two")
{
    leat::sim::world world;
    int calls = 0;
    auto hangs = [&]() -> task<> {
        ++calls;
        co_await leat::sleep_for(1h);
    };
    flaky fails{100};
    world.run([&]() -> task<> {
        const auto first = co_await leat::as_result(leat::timeout(1s, retry({.attempts = 0}, hangs)));
        CHECK(first.error() == leat::errc::deadline_exceeded);
        const auto second = co_await leat::as_result(
            leat::timeout(1s, retry({.attempts = 0, .delay = 1h}, [&] { return fails(); })));
        CHECK(second.error() == leat::errc::deadline_exceeded);
    });
    CHECK(calls == 1);
    CHECK(fails.calls().size() == 1);
    CHECK(world.now() == 2s);
    // One that is cancelled for reasons of its own has failed.
    int inner = 0;
    world.run(retry({.attempts = 2, .delay = 1ms}, [&]() -> task<> {
        if (++inner == 1)
            co_await leat::timeout(1s, leat::sleep_for(1h));
    }));
    CHECK(inner == 2);
}
