#include <leat/leat.hpp>

#include "support/counted.hpp"
#include "support/scale.hpp"

#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <ostream>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

using namespace std::chrono_literals;
using leat::join_handle;
using leat::task;
using test::counted;

static_assert(!std::is_copy_constructible_v<join_handle<int>>);
static_assert(std::is_nothrow_move_constructible_v<join_handle<int>>);

namespace {

task<int> give(int n)
{
    co_return n;
}

task<> fail(const char* why)
{
    throw std::runtime_error{why};
    co_return;
}

task<> sleep_long()
{
    co_await leat::sleep_for(1h);
}

/// The code that a task or handle ends with.
template <class A>
task<std::error_code> code_of(A inner)
{
    auto got = co_await leat::as_result(std::move(inner));
    co_return got.error();
}

/// Collects what a runtime's on_unhandled is told.
struct failures {
    leat::runtime_options options()
    {
        leat::runtime_options made;
        made.workers = 2;
        made.on_unhandled = [this](const leat::unhandled_failure& failure) {
            report = failure.report;
            thrown = failure.thrown;
            ++count;
        };
        return made;
    }
    std::atomic<int> count{0};
    std::string report;
    std::exception_ptr thrown;
};

}  // namespace

TEST_CASE("spawn: the new task runs on its own, and its handle gives its result")
{
    leat::sim::world world;
    world.run([]() -> task<> {
        join_handle<int> handle = leat::spawn(give(7));
        CHECK(!handle.done());
        const int got = co_await handle;
        CHECK(got == 7);
        CHECK(handle.done());
        const int again = co_await leat::spawn(give(8));
        CHECK(again == 8);
        auto nothing = leat::spawn([]() -> task<> { co_return; });
        co_await nothing;
    });
    CHECK(world.live_tasks() == 0);
}

TEST_CASE("spawn: a handle has its task's id, and none when it is empty")
{
    leat::sim::world world;
    world.run([]() -> task<> {
        auto handle = leat::spawn([]() -> task<std::uint64_t> { co_return leat::this_task::id(); });
        const std::uint64_t outside = handle.id();
        const std::uint64_t inside = co_await handle;
        CHECK(inside == outside);
        CHECK(inside != leat::this_task::id());
        const join_handle<> empty;
        CHECK(empty.id() == 0);
        CHECK(!static_cast<bool>(empty));
        CHECK(!empty.done());
    });
}

TEST_CASE("spawn: a plain callable is run in a task, and what it returns is its result")
{
    leat::sim::world world;
    world.run([]() -> task<> {
        const int got = co_await leat::spawn([] { return 5; });
        CHECK(got == 5);
        int original = 1;
        auto refer = leat::spawn([&]() -> int& { return original; });
        int& same = co_await refer;
        CHECK(&same == &original);
        auto thrower = leat::spawn([]() -> int { throw std::runtime_error{"plain"}; });
        auto failed = co_await leat::as_result(std::move(thrower));
        CHECK(failed.error() == leat::errc::failed);
    });
}

TEST_CASE("spawn: captures live until the task has ended, though the lambda has gone long before")
{
    leat::sim::world world;
    const test::no_more_than_before lives;
    world.run([&]() -> task<> {
        join_handle<int> handle;
        {
            auto owner = std::make_unique<int>(41);
            auto body = [owner = std::move(owner), token = counted{1}]() -> task<int> {
                co_await leat::sleep_for(1s);
                co_await leat::this_task::yield();
                co_return *owner + token.value;
            };
            handle = leat::spawn(std::move(body));
        }
        CHECK(lives.excess() == 1);
        const int got = co_await handle;
        CHECK(got == 42);
        CHECK(lives.excess() == 0);
    });
    CHECK(lives.excess() == 0);
}

TEST_CASE("spawn: arguments are kept with the callable, by value")
{
    leat::sim::world world;
    const test::no_more_than_before lives;
    world.run([&]() -> task<> {
        auto body = [](counted& kept, const std::string& words,
                       std::unique_ptr<int>& owner) -> task<std::string> {
            co_await leat::sleep_for(1s);
            co_return words + std::to_string(kept.value + *owner);
        };
        join_handle<std::string> handle;
        {
            std::string words = "a text too long for the small buffer of a string: ";
            counted original{30};
            handle = leat::spawn(body, original, words, std::make_unique<int>(3));
            words = "gone";
            original.value = -5;
        }
        const std::string got = co_await handle;
        CHECK(got == "a text too long for the small buffer of a string: 33");
        CHECK(lives.excess() == 0);
    });
    CHECK(lives.excess() == 0);
}

