#include "support/rounds.hpp"

#include <leat/flow/hedge.hpp>
#include <leat/leat.hpp>

#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace {

using namespace std::chrono_literals;

/// One call after the other behaves as a list says: how long it takes, and whether it succeeds.
class server {
public:
    struct behaviour {
        leat::clock::duration takes;
        bool succeeds;
    };
    explicit server(std::vector<behaviour> calls) : calls_{std::move(calls)}
    {
    }
    leat::task<int> ask()
    {
        const std::size_t mine = begun++;
        ++running;
        const auto now = leat::clock::now().time_since_epoch();
        begun_at.push_back(now);
        struct ends {
            int& of;
            explicit ends(int& n) : of{n}
            {
            }
            ~ends()
            {
                --of;
            }
        } const ending{running};
        co_await leat::sleep_for(calls_[mine].takes);
        if (!calls_[mine].succeeds)
            throw std::domain_error{"call " + std::to_string(mine)};
        co_return static_cast<int>(mine);
    }
    std::size_t begun = 0;
    int running = 0;
    std::vector<leat::clock::duration> begun_at;

private:
    std::vector<behaviour> calls_;
};

TEST_CASE("hedge: a call that is quick is alone")
{
    leat::sim::world world{1};
    world.run([&]() -> leat::task<> {
        server quick{{{50ms, true}, {1ms, true}}};
        const int got = co_await leat::hedge({.attempts = 3, .after = 100ms}, [&] { return quick.ask(); });
        CHECK(got == 0);
        CHECK(world.now() == 50ms);
        CHECK(quick.begun == 1);
    });
    CHECK(world.live_tasks() == 0);
}

TEST_CASE("hedge: a slow call is overtaken by the next, is cancelled, and has ended")
{
    leat::sim::world world{2};
    world.run([&]() -> leat::task<> {
        server slow{{{10s, true}, {5s, true}, {20ms, true}, {1ms, true}}};
        const int got = co_await leat::hedge({.attempts = 4, .after = 100ms}, [&] { return slow.ask(); });
        CHECK(got == 2);
        CHECK(world.now() == 220ms);
        CHECK(slow.begun_at.size() == 3);
        CHECK(slow.begun_at[2] - slow.begun_at[0] == 200ms);
        CHECK(slow.running == 0);
    });
    CHECK(world.live_tasks() == 0);
}

TEST_CASE("hedge: an early call that succeeds late wins all the same if it is first")
{
    leat::sim::world world{3};
    world.run([&]() -> leat::task<> {
        server slow{{{250ms, true}, {10s, true}, {10s, true}}};
        const int got = co_await leat::hedge({.attempts = 3, .after = 100ms}, [&] { return slow.ask(); });
        CHECK(got == 0);
        CHECK(world.now() == 250ms);
        CHECK(slow.begun == 3);
    });
}

TEST_CASE("hedge: a failure does not end it while another is under way; if none is, the next begins at once")
{
    leat::sim::world world{4};
    world.run([&]() -> leat::task<> {
        server bad{{{10ms, false}, {200ms, true}, {20ms, false}, {1ms, true}}};
        const int got = co_await leat::hedge({.attempts = 3, .after = 100ms}, [&] { return bad.ask(); });
        CHECK(got == 1);
        // The first fails at 10 ms, the second begins then; the third begins at 110 ms and fails at 130.
        CHECK(world.now() == 210ms);
        CHECK(bad.begun == 3);
    });
}

TEST_CASE("hedge: a failure does not put off the next call")
{
    leat::sim::world world{7};
    world.run([&]() -> leat::task<> {
        server bad{{{150ms, false}, {10s, true}, {20ms, true}}};
        const int got = co_await leat::hedge({.attempts = 3, .after = 100ms}, [&] { return bad.ask(); });
        CHECK(got == 2);
        CHECK(world.now() == 220ms);
    });
    CHECK(world.live_tasks() == 0);
}

TEST_CASE("hedge: when all have failed the last failure is thrown")
{
    leat::sim::world world{5};
    world.run([&]() -> leat::task<> {
        server bad{{{150ms, false}, {100ms, false}}};
        std::string what;
        try {
            static_cast<void>(
                co_await leat::hedge({.attempts = 2, .after = 100ms}, [&] { return bad.ask(); }));
        } catch (const std::domain_error& thrown) {
            what = thrown.what();
        }
        CHECK(what == "call 1");
        CHECK(world.now() == 200ms);
        bool refused = false;
        try {
            co_await leat::hedge({.attempts = 0}, [] {});
        } catch (const leat::usage_error&) {
            refused = true;
        }
        CHECK(refused);
    });
    CHECK(world.live_tasks() == 0);
}

TEST_CASE("hedge: cancelling it cancels all, and plain functions and void will do")
{
    leat::sim::world world{6};
    world.run([&]() -> leat::task<> {
        server slow{{{1h, true}, {1h, true}, {1h, true}}};
        auto asking = leat::hedge({.attempts = 3, .after = 1s}, [&] { return slow.ask(); });
        const auto late = co_await leat::as_result(leat::timeout(1500ms, std::move(asking)));
        CHECK(late.error() == leat::errc::deadline_exceeded);
        CHECK(world.now() == 1500ms);
        CHECK(slow.begun == 2);
        CHECK(slow.running == 0);

        int calls = 0;
        co_await leat::hedge([&] { ++calls; });
        const std::string text = co_await leat::hedge([] { return std::string{"x"}; });
        CHECK(calls == 1);
        CHECK(text == "x");
    });
    CHECK(world.live_tasks() == 0);
}

TEST_CASE("hedge: on the pool, answers race and one is had")
{
    leat::runtime pool{{.workers = 4}};
    std::atomic<int> running{0};
    pool.block_on([&]() -> leat::task<> {
        for (int i = 0; i < test::rounds(1000); ++i) {
            auto ask = [&]() -> leat::task<int> {
                ++running;
                for (int n = 0; n < 3; ++n)
                    co_await leat::this_task::yield();
                --running;
                co_return 7;
            };
            const int got =
                co_await leat::hedge({.attempts = 3, .after = leat::clock::duration{i % 5000}}, ask);
            REQUIRE(got == 7);
        }
    });
}

}  // namespace