TEST_CASE("spawn: a function with arguments is spawned like Go's go f(x)")
{
    leat::sim::world world;
    world.run([]() -> task<> {
        const int got = co_await leat::spawn(give, 12);
        CHECK(got == 12);
    });
}

TEST_CASE("spawn: a task that is cancelled before it has begun gets no further than its first wait")
{
    leat::sim::world world;
    const test::no_more_than_before lives;
    world.run([&]() -> task<> {
        bool slept = false;
        leat::join_handle<> handle;
        {
            auto body = [&slept, token = counted{}]() -> task<> {
                co_await leat::sleep_for(1ns);
                slept = true;
            };
            handle = leat::spawn(std::move(body));
        }
        handle.cancel();
        handle.cancel();
        const std::error_code why = co_await code_of(std::move(handle));
        CHECK(why == leat::errc::cancelled);
        CHECK(!slept);
        CHECK(lives.excess() == 0);
    });
    CHECK(world.now() == 0s);
}

TEST_CASE("spawn: a parked task is cancelled at once, with what it has started")
{
    leat::sim::world world;
    world.run([]() -> task<> {
        int ended = 0;
        auto handle = leat::spawn([&]() -> task<> {
            auto grandchild = leat::spawn([&]() -> task<> {
                leat::result<> slept = co_await leat::as_result(leat::sleep_for(1h));
                if (slept.error() == leat::errc::cancelled)
                    ++ended;
            });
            leat::result<> slept = co_await leat::as_result(leat::sleep_for(1h));
            if (slept.error() == leat::errc::cancelled)
                ++ended;
            auto joined = co_await leat::as_result(std::move(grandchild));
            CHECK(joined.error() == leat::errc::cancelled);
        });
        co_await leat::sleep_for(1s);
        handle.cancel();
        co_await handle;
        co_await leat::sleep_for(1ns);
        CHECK(ended == 2);
    });
    CHECK(world.now() == 1s + 1ns);
    CHECK(world.live_tasks() == 0);
}

TEST_CASE(
    "spawn: cancelling the parent through its handle reaches a child spawned before and one spawned after")
{
    leat::sim::world world;
    world.run([]() -> task<> {
        std::vector<std::error_code> ends;
        auto child = [&]() -> task<> {
            leat::result<> slept = co_await leat::as_result(leat::sleep_for(1h));
            ends.push_back(slept.error());
        };
        auto parent = leat::spawn([&]() -> task<> {
            leat::spawn(child()).detach();
            leat::result<> slept = co_await leat::as_result(leat::sleep_for(1h));
            CHECK(slept.error() == leat::errc::cancelled);
            leat::spawn(child()).detach();
        });
        co_await leat::sleep_for(1s);
        parent.cancel();
        co_await parent;
        co_await leat::sleep_for(1s);
        CHECK(ends == std::vector<std::error_code>(2, leat::errc::cancelled));
    });
    CHECK(world.live_tasks() == 0);
}

TEST_CASE("spawn: cancelling after the end changes nothing")
{
    leat::sim::world world;
    world.run([]() -> task<> {
        auto handle = leat::spawn(give(3));
        co_await leat::sleep_for(1s);
        CHECK(handle.done());
        handle.cancel();
        const int got = co_await handle;
        CHECK(got == 3);
    });
}

TEST_CASE("spawn: a task that ignores its cancellation gives its result all the same")
{
    leat::sim::world world;
    world.run([]() -> task<> {
        auto handle = leat::spawn([]() -> task<int> {
            leat::result<> slept = co_await leat::as_result(leat::sleep_for(1h));
            co_return slept.has_value() ? 1 : 2;
        });
        co_await leat::sleep_for(1s);
        handle.cancel();
        const int got = co_await handle;
        CHECK(got == 2);
    });
}

TEST_CASE("spawn: cancelling one handle leaves its siblings alone")
{
    leat::sim::world world;
    world.run([]() -> task<> {
        auto one = leat::spawn(sleep_long());
        auto two = leat::spawn([]() -> task<int> {
            co_await leat::sleep_for(2s);
            co_return 2;
        });
        co_await leat::sleep_for(1s);
        one.cancel();
        const std::error_code why = co_await code_of(std::move(one));
        CHECK(why == leat::errc::cancelled);
        const int got = co_await two;
        CHECK(got == 2);
    });
    CHECK(world.now() == 2s);
}

TEST_CASE("spawn: a handle is awaited once, as an lvalue or an rvalue; the second time is a misuse")
{
    leat::sim::world world;
    world.run([]() -> task<> {
        auto handle = leat::spawn(give(3));
        const int got = co_await handle;
        CHECK(got == 3);
        bool refused = false;
        try {
            static_cast<void>(co_await handle);
        } catch (const leat::usage_error& error) {
            refused = std::string{error.what()}.find("twice") != std::string::npos;
        }
        CHECK(refused);
        refused = false;
        try {
            static_cast<void>(co_await std::move(handle));
        } catch (const leat::usage_error&) {
            refused = true;
        }
        CHECK(refused);
    });
}

TEST_CASE("spawn: awaiting an empty handle is a misuse")
{
    leat::sim::world world;
    world.run([]() -> task<> {
        int refused = 0;
        join_handle<> empty;
        try {
            co_await empty;
        } catch (const leat::usage_error&) {
            ++refused;
        }
        auto handle = leat::spawn(give(1));
        auto moved = std::move(handle);
        try {
            static_cast<void>(co_await handle);
        } catch (const leat::usage_error&) {
            ++refused;
        }
        const int got = co_await moved;
        CHECK(got == 1);
        moved.detach();
        try {
            static_cast<void>(co_await moved);
        } catch (const leat::usage_error&) {
            ++refused;
        }
        empty.cancel();
        empty.detach();
        CHECK(refused == 3);
    });
}

TEST_CASE("spawn: a cancelled wait for a handle leaves task and handle as they are")
{
    leat::sim::world world;
    world.run([]() -> task<> {
        auto slow = leat::spawn([]() -> task<int> {
            co_await leat::sleep_for(10s);
            co_return 10;
        });
        auto waiting = [&]() -> task<std::error_code> {
            auto got = co_await leat::as_result(slow.join());
            co_return got.error();
        };
        const std::error_code why = co_await leat::timeout(3s, waiting());
        CHECK(why == leat::errc::deadline_exceeded);
        CHECK(leat::clock::now().time_since_epoch() == 3s);
        CHECK(!slow.done());
        const int got = co_await slow;
        CHECK(got == 10);
    });
    CHECK(world.now() == 10s);
}

TEST_CASE("spawn: a join is a case for select, and the loser can be awaited later")
{
    leat::sim::world world;
    world.run([]() -> task<> {
        auto slow = leat::spawn([]() -> task<int> {
            co_await leat::sleep_for(10s);
            co_return 10;
        });
        auto quick = leat::spawn([]() -> task<int> {
            co_await leat::sleep_for(1s);
            co_return 1;
        });
        int got = 0;
        co_await leat::select(leat::on(slow.join(), [&](int n) { got = n; }),
                              leat::on(quick.join(), [&](int n) { got = n; }));
        CHECK(got == 1);
        const int later = co_await slow;
        CHECK(later == 10);
    });
}

TEST_CASE("spawn: dropping or detaching a handle lets the task go on to its end")
{
    leat::sim::world world;
    int ended = 0;
    world.run([&]() -> task<> {
        auto body = [&]() -> task<> {
            co_await leat::sleep_for(1s);
            ++ended;
        };
        leat::spawn(body()).detach();
        {
            auto dropped = leat::spawn(body());
        }
        auto assigned = leat::spawn(body());
        assigned = leat::spawn(body());
        co_await assigned;
        co_await leat::sleep_for(1ns);
        CHECK(ended == 4);
    });
}

TEST_CASE("spawn: name, id and context are those of the options; the name is copied")
{
    leat::sim::world world;
    world.run([]() -> task<> {
        static constexpr leat::context_key<int> key{"key"};
        auto look = []() -> task<std::string> {
            co_await leat::this_task::yield();
            const int* const value = leat::this_task::value(key);
            co_return std::string{leat::this_task::name()} + (value != nullptr ? std::to_string(*value) : "");
        };
        join_handle<std::string> handle;
        {
            std::string name = "a name that is longer than the small buffer";
            const leat::context mine = leat::with_value(leat::background(), key, 5);
            handle = leat::spawn(look(), {.name = name, .context = mine});
            name.assign(name.size(), 'x');
        }
        const std::string got = co_await handle;
        CHECK(got == "a name that is longer than the small buffer5");
        const std::string unnamed = co_await leat::spawn(look());
        CHECK(unnamed.empty());
    });
}

TEST_CASE("spawn: a name ends at its first NUL, and the frame pool gets back what it took")
{
    const std::string name = std::string{"short"} + '\0' + std::string(200, 'x');
    const std::size_t before = leat::detail::frame_pool_stats().live_bytes;
    {
        leat::sim::world world;
        const auto self = []() -> task<std::string> { co_return std::string{leat::this_task::name()}; };
        for (int i = 0; i < 10; ++i)
            for (const std::string& each : {name, name.substr(5)}) {
                auto named = [&]() -> task<std::string> {
                    auto handle = leat::spawn(self, {.name = each});
                    co_return co_await handle;
                };
                CHECK(world.run(named) == each.c_str());
            }
    }
    // Freed with another size than it was allocated with, a name would count for ever, and a shorter one's
    // owner would write over its neighbour.
    CHECK(leat::detail::frame_pool_stats().live_bytes == before);
}

TEST_CASE("spawn: a task under a context of its own does not hear of its parent's end")
{
    leat::sim::world world;
    world.run([]() -> task<> {
        join_handle<int> free;
        auto parent = leat::spawn([&]() -> task<> {
            free = leat::spawn(
                []() -> task<int> {
                    co_await leat::sleep_for(5s);
                    co_return 5;
                },
                {.context = leat::background()});
            co_await leat::sleep_for(1h);
        });
        co_await leat::sleep_for(1s);
        parent.cancel();
        const std::error_code why = co_await code_of(std::move(parent));
        CHECK(why == leat::errc::cancelled);
        const int got = co_await free;
        CHECK(got == 5);
    });
}

TEST_CASE("spawn: outside of every task and world it is a misuse, and the task is not leaked")
{
    const test::no_more_than_before lives;
    auto body = [token = counted{}]() -> task<> { co_return; };
    CHECK_THROWS_AS(static_cast<void>(leat::spawn(std::move(body))), leat::usage_error);
    CHECK_THROWS_AS(static_cast<void>(leat::spawn(give(1))), leat::usage_error);
    CHECK_THROWS_AS(static_cast<void>(leat::this_task::id()), leat::usage_error);
}

TEST_CASE("spawn: a failure that nobody has seen is reported once, whenever the handle was dropped")
{
    failures seen;
    {
        leat::runtime pool{seen.options()};
        SUBCASE("before the task fails")
        {
            pool.block_on([]() -> task<> {
                leat::channel<void> go;
                leat::spawn(
                    [&]() -> task<> {
                        co_await go.recv();
                        throw std::runtime_error{"unseen"};
                    },
                    {.name = "doomed"})
                    .detach();
                co_await go.send();
            });
        }
        SUBCASE("after it has failed")
        {
            auto handle = pool.spawn(fail("unseen"), {.name = "doomed"});
            pool.block_on([&]() -> task<> {
                while (!handle.done())
                    co_await leat::this_task::yield();
            });
            CHECK(seen.count == 0);
        }
        SUBCASE("by assigning another to it")
        {
            auto handle = pool.spawn(fail("unseen"), {.name = "doomed"});
            pool.block_on([&]() -> task<> {
                while (!handle.done())
                    co_await leat::this_task::yield();
            });
            handle = {};
            CHECK(seen.count == 1);
        }
    }
    CHECK(seen.count == 1);
    CHECK(seen.report.find("std::runtime_error: unseen") != std::string::npos);
    CHECK(seen.report.find("\"doomed\"") != std::string::npos);
#if LEAT_REGISTRY
    CHECK(seen.report.find("spawn_test.cpp") != std::string::npos);
#endif
    CHECK_THROWS_WITH_AS(std::rethrow_exception(seen.thrown), "unseen", std::runtime_error);
}

TEST_CASE("spawn: a failure that a joiner was given is not reported")
{
    failures seen;
    {
        leat::runtime pool{seen.options()};
        CHECK_THROWS_WITH_AS(pool.block_on(fail("seen")), "seen", std::runtime_error);
        pool.block_on([]() -> task<> {
            const std::error_code why = co_await code_of(leat::spawn(fail("seen")));
            CHECK(why == leat::errc::failed);
        });
    }
    CHECK(seen.count == 0);
}

TEST_CASE("spawn: a detached task that was cancelled is no failure; one that timed out is")
{
    failures seen;
    {
        leat::runtime pool{seen.options()};
        pool.block_on([]() -> task<> {
            auto handle = leat::spawn(sleep_long());
            co_await leat::this_task::yield();
            handle.cancel();
            while (!handle.done())
                co_await leat::this_task::yield();
        });
        CHECK(seen.count == 0);
        pool.block_on([]() -> task<> {
            auto handle = leat::spawn(leat::timeout(1ms, sleep_long()));
            while (!handle.done())
                co_await leat::this_task::yield();
        });
        CHECK(seen.count == 1);
        CHECK_THROWS_AS(std::rethrow_exception(seen.thrown), leat::timed_out_error);
    }
    CHECK(seen.count == 1);
}

TEST_CASE("spawn: a world throws what a detached task threw")
{
    leat::sim::world world;
    CHECK_THROWS_WITH_AS(world.run([]() -> task<> {
        leat::spawn(fail("astray")).detach();
        co_await leat::sleep_for(1s);
    }),
                         "astray", std::runtime_error);
}

TEST_CASE("spawn: a handle outlives its runtime, with its result")
{
    const test::no_more_than_before lives;
    {
        join_handle<counted> ended;
        join_handle<> cut;
        {
            leat::runtime pool{{.workers = 2}};
            ended = pool.spawn([]() -> task<counted> { co_return counted{9}; });
            cut = pool.spawn(sleep_long());
            pool.block_on([&]() -> task<> {
                while (!ended.done())
                    co_await leat::this_task::yield();
            });
        }
        CHECK(ended.done());
        CHECK(cut.done());
        ended.cancel();
        cut.cancel();
        leat::sim::world world;
        world.run([&]() -> task<> {
            const counted got = co_await ended;
            CHECK(got.value == 9);
            const std::error_code why = co_await code_of(std::move(cut));
            CHECK(why == leat::errc::cancelled);
        });
    }
    CHECK(lives.excess() == 0);
}

TEST_CASE("spawn: a handle with a failure may be joined after its runtime has gone")
{
    failures seen;
    join_handle<> handle;
    {
        leat::runtime pool{seen.options()};
        handle = pool.spawn(fail("late"));
    }
    leat::sim::world world;
    world.run([&]() -> task<> {
        const std::error_code why = co_await code_of(std::move(handle));
        CHECK(why == leat::errc::failed);
    });
    CHECK(seen.count == 0);
}

TEST_CASE("spawn: a failure whose handle is dropped after the runtime has gone touches nothing of it")
{
    failures seen;
    {
        join_handle<> handle;
        {
            leat::runtime pool{seen.options()};
            handle = pool.spawn(fail("too late for a handler"));
        }
        CHECK(handle.done());
    }
    CHECK(seen.count <= 1);
    {
        join_handle<> handle;
        {
            leat::sim::world world;
            handle = world.spawn(fail("too late for a world"));
            world.settle();
        }
    }
}

TEST_CASE("spawn: cancelling races with the end of the task and with its first wait")
{
    leat::runtime pool{{.workers = 4}};
    const test::no_more_than_before lives;
    const std::size_t rounds = test::scaled(20'000);
    pool.block_on([&]() -> task<> {
        std::size_t cancelled = 0;
        for (std::size_t i = 0; i < rounds; ++i) {
            leat::channel<int> never;
            auto body = [&never, token = counted{}]() -> task<> {
                co_await leat::this_task::yield();
                static_cast<void>(co_await never.recv());
            };
            auto handle = leat::spawn(std::move(body));
            auto canceller = leat::spawn([&]() -> task<> {
                handle.cancel();
                co_return;
            });
            if (i % 3 == 0)
                co_await leat::this_task::yield();
            co_await canceller;
            auto got = co_await leat::as_result(handle.join());
            cancelled += got.error() == leat::errc::cancelled;
        }
        CHECK(cancelled == rounds);
    });
    CHECK(lives.excess() == 0);
}

TEST_CASE("spawn: every schedule of cancel against completion ends, with the value or the error")
{
    int values = 0;
    int orders = 0;
    const auto explored = leat::sim::explore([&](leat::sim::world& world) {
        const test::no_more_than_before lives;
        world.run([&]() -> task<> {
            leat::channel<int> from{1};
            auto body = [&from, token = counted{}]() -> task<int> {
                auto got = co_await from.recv();
                co_return got.value_or(0);
            };
            auto handle = leat::spawn(std::move(body));
            auto sender = leat::spawn([&]() -> task<> { co_await from.send(5); });
            auto canceller = leat::spawn([&]() -> task<> {
                handle.cancel();
                co_return;
            });
            auto got = co_await leat::as_result(handle.join());
            if (got.has_value()) {
                ++values;
                CHECK(*got == 5);
            } else {
                ++orders;
                CHECK(got.error() == leat::errc::cancelled);
                // The value has not been taken.
                co_await sender;
                auto left = from.try_recv();
                CHECK(left.has_value());
            }
            co_await canceller;
        });
        CHECK(lives.excess() == 0);
    });
    CHECK(explored.exhausted);
    CHECK(values > 0);
    CHECK(orders > 0);
}
