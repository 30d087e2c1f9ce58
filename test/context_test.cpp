#include <leat/leat.hpp>

#include "support/counted.hpp"
#include "support/scale.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <random>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <system_error>
#include <thread>
#include <type_traits>
#include <unistd.h>
#include <utility>
#include <vector>

using namespace std::chrono_literals;
using leat::background;
using leat::cancellable_context;
using leat::canceller;
using leat::context;
using leat::task;
using leat::with_cancel;
using leat::with_deadline;
using leat::with_timeout;
using leat::with_value;
using leat::without_cancel;
using test::counted;
using test::scaled;

static_assert(std::is_copy_constructible_v<context>);
static_assert(std::is_nothrow_move_constructible_v<context>);
static_assert(!std::is_copy_constructible_v<canceller>);
static_assert(std::is_nothrow_move_constructible_v<canceller>);
static_assert(std::is_nothrow_move_assignable_v<canceller>);
static_assert(std::is_convertible_v<context, std::stop_token>);
static_assert(std::is_convertible_v<std::stop_token, context>);

namespace {

constexpr leat::context_key<int> number{"number"};
constexpr leat::context_key<int> other_number{"other number"};
constexpr leat::context_key<std::string> word{"word"};

/// What a cause says, or how a context ended if it has none of its own.
std::string cause_of(const context& ctx)
{
    const std::exception_ptr cause = ctx.cause();
    if (!cause)
        return "none";
    try {
        std::rethrow_exception(cause);
    } catch (const leat::cancelled_error&) {
        return "cancelled";
    } catch (const leat::timed_out_error&) {
        return "timed out";
    } catch (const std::exception& what) {
        return what.what();
    }
}

std::exception_ptr because(const char* why)
{
    return std::make_exception_ptr(std::runtime_error{why});
}

/// Counts on which side of the wait a task got to.
struct passages {
    std::atomic<int> entered{0};
    std::atomic<int> cancelled{0};
    std::atomic<int> timed_out{0};
    std::atomic<int> went_on{0};
};

task<> wait_for_end(passages& count)
{
    ++count.entered;
    try {
        co_await leat::sleep_for(24h);
        ++count.went_on;
    } catch (const leat::cancelled_error&) {
        ++count.cancelled;
    } catch (const leat::timed_out_error&) {
        ++count.timed_out;
    }
}

/// The stack below the caller's frame at which it is called, to see it grow.
[[gnu::noinline]] std::uintptr_t stack_here()
{
    return reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0));
}

}  // namespace

// ---- Trees -----------------------------------------------------------------------------------------

TEST_CASE("context: background never ends and has neither deadline nor values")
{
    const context ctx = background();
    CHECK(!ctx.cancelled());
    CHECK(!ctx.error());
    CHECK(ctx.cause() == nullptr);
    CHECK(!ctx.deadline());
    CHECK(ctx.value(number) == nullptr);
    CHECK(ctx.value<int>() == nullptr);
    CHECK(!ctx.stop_token().stop_possible());
    CHECK(ctx == context{});
}

TEST_CASE("context: cancelling reaches every descendant and nobody else")
{
    auto [root, cancel_root] = with_cancel(background());
    auto [left, cancel_left] = with_cancel(root);
    auto [right, cancel_right] = with_cancel(root);
    const context left_value = with_value(left, number, 1);
    auto [left_leaf, cancel_left_leaf] = with_cancel(left_value);
    auto [right_leaf, cancel_right_leaf] = with_cancel(right);

    cancel_left();
    CHECK(left.cancelled());
    CHECK(left_value.cancelled());
    CHECK(left_leaf.cancelled());
    CHECK(!root.cancelled());
    CHECK(!right.cancelled());
    CHECK(!right_leaf.cancelled());

    cancel_root();
    CHECK(root.cancelled());
    CHECK(right.cancelled());
    CHECK(right_leaf.cancelled());
    CHECK(root.error() == leat::errc::cancelled);
    CHECK(root.error() == std::errc::operation_canceled);
}

TEST_CASE("context: a child of a context that has ended is born ended, with its reason")
{
    auto [root, cancel] = with_cancel(background());
    cancel(because("gone"));
    auto [child, cancel_child] = with_cancel(root);
    auto [grandchild, cancel_grandchild] = with_timeout(child, 1h);
    CHECK(child.cancelled());
    CHECK(grandchild.cancelled());
    CHECK(cause_of(child) == "gone");
    CHECK(cause_of(grandchild) == "gone");
}

TEST_CASE("context: cancelling is idempotent, and the first cause stays")
{
    auto [root, cancel] = with_cancel(background());
    auto [child, cancel_child] = with_cancel(root);
    CHECK(cause_of(root) == "none");
    cancel_child(because("the child's own"));
    cancel(because("first"));
    cancel(because("second"));
    cancel();
    CHECK(cause_of(root) == "first");
    CHECK(cause_of(child) == "the child's own");
    auto [plain, cancel_plain] = with_cancel(background());
    cancel_plain();
    cancel_plain(because("too late"));
    CHECK(cause_of(plain) == "cancelled");
}

TEST_CASE("context: a cause may be an error code")
{
    auto [ctx, cancel] = with_cancel(background());
    cancel(std::make_error_code(std::errc::no_space_on_device));
    bool seen = false;
    try {
        std::rethrow_exception(ctx.cause());
    } catch (const std::system_error& why) {
        seen = why.code() == std::errc::no_space_on_device;
    }
    CHECK(seen);
    CHECK(ctx.error() == leat::errc::cancelled);
}

TEST_CASE("context: what is cancelled sees the cause in the exception")
{
    leat::sim::world world;
    std::string seen;
    world.run([&]() -> task<> {
        auto [ctx, cancel] = with_cancel();
        auto sleeper = leat::spawn(
            [&]() -> task<> {
                try {
                    co_await leat::sleep_for(1h);
                } catch (const leat::cancelled_error& why) {
                    try {
                        std::rethrow_exception(why.cause());
                    } catch (const std::runtime_error& reason) {
                        seen = reason.what();
                    }
                }
            },
            {.context = ctx});
        co_await leat::sleep_for(1s);
        cancel(because("the king is dead"));
        co_await sleeper;
    });
    CHECK(seen == "the king is dead");
    CHECK(world.now() == 1s);
}

// ---- Who cancels -----------------------------------------------------------------------------------

TEST_CASE("canceller: cancels when it is destroyed, assigned to, and not when it has been moved from")
{
    std::optional<context> ctx;
    {
        auto [made, cancel] = with_cancel(background());
        ctx = made;
        const canceller moved = std::move(cancel);
        cancel();  // NOLINT(bugprone-use-after-move): has nothing to cancel
        CHECK(!made.cancelled());
    }
    CHECK(ctx->cancelled());

    auto [first, cancel] = with_cancel(background());
    auto [second, cancel_second] = with_cancel(background());
    cancel = std::move(cancel_second);
    CHECK(first.cancelled());
    CHECK(!second.cancelled());
    auto& same = cancel;
    cancel = std::move(same);
    CHECK(!second.cancelled());
    cancel = canceller{};
    CHECK(second.cancelled());
    canceller{}();
}

TEST_CASE("canceller: an exception that unwinds past it cancels")
{
    leat::sim::world world;
    passages count;
    CHECK_THROWS_AS(world.run([&]() -> task<> {
        auto [ctx, cancel] = with_cancel();
        leat::spawn([&]() -> task<> { co_await wait_for_end(count); }, {.context = ctx}).detach();
        co_await leat::sleep_for(1s);
        throw std::runtime_error{"out"};
    }),
                    std::runtime_error);
    world.settle();
    CHECK(count.cancelled == 1);
    CHECK(world.live_tasks() == 0);
    CHECK(world.now() == 1s);
}

TEST_CASE("canceller: may be called from any thread, and from within a task of another runtime")
{
    leat::runtime mine{{.workers = 2}};
    leat::runtime other{{.workers = 1}};
    for (int round = 0; round < 20; ++round) {
        auto [ctx, cancel] = with_cancel(background());
        passages count;
        std::vector<leat::join_handle<>> all;
        for (int i = 0; i < 10; ++i)
            all.push_back(mine.spawn([&count] { return wait_for_end(count); }, {.context = ctx}));
        if (round % 2 == 0) {
            std::thread outside{[&the_cancel = cancel] { the_cancel(); }};
            outside.join();
        } else {
            other.block_on([&the_cancel = cancel]() -> task<> {
                the_cancel();
                co_return;
            });
        }
        mine.block_on([&]() -> task<> {
            for (auto& each : all)
                co_await each;
        });
        CHECK(count.entered == 10);
        CHECK(count.cancelled == 10);
    }
}

// ---- Deadlines -------------------------------------------------------------------------------------

TEST_CASE("context: a deadline ends it exactly then, with deadline_exceeded")
{
    leat::sim::world world;
    world.run([&]() -> task<> {
        auto [ctx, cancel] = with_timeout(50ms);
        CHECK(ctx.deadline() == leat::clock::now() + 50ms);
        co_await leat::sleep_for(49ms);
        CHECK(!ctx.cancelled());
        co_await ctx.done();
        CHECK(leat::clock::now().time_since_epoch() == 50ms);
        CHECK(ctx.error() == leat::errc::deadline_exceeded);
        CHECK(ctx.error() == std::errc::timed_out);
        CHECK(cause_of(ctx) == "timed out");
        cancel(because("too late"));
        CHECK(cause_of(ctx) == "timed out");
    });
    CHECK(world.now() == 50ms);
}

TEST_CASE("context: children inherit the earlier deadline")
{
    leat::sim::world world;
    world.run([&]() -> task<> {
        auto [outer, cancel_outer] = with_timeout(100ms);
        auto [longer, cancel_longer] = with_timeout(outer, 1h);
        auto [shorter, cancel_shorter] = with_timeout(outer, 10ms);
        const context value = with_value(shorter, number, 1);
        auto [plain, cancel_plain] = with_cancel(value);
        CHECK(longer.deadline() == outer.deadline());
        CHECK(shorter.deadline() == leat::clock::now() + 10ms);
        CHECK(value.deadline() == shorter.deadline());
        CHECK(plain.deadline() == shorter.deadline());
        CHECK(!without_cancel(plain).deadline());

        co_await plain.done();
        CHECK(leat::clock::now().time_since_epoch() == 10ms);
        CHECK(plain.error() == leat::errc::deadline_exceeded);
        CHECK(!outer.cancelled());
        co_await longer.done();
        CHECK(leat::clock::now().time_since_epoch() == 100ms);
        CHECK(longer.error() == leat::errc::deadline_exceeded);
    });
}

TEST_CASE("context: a deadline that has passed gives a context that has ended")
{
    leat::sim::world world;
    world.advance(1s);
    for (const auto span : {-1h, 0h}) {
        auto [ctx, cancel] = with_timeout(background(), span);
        CHECK(ctx.error() == leat::errc::deadline_exceeded);
    }
    auto [past, cancel_past] = with_deadline(background(), leat::clock::time_point{999ms});
    CHECK(past.error() == leat::errc::deadline_exceeded);
    auto [least, cancel_least] = with_timeout(background(), leat::clock::duration::min());
    CHECK(least.error() == leat::errc::deadline_exceeded);
    auto [first, cancel_first] = with_deadline(background(), leat::clock::time_point::min());
    CHECK(first.error() == leat::errc::deadline_exceeded);
}

TEST_CASE("context: a span beyond the end of time is no limit")
{
    leat::sim::world world;
    world.advance(1s);
    auto [longest, cancel_longest] = with_timeout(background(), leat::clock::duration::max());
    CHECK(!longest.deadline());
    auto [hours, cancel_hours] = with_timeout(background(), std::chrono::hours::max());
    CHECK(!hours.deadline());
    auto [last, cancel_last] = with_deadline(background(), leat::clock::time_point::max());
    CHECK(!last.deadline());
    const int answer =
        world.run(leat::timeout(std::chrono::hours::max(), []() -> task<int> { co_return 7; }()));
    CHECK(answer == 7);
    world.advance(1000000h);
    CHECK(!longest.cancelled());
    CHECK(!hours.cancelled());
    CHECK(!last.cancelled());
}

TEST_CASE("context: cancelled before its deadline, it stays cancelled")
{
    leat::sim::world world;
    auto [ctx, cancel] = with_timeout(background(), 10ms);
    cancel();
    world.advance(1s);
    CHECK(ctx.error() == leat::errc::cancelled);
}

TEST_CASE("context: a deadline made outside of every runtime is watched by the one that uses it")
{
    auto [ctx, cancel] = with_timeout(background(), 30ms);
    auto [child, cancel_child] = with_cancel(ctx);
    const auto began = std::chrono::steady_clock::now();
    passages count;
    leat::run(
        [&, &the_child = child]() -> task<> { co_await leat::with_context(the_child, wait_for_end(count)); },
        {.workers = 2});
    CHECK(count.timed_out == 1);
    CHECK(std::chrono::steady_clock::now() - began >= 29ms);
    CHECK(ctx.error() == leat::errc::deadline_exceeded);
}

TEST_CASE("context: a deadline made outside of every runtime is watched for those who wait on done()")
{
    auto [ctx, cancel] = with_timeout(background(), 20ms);
    const context seen = ctx;
    leat::run([&]() -> task<> { co_await seen.done(); }, {.workers = 1});
    CHECK(ctx.error() == leat::errc::deadline_exceeded);
}

TEST_CASE("context: a deadline that nobody watches is seen when asked for")
{
    auto [ctx, cancel] = with_timeout(background(), 1ms);
    while (!ctx.cancelled())
        std::this_thread::yield();
    CHECK(ctx.error() == leat::errc::deadline_exceeded);
}

TEST_CASE("context: a deadline outlives the runtime that watched it, and is watched by the next")
{
    std::optional<cancellable_context> made;
    const auto began = std::chrono::steady_clock::now();
    leat::run(
        [&]() -> task<> {
            made.emplace(with_timeout(background(), 600ms));  // not while it sleeps, on a busy machine either
            const auto slept =
                co_await leat::as_result(leat::with_context(made->first, leat::sleep_for(1ms)));
            CHECK(!slept.error());
        },
        {.workers = 2});
    passages count;
    leat::run([&]() -> task<> { co_await leat::with_context(made->first, wait_for_end(count)); },
              {.workers = 2});
    CHECK(count.timed_out == 1);
    CHECK(std::chrono::steady_clock::now() - began >= 599ms);
}

TEST_CASE("context: a deadline whose runtime has ended wakes those who wait for it in another")
{
    enum class kind { task, done, function };
    for (const kind of : {kind::task, kind::done, kind::function}) {
        CAPTURE(static_cast<int>(of));
        auto ending = std::make_unique<leat::runtime>(leat::runtime_options{.workers = 2});
        leat::runtime other{{.workers = 1}};
        auto make = []() -> task<cancellable_context> { co_return with_timeout(background(), 300ms); };
        const cancellable_context limited = ending->block_on(make());
        const context& ctx = limited.first;
        std::atomic<bool> told{false};
        other
            .spawn([&]() -> task<> {
                if (of == kind::task) {
                    leat::channel<int> never;
                    auto receive = [&]() -> task<> { static_cast<void>(co_await never.recv()); };
                    static_cast<void>(co_await leat::as_result(leat::with_context(ctx, receive())));
                    told = true;
                } else if (of == kind::done) {
                    co_await ctx.done();
                    told = true;
                } else {
                    static_cast<void>(leat::after_func(ctx, [&] { told = true; }));
                }
            })
            .detach();
        // Not before it waits, or it would have the deadline watched anew.
        auto settled = []() -> task<> { co_await leat::sleep_for(1ms); };
        other.block_on(settled());
        ending.reset();
        const auto until = std::chrono::steady_clock::now() + 20s;
        while (!told && std::chrono::steady_clock::now() < until)
            std::this_thread::yield();
        CHECK(told);
    }
}

TEST_CASE("context: contexts with deadlines may go on any thread while their runtime ends")
{
    for (std::size_t round = 0; round < scaled(200); ++round) {
        std::vector<cancellable_context> made;
        std::atomic<bool> go{false};
        auto pool = std::make_unique<leat::runtime>(leat::runtime_options{.workers = 2});
        pool->block_on([&]() -> task<> {
            for (int i = 0; i < 8; ++i)
                made.push_back(with_timeout(background(), 1h));
            co_return;
        });
        std::thread elsewhere{[&] {
            while (!go.load())
                std::this_thread::yield();
            for (std::size_t i = 0; i < made.size(); i += 2)
                made[i].second();
            made.clear();
        }};
        go.store(true);
        pool.reset();
        elsewhere.join();
    }
}

TEST_CASE("context: contexts that outlive their world can be used, cancelled and destroyed")
{
    std::optional<cancellable_context> plain;
    std::optional<cancellable_context> timed;
    std::optional<context> of_world;
    std::optional<context> of_task;
    {
        leat::sim::world world;
        plain.emplace(with_cancel(world.context()));
        timed.emplace(with_timeout(background(), 1'000'000h));  // the world's clock is not the one outside
        of_world = world.context();
        world.run([&]() -> task<> {
            of_task = leat::this_task::context();
            const auto slept =
                co_await leat::as_result(leat::with_context(timed->first, leat::sleep_for(1ms)));
            CHECK(!slept.error());
        });
    }
    CHECK(plain->first.cancelled());
    CHECK(of_world->cancelled());
    CHECK(of_task->cancelled());
    CHECK(!timed->first.cancelled());
    auto [child, cancel_child] = with_cancel(timed->first);
    timed->second();
    CHECK(child.cancelled());
}

// ---- timeout() -------------------------------------------------------------------------------------

TEST_CASE("timeout: throws exactly at the limit, when everything inside has ended")
{
    leat::sim::world world;
    const counted outside;
    const int before = counted::live();
    world.run([&]() -> task<> {
        bool ended = false;
        auto slow = [&]() -> task<int> {
            const counted local;
            try {
                co_await leat::sleep_for(1h);
            } catch (...) {
                ended = true;
                throw;
            }
            co_return 1;
        };
        const auto got = co_await leat::as_result(leat::timeout(50ms, slow()));
        CHECK(got.error() == leat::errc::deadline_exceeded);
        CHECK(ended);
        CHECK(counted::live() == before);
        CHECK(leat::clock::now().time_since_epoch() == 50ms);
        CHECK(!leat::this_task::context().cancelled());
        co_await leat::sleep_for(1ms);
    });
    CHECK(world.now() == 51ms);
}

TEST_CASE("timeout: what completes in time is untouched, and its timer is gone")
{
    leat::sim::world world;
    const int answer = world.run([&]() -> task<int> {
        auto quick = []() -> task<int> {
            co_await leat::sleep_for(9ms);
            co_return 42;
        };
        const int got = co_await leat::timeout(10ms, quick());
        co_return got;
    });
    CHECK(answer == 42);
    CHECK(world.now() == 9ms);
    CHECK(!world.step());
}

TEST_CASE("timeout: a result that comes although the time is up counts")
{
    leat::sim::world world;
    const int answer = world.run([&]() -> task<int> {
        auto stubborn = []() -> task<int> {
            try {
                co_await leat::sleep_for(1h);
            } catch (const leat::timed_out_error&) {
            }
            co_return 5;
        };
        const int got = co_await leat::timeout(10ms, stubborn());
        co_return got;
    });
    CHECK(answer == 5);
    CHECK(world.now() == 10ms);
}

TEST_CASE("timeout: zero and negative limits have passed, but what does not wait completes")
{
    leat::sim::world world;
    world.run([&]() -> task<> {
        for (const auto limit : {0ms, -1ms}) {
            const auto slept = co_await leat::as_result(leat::timeout(limit, leat::sleep_for(1ms)));
            CHECK(slept.error() == leat::errc::deadline_exceeded);
            auto at_once = []() -> task<int> { co_return 3; };
            const auto got = co_await leat::as_result(leat::timeout(limit, at_once()));
            CHECK(got.value() == 3);
        }
    });
    CHECK(world.now() == 0ms);
}

TEST_CASE("timeout: the inner limit ends the inner scope only")
{
    leat::sim::world world;
    std::vector<std::string> story;
    world.run([&]() -> task<> {
        auto inner = [&]() -> task<> {
            try {
                co_await leat::timeout(10ms, leat::sleep_for(1h));
            } catch (const leat::timed_out_error&) {
                story.push_back(leat::this_task::context().cancelled() ? "outer" : "inner");
            }
            co_await leat::sleep_for(10ms);
            story.push_back("went on");
        };
        co_await leat::timeout(100ms, inner());
        story.push_back("done");
    });
    CHECK(story == std::vector<std::string>{"inner", "went on", "done"});
    CHECK(world.now() == 20ms);
}

TEST_CASE("timeout: the outer limit ends both scopes, and the inner one can tell")
{
    leat::sim::world world;
    std::vector<std::string> story;
    world.run([&]() -> task<> {
        auto inner = [&]() -> task<> {
            try {
                co_await leat::timeout(100ms, leat::sleep_for(1h));
            } catch (const leat::timed_out_error&) {
                story.push_back(leat::this_task::context().cancelled() ? "outer" : "inner");
            }
            co_await leat::sleep_for(10ms);
            story.push_back("went on");
        };
        try {
            co_await leat::timeout(10ms, inner());
        } catch (const leat::timed_out_error&) {
            story.push_back(leat::this_task::context().cancelled() ? "further out" : "here");
        }
        co_await leat::sleep_for(1ms);
    });
    CHECK(story == std::vector<std::string>{"outer", "here"});
    CHECK(world.now() == 11ms);
}

TEST_CASE("timeout: equal limits end every scope at once, from the inside out")
{
    leat::sim::world world;
    int unwound = 0;
    world.run([&]() -> task<> {
        auto innermost = [&]() -> task<> {
            try {
                co_await leat::timeout(10ms, leat::sleep_for(1h));
            } catch (const leat::timed_out_error&) {
                ++unwound;
                throw;
            }
        };
        auto middle = [&]() -> task<> {
            try {
                co_await leat::timeout(10ms, innermost());
            } catch (const leat::timed_out_error&) {
                ++unwound;
                throw;
            }
        };
        const auto got = co_await leat::as_result(leat::timeout(10ms, middle()));
        CHECK(got.error() == leat::errc::deadline_exceeded);
    });
    CHECK(unwound == 2);
    CHECK(world.now() == 10ms);
}

TEST_CASE("timeout: being cancelled meanwhile is being cancelled, not running out of time")
{
    leat::sim::world world;
    std::error_code seen;
    world.run([&]() -> task<> {
        auto sleeper = leat::spawn([&]() -> task<> {
            const auto got = co_await leat::as_result(leat::timeout(1s, leat::sleep_for(1h)));
            seen = got.error();
        });
        co_await leat::sleep_for(10ms);
        sleeper.cancel();
        co_await sleeper;
    });
    CHECK(seen == leat::errc::cancelled);
    CHECK(world.now() == 10ms);
}

TEST_CASE("timeout: takes any operation, such as a receive, and any span, such as half a second as a double")
{
    leat::sim::world world;
    world.run([&]() -> task<> {
        leat::channel<int> never;
        const auto got =
            co_await leat::as_result(leat::timeout(std::chrono::duration<double>{0.5}, never.recv()));
        CHECK(got.error() == leat::errc::deadline_exceeded);
        leat::channel<int> full{1};
        co_await full.send(1);
        const auto value = co_await leat::timeout(1ms, full.recv());
        CHECK(value == 1);
    });
    CHECK(world.now() == 500ms);
}

// ---- Values ----------------------------------------------------------------------------------------

TEST_CASE("context: values are found from below, through every kind of context, the nearest first")
{
    const context low = with_value(background(), number, 1);
    auto [middle, cancel] = with_cancel(low);
    const context named = with_value(middle, word, "a word");
    const context high = with_value(named, number, 2);
    auto [top, cancel_top] = with_timeout(high, 1h);
    const context shielded = without_cancel(top);

    REQUIRE(top.value(number) != nullptr);
    CHECK(*top.value(number) == 2);
    CHECK(*middle.value(number) == 1);
    CHECK(*top.value(word) == "a word");
    CHECK(*shielded.value(number) == 2);
    CHECK(middle.value(word) == nullptr);
    CHECK(top.value(other_number) == nullptr);
    CHECK(background().value(number) == nullptr);
}

TEST_CASE("context: a value may be kept under its type")
{
    struct request {
        explicit request(int i) noexcept : id{i}
        {
        }
        int id;
    };
    const context ctx = with_value(background(), request{7});
    auto [child, cancel] = with_cancel(ctx);
    REQUIRE(child.value<request>() != nullptr);
    CHECK(child.value<request>()->id == 7);
    CHECK(child.value<int>() == nullptr);
    CHECK(child.value(number) == nullptr);
}

TEST_CASE("context: values may be move-only, and live as long as the context")
{
    static constexpr leat::context_key<std::unique_ptr<counted>> owner;
    const int before = counted::live();
    std::optional<context> leaf;
    {
        const context ctx = with_value(background(), owner, std::make_unique<counted>(4));
        auto [child, cancel] = with_cancel(ctx);
        leaf = with_value(child, number, 1);
    }
    CHECK(counted::live() == before + 1);
    REQUIRE(leaf->value(owner) != nullptr);
    CHECK((*leaf->value(owner))->value == 4);
    leaf.reset();
    CHECK(counted::live() == before);
}

TEST_CASE("context: tasks inherit values, and spawned ones do")
{
    leat::sim::world world;
    world.run([&]() -> task<> {
        auto inner = []() -> task<int> {
            auto handle = leat::spawn([]() -> task<int> { co_return *leat::this_task::value(number); });
            const int got = co_await handle;
            co_return got + *leat::this_task::value(number);
        };
        const context ctx = with_value(leat::this_task::context(), number, 21);
        const int sum = co_await leat::with_context(ctx, inner());
        CHECK(sum == 42);
        CHECK(leat::this_task::value(number) == nullptr);
    });
}

// ---- without_cancel, shield ------------------------------------------------------------------------

TEST_CASE("context: without_cancel keeps the values and drops the end")
{
    leat::sim::world world;
    auto [parent, cancel] = with_timeout(with_value(background(), number, 3), 10ms);
    const context kept = without_cancel(parent);
    auto [below, cancel_below] = with_cancel(kept);
    cancel();
    CHECK(!kept.cancelled());
    CHECK(!below.cancelled());
    CHECK(kept.cause() == nullptr);
    CHECK(!kept.deadline());
    CHECK(*below.value(number) == 3);
    CHECK(!kept.stop_token().stop_possible());
    cancel_below();
    CHECK(below.cancelled());
    CHECK(!kept.cancelled());
}

TEST_CASE("context: cleanup under without_cancel waits although the task has been cancelled")
{
    leat::sim::world world;
    bool cleaned = false;
    world.run([&]() -> task<> {
        auto worker = leat::spawn([&]() -> task<> {
            bool stopped = false;
            try {
                co_await leat::sleep_for(1h);
            } catch (const leat::cancelled_error&) {
                stopped = true;
            }
            CHECK(stopped);
            co_await leat::with_context(without_cancel(leat::this_task::context()), leat::sleep_for(5ms));
            cleaned = true;
            co_await leat::sleep_for(1h);
        });
        co_await leat::sleep_for(1ms);
        worker.cancel();
        const auto got = co_await leat::as_result(std::move(worker));
        CHECK(got.error() == leat::errc::cancelled);
    });
    CHECK(cleaned);
    CHECK(world.now() == 6ms);
}

TEST_CASE("shield: deaf to cancellation, but not for longer than its limit")
{
    leat::sim::world world;
    world.run([&]() -> task<> {
        auto worker = leat::spawn([&]() -> task<> {
            const auto slept = co_await leat::as_result(leat::sleep_for(1h));
            CHECK(slept.error() == leat::errc::cancelled);
            const auto quick = co_await leat::as_result(leat::shield(10ms, leat::sleep_for(9ms)));
            CHECK(!quick.error());
            const auto slow = co_await leat::as_result(leat::shield(10ms, leat::sleep_for(1h)));
            CHECK(slow.error() == leat::errc::deadline_exceeded);
        });
        co_await leat::sleep_for(1ms);
        worker.cancel();
        co_await worker;
    });
    CHECK(world.now() == 20ms);
}

TEST_CASE("shield: is deaf to a cancellation whose handle was dropped before the task began")
{
    leat::sim::world world;
    bool cleaned = false;
    bool child_stopped = false;
    auto handle = world.spawn([&]() -> task<> {
        auto nap = [&]() -> task<> { co_await leat::sleep_for(5ms); };
        co_await leat::shield(1s, nap());
        cleaned = true;
        leat::spawn([&]() -> task<> {
            const auto slept = co_await leat::as_result(leat::sleep_for(1h));
            child_stopped = slept.error() == leat::errc::cancelled;
        }).detach();
    });
    handle.cancel();
    handle.detach();
    world.advance(1s);
    CHECK(cleaned);
    CHECK(child_stopped);
    CHECK(world.live_tasks() == 0);
}

// ---- with_context, join_handle::cancel -------------------------------------------------------------

TEST_CASE("with_context: the task has its own context again afterwards")
{
    leat::sim::world world;
    world.run([&]() -> task<> {
        const context own = leat::this_task::context();
        auto [ctx, cancel] = with_cancel(background());
        auto look = [&, &the_ctx = ctx]() -> task<bool> { co_return leat::this_task::context() == the_ctx; };
        const bool inside = co_await leat::with_context(ctx, look());
        CHECK(inside);
        CHECK(leat::this_task::context() == own);
        cancel();
        const auto slept = co_await leat::as_result(leat::with_context(ctx, leat::sleep_for(1ms)));
        CHECK(slept.error() == leat::errc::cancelled);
        co_await leat::sleep_for(1ms);
    });
    CHECK(world.now() == 1ms);
}

TEST_CASE("join_handle: cancelling one task cancels what it started, and nobody else")
{
    leat::sim::world world;
    passages inside;
    passages beside;
    world.run([&]() -> task<> {
        auto sibling = leat::spawn([&] { return wait_for_end(beside); });
        auto parent = leat::spawn([&]() -> task<> {
            leat::spawn([&] { return wait_for_end(inside); }).detach();
            auto [ctx, cancel] = with_cancel();
            leat::spawn([&] { return wait_for_end(inside); }, {.context = ctx}).detach();
            co_await wait_for_end(inside);
        });
        co_await leat::sleep_for(1ms);
        parent.cancel();
        co_await parent;
        co_await leat::sleep_for(1ms);
        CHECK(inside.cancelled == 3);
        CHECK(beside.cancelled == 0);
        sibling.cancel();
        co_await sibling;
        CHECK(beside.cancelled == 1);
    });
    CHECK(world.live_tasks() == 0);
}

TEST_CASE("join_handle: cancelled before it runs, a task derives contexts that have ended")
{
    leat::sim::world world;
    world.run([&]() -> task<> {
        bool derived_ended = false;
        bool asked_ended = false;
        auto handle = leat::spawn([&]() -> task<> {
            asked_ended = leat::this_task::context().cancelled();
            auto [ctx, cancel] = with_cancel();
            derived_ended = ctx.cancelled();
            co_return;
        });
        handle.cancel();
        co_await handle;
        CHECK(asked_ended);
        CHECK(derived_ended);
        CHECK(!leat::this_task::context().cancelled());
    });
}

// ---- done() ----------------------------------------------------------------------------------------

TEST_CASE("done: everyone who waits is woken, in every part of the tree")
{
    leat::sim::world world;
    int woken = 0;
    world.run([&]() -> task<> {
        auto [root, cancel] = with_cancel(background());
        auto [child, cancel_child] = with_cancel(root);
        for (int i = 0; i < 200; ++i)
            leat::spawn([&, ctx = i % 2 == 0 ? root : child]() -> task<> {
                co_await ctx.done();
                ++woken;
            }).detach();
        co_await leat::sleep_for(1ms);
        CHECK(woken == 0);
        cancel();
        co_await leat::sleep_for(1ms);
        CHECK(woken == 200);
        co_await root.done();
        co_await child.done();
    });
}

TEST_CASE("done: of one's own context is a case that wins, not an error")
{
    leat::sim::world world;
    std::string how;
    world.run([&]() -> task<> {
        auto handle = leat::spawn([&]() -> task<> {
            const context own = leat::this_task::context();
            leat::channel<int> never;
            co_await leat::select(leat::on(never.recv(), [&] { how = "received"; }),
                                  leat::on(own.done(), [&] { how = "done"; }));
            co_await own.done();
            how += ", still done";
        });
        co_await leat::sleep_for(1ms);
        handle.cancel();
        co_await handle;
    });
    CHECK(how == "done, still done");
}

TEST_CASE("done: of background is never ready, and can be cancelled like any wait")
{
    leat::sim::world world;
    world.run([&]() -> task<> {
        const auto waited = co_await leat::as_result(leat::timeout(5ms, background().done()));
        CHECK(waited.error() == leat::errc::deadline_exceeded);
        bool otherwise = false;
        co_await leat::select(leat::on(background().done(), [] {}),
                              leat::otherwise([&] { otherwise = true; }));
        CHECK(otherwise);
    });
    CHECK(world.now() == 5ms);
}

// ---- after_func ------------------------------------------------------------------------------------

TEST_CASE("after_func: runs once, in a task of its own, when the context ends")
{
    leat::sim::world world;
    int runs = 0;
    std::uint64_t ran_in = 0;
    world.run([&]() -> task<> {
        auto [ctx, cancel] = with_cancel(background());
        auto handle = leat::after_func(ctx, [&] {
            ++runs;
            ran_in = leat::this_task::id();
        });
        co_await leat::sleep_for(1ms);
        CHECK(runs == 0);
        cancel();
        CHECK(runs == 0);
        cancel();
        co_await leat::sleep_for(1ms);
        CHECK(runs == 1);
        CHECK(ran_in != leat::this_task::id());
        CHECK(!handle.stop());
    });
    CHECK(runs == 1);
    CHECK(world.live_tasks() == 0);
}

TEST_CASE("after_func: a coroutine may wait, deaf to the context that has ended, with its values")
{
    leat::sim::world world;
    int got = 0;
    world.run([&]() -> task<> {
        auto [ctx, cancel] = with_cancel(with_value(background(), number, 9));
        auto handle = leat::after_func(ctx, [&]() -> task<> {
            co_await leat::sleep_for(5ms);
            got = *leat::this_task::value(number);
        });
        cancel();
        co_await leat::sleep_for(10ms);
        CHECK(got == 9);
    });
}

TEST_CASE("after_func: on a context that has ended it runs at once; on one that never ends, never")
{
    leat::sim::world world;
    world.run([&]() -> task<> {
        int runs = 0;
        auto [ctx, cancel] = with_cancel(background());
        cancel();
        auto ended = leat::after_func(ctx, [&] { ++runs; });
        const int before = counted::live();
        auto never = leat::after_func(background(), [&, held = counted{1}] { runs += held.value * 100; });
        CHECK(counted::live() == before);
        CHECK(never.stop());
        co_await leat::sleep_for(1ms);
        CHECK(runs == 1);
        CHECK(!ended.stop());
    });
}

TEST_CASE("after_func: stopped before, it does not run, and what it captured goes at once")
{
    leat::sim::world world;
    world.run([&]() -> task<> {
        const int before = counted::live();
        int runs = 0;
        auto [ctx, cancel] = with_cancel(background());
        auto handle = leat::after_func(ctx, [&, held = counted{1}] { runs += held.value; });
        CHECK(counted::live() == before + 1);
        CHECK(handle.stop());
        CHECK(counted::live() == before);
        CHECK(!handle.stop());
        cancel();
        CHECK(!handle.stop());
        co_await leat::sleep_for(1ms);
        CHECK(runs == 0);
    });
    CHECK(world.live_tasks() == 0);
}

TEST_CASE("after_func: a dropped handle stops nothing; a context that goes without ending drops the function")
{
    leat::sim::world world;
    world.run([&]() -> task<> {
        const int before = counted::live();
        int runs = 0;
        {
            auto [ctx, cancel] = with_cancel(background());
            static_cast<void>(leat::after_func(ctx, [&] { ++runs; }));
        }
        co_await leat::sleep_for(1ms);
        CHECK(runs == 1);
        {
            const context from_token{std::stop_token{}};
            static_cast<void>(leat::after_func(from_token, [&, held = counted{}] { ++runs; }));
            CHECK(counted::live() == before + 1);
        }
        CHECK(counted::live() == before);
        co_await leat::sleep_for(1ms);
        CHECK(runs == 1);
    });
    CHECK(world.live_tasks() == 0);
}

TEST_CASE("after_func: many on one context all run; each of those stopped does not")
{
    leat::sim::world world;
    constexpr int count = 1000;
    std::vector<int> runs(count);
    world.run([&]() -> task<> {
        auto [ctx, cancel] = with_cancel(background());
        std::vector<leat::after_func_handle> handles;
        for (int i = 0; i < count; ++i)
            handles.push_back(leat::after_func(ctx, [&runs, i] { ++runs[static_cast<std::size_t>(i)]; }));
        for (std::size_t i = 0; i < count; i += 3)
            CHECK(handles[i].stop());
        cancel();
        co_await leat::sleep_for(1ms);
    });
    for (std::size_t i = 0; i < count; ++i)
        CHECK(runs[i] == (i % 3 == 0 ? 0 : 1));
}

TEST_CASE("after_func: of a context that never ends it will not run, which stop() says once")
{
    leat::sim::world world;
    world.run([]() -> task<> {
        [[maybe_unused]] const int gcc_12_needs_a_local = 0;
        leat::after_func_handle handle = leat::after_func(background(), [] { CHECK(false); });
        CHECK(handle.stop());
        CHECK(!handle.stop());
        co_return;
    });
    CHECK(world.live_tasks() == 0);
}

#if LEAT_REGISTRY
TEST_CASE("after_func: its task is reported with the place where after_func was called")
{
    leat::sim::world world;
    world.run([]() -> task<> {
        auto [ctx, cancel] = with_cancel(background());
        const auto handle = leat::after_func(ctx, []() -> task<> { co_await leat::sleep_for(1h); });
        cancel();
        co_await leat::sleep_for(1ms);
        const std::string report = leat::inspect::report(leat::this_task::executor());
        CHECK(report.find("(:0)") == std::string::npos);
    });
}
#endif

TEST_CASE("after_func: stop() that races with the end tells the truth")
{
    leat::runtime pool{{.workers = 3}};
    const std::size_t rounds = scaled(4000);
    int stopped = 0;
    for (std::size_t round = 0; round < rounds; ++round) {
        std::atomic<int> runs{0};
        bool prevented = false;
        auto [ctx, cancel] = with_cancel(background());
        leat::channel<void> ended{1};
        pool.block_on([&, &the_ctx = ctx, &the_cancel = cancel]() -> task<> {
            auto handle = leat::after_func(the_ctx, [&]() -> task<> {
                ++runs;
                co_await ended.send();
            });
            auto rival = leat::spawn([&]() -> task<> {
                the_cancel();
                co_return;
            });
            if (round % 2 == 0)
                co_await leat::this_task::yield();
            prevented = handle.stop();
            co_await rival;
            if (!prevented)
                static_cast<void>(co_await ended.recv());
        });
        if (runs != (prevented ? 0 : 1))
            FAIL("round ", round, ": ran ", runs.load(), " times, stop() said ", prevented);
        stopped += prevented ? 1 : 0;
    }
    MESSAGE("stopped in ", stopped, " of ", rounds, " rounds");
}

TEST_CASE("after_func: a function whose runtime has gone does not run, and is destroyed")
{
    const int before = counted::live();
    std::atomic<int> runs{0};
    auto [ctx, cancel] = with_cancel(background());
    std::optional<leat::after_func_handle> handle;
    leat::run(
        [&, &the_ctx = ctx]() -> task<> {
            handle = leat::after_func(the_ctx, [&, held = counted{1}] { runs += held.value; });
            co_return;
        },
        {.workers = 1});
    CHECK(counted::live() == before + 1);
    cancel();
    CHECK(runs == 0);
    CHECK(counted::live() == before);
    CHECK(!handle->stop());

    auto [second, cancel_second] = with_cancel(background());
    {
        leat::sim::world world;
        world.run([&, &the_second = second]() -> task<> {
            static_cast<void>(leat::after_func(the_second, [&, held = counted{1}] { runs += held.value; }));
            co_return;
        });
    }
    cancel_second();
    CHECK(runs == 0);
    CHECK(counted::live() == before);
}

TEST_CASE("after_func: a context that ends while its runtime ends runs the function or drops it")
{
    const int before = counted::live();
    for (std::size_t round = 0; round < scaled(300); ++round) {
        auto [ctx, cancel] = with_cancel(background());
        std::atomic<bool> go{false};
        std::atomic<int> runs{0};
        auto pool = std::make_unique<leat::runtime>(leat::runtime_options{.workers = 2});
        pool->block_on([&, &the_ctx = ctx]() -> task<> {
            for (int i = 0; i < 4; ++i)
                static_cast<void>(leat::after_func(the_ctx, [&, held = counted{1}] { runs += held.value; }));
            co_return;
        });
        std::thread elsewhere{[&, &the_cancel = cancel] {
            while (!go.load())
                std::this_thread::yield();
            the_cancel();
        }};
        go.store(true);
        pool.reset();
        elsewhere.join();
        CHECK(runs <= 4);
        CHECK(counted::live() == before);
    }
}

TEST_CASE("after_func: outside of every task and world it is refused")
{
    auto [ctx, cancel] = with_cancel(background());
    CHECK_THROWS_AS(static_cast<void>(leat::after_func(ctx, [] {})), leat::usage_error);
}

// ---- merge -----------------------------------------------------------------------------------------

TEST_CASE("merge: ends when either side ends, with its cause")
{
    for (const bool first : {true, false}) {
        auto [a, cancel_a] = with_cancel(background());
        auto [b, cancel_b] = with_cancel(background());
        auto [both, cancel_both] = leat::merge(a, b);
        auto [below, cancel_below] = with_cancel(both);
        CHECK(!both.cancelled());
        (first ? cancel_a : cancel_b)(because(first ? "a" : "b"));
        CHECK(both.cancelled());
        CHECK(below.cancelled());
        CHECK(cause_of(both) == (first ? "a" : "b"));
        CHECK(cause_of(below) == (first ? "a" : "b"));
        CHECK(a.cancelled() == first);
        CHECK(b.cancelled() == !first);
        (first ? cancel_b : cancel_a)(because("later"));
        CHECK(cause_of(both) == (first ? "a" : "b"));
    }
}

TEST_CASE("merge: of a side that has ended is born ended; cancelling it ends neither side")
{
    auto [a, cancel_a] = with_cancel(background());
    auto [b, cancel_b] = with_cancel(background());
    cancel_b(because("b"));
    auto [left, cancel_left] = leat::merge(a, b);
    auto [right, cancel_right] = leat::merge(b, a);
    CHECK(cause_of(left) == "b");
    CHECK(cause_of(right) == "b");
    auto [c, cancel_c] = with_cancel(background());
    auto [both, cancel_both] = leat::merge(a, c);
    cancel_both();
    CHECK(both.cancelled());
    CHECK(!a.cancelled());
    CHECK(!c.cancelled());
}

TEST_CASE("merge: has the earlier deadline and the first's values before the second's")
{
    leat::sim::world world;
    auto [soon, cancel_soon] = with_timeout(with_value(background(), number, 1), 10ms);
    auto [late, cancel_late] =
        with_timeout(with_value(with_value(background(), number, 2), word, "of the second"), 20ms);
    auto [one, cancel_one] = leat::merge(soon, late);
    auto [two, cancel_two] = leat::merge(late, soon);
    CHECK(one.deadline() == soon.deadline());
    CHECK(two.deadline() == soon.deadline());
    CHECK(*one.value(number) == 1);
    CHECK(*two.value(number) == 2);
    CHECK(*one.value(word) == "of the second");
    CHECK(*two.value(word) == "of the second");
    CHECK(one.value(other_number) == nullptr);
    world.run([&, &the_one = one]() -> task<> { co_await the_one.done(); });
    CHECK(world.now() == 10ms);
    CHECK(two.error() == leat::errc::deadline_exceeded);
    CHECK(!late.cancelled());
}

TEST_CASE("merge: with background, with itself, and with one made outside of every runtime")
{
    auto [a, cancel_a] = with_cancel(background());
    auto [left, cancel_left] = leat::merge(background(), a);
    auto [right, cancel_right] = leat::merge(a, background());
    auto [twice, cancel_twice] = leat::merge(a, a);
    auto [neither, cancel_neither] = leat::merge(background(), background());
    auto [late, cancel_late] = with_timeout(background(), 20ms);
    auto [timed, cancel_timed] = leat::merge(a, late);
    passages count;
    leat::run(
        [&, &the_timed = timed]() -> task<> { co_await leat::with_context(the_timed, wait_for_end(count)); },
        {.workers = 1});
    CHECK(count.timed_out == 1);
    cancel_a();
    CHECK(left.cancelled());
    CHECK(right.cancelled());
    CHECK(twice.cancelled());
    CHECK(!neither.cancelled());
}

TEST_CASE("merge: keeps both sides alive")
{
    const int before = counted::live();
    std::optional<cancellable_context> both;
    {
        const context a = with_value(background(), counted{1});
        auto [b, cancel_b] = with_cancel(with_value(background(), word, "kept"));
        both.emplace(leat::merge(a, b));
        cancel_b();
    }
    CHECK(both->first.cancelled());
    CHECK(both->first.value<counted>()->value == 1);
    CHECK(*both->first.value(word) == "kept");
    both.reset();
    CHECK(counted::live() == before);
}

// ---- std::stop_token -------------------------------------------------------------------------------

TEST_CASE("context: gives a stop_token that is asked to stop when it ends")
{
    auto [parent, cancel] = with_cancel(background());
    auto [ctx, cancel_ctx] = with_cancel(parent);
    const std::stop_token token = ctx;
    CHECK(token.stop_possible());
    CHECK(!token.stop_requested());
    CHECK(token == ctx.stop_token());
    std::thread::id called_on;
    const std::stop_callback callback{token, [&] { called_on = std::this_thread::get_id(); }};
    cancel();
    CHECK(token.stop_requested());
    CHECK(called_on == std::this_thread::get_id());
    CHECK(ctx.stop_token().stop_requested());
    CHECK(with_value(ctx, number, 1).stop_token().stop_requested());
}

TEST_CASE("context: a stop_token ends a context, and a jthread can be stopped by one")
{
    std::stop_source source;
    const context ctx{source.get_token()};
    auto [child, cancel] = with_cancel(ctx);
    CHECK(!ctx.cancelled());
    source.request_stop();
    CHECK(ctx.cancelled());
    CHECK(child.cancelled());
    CHECK(cause_of(ctx) == "cancelled");
    CHECK(context{source.get_token()}.cancelled());
    CHECK(!context{std::stop_token{}}.cancelled());

    auto [mine, cancel_mine] = with_cancel(background());
    std::atomic<bool> stopped{false};
    std::thread loop{[&, token = mine.stop_token()] {
        while (!token.stop_requested())
            std::this_thread::yield();
        stopped = true;
    }};
    cancel_mine();
    loop.join();
    CHECK(stopped);
}

TEST_CASE("context: from a token to a context to a token and back")
{
    std::stop_source source;
    const context there{source.get_token()};
    const context back{there.stop_token()};
    auto [below, cancel] = with_cancel(back);
    CHECK(!below.cancelled());
    source.request_stop();
    CHECK(below.cancelled());
}

TEST_CASE("context: a stop callback may cancel, derive and drop contexts, even the one that ends")
{
    auto made = std::make_unique<cancellable_context>(with_cancel(background()));
    const std::stop_token token = made->first.stop_token();
    bool child_ended = false;
    const std::stop_callback callback{token, [&] {
                                          made->second();
                                          auto [child, cancel] = with_cancel(made->first);
                                          child_ended = child.cancelled();
                                          made.reset();
                                      }};
    const canceller cancel = std::move(made->second);
    cancel();
    CHECK(child_ended);
    CHECK(made == nullptr);
}

TEST_CASE("context: from a token that is asked to stop while the context goes")
{
    for (std::size_t round = 0; round < scaled(1000); ++round) {
        std::stop_source source;
        std::optional<context> ctx{std::in_place, source.get_token()};
        std::atomic<int> ready{0};
        std::thread asker{[&] {
            ++ready;
            while (ready != 2)
                std::this_thread::yield();
            source.request_stop();
        }};
        ++ready;
        while (ready != 2)
            std::this_thread::yield();
        ctx.reset();
        asker.join();
    }
}

// ---- Size ------------------------------------------------------------------------------------------

TEST_CASE("context: one call cancels a tree of 100,000")
{
    const std::size_t size = scaled(100'000);
    std::vector<cancellable_context> all;
    all.reserve(size);
    all.push_back(with_cancel(background()));
    for (std::size_t i = 1; i < size; ++i)
        all.push_back(with_cancel(all[(i - 1) / 8].first));
    const auto ended = [&] {
        std::size_t count = 0;
        for (const auto& each : all)
            count += each.first.cancelled() ? 1U : 0U;
        return count;
    };
    CHECK(ended() == 0);
    // The last leaf's parent and its children only.
    all[(size - 2) / 8].second();
    const std::size_t part = ended();
    CHECK(part >= 2);
    CHECK(part <= 9);
    all.front().second(because("all of you"));
    CHECK(ended() == size);
    CHECK(cause_of(all[size / 2].first) == "all of you");
}

TEST_CASE("context: a chain 100,000 deep is cancelled and destroyed without growing the stack")
{
    const std::size_t depth = scaled(100'000);
    std::uintptr_t deepest = ~std::uintptr_t{0};
    for (const int shape : {0, 1, 2}) {
        std::vector<canceller> cancels;
        cancels.reserve(depth);
        auto [first, cancel] = with_cancel(background());
        context ctx = first;
        auto [beside, cancel_beside] = with_cancel(background());
        for (std::size_t i = 0; i < depth; ++i) {
            cancellable_context next = shape == 0   ? with_cancel(ctx)
                                       : shape == 1 ? leat::merge(ctx, beside)
                                                    : leat::merge(beside, ctx);
            cancels.push_back(std::move(next.second));
            ctx = std::move(next.first);
        }
        const std::stop_callback at_the_bottom{ctx.stop_token(),
                                               [&] { deepest = std::min(deepest, stack_here()); }};
        const std::uintptr_t here = stack_here();
        cancel();
        CHECK(ctx.cancelled());
        CHECK(here - deepest < 16 * 1024);
    }
    // Held by the last one only, the chain goes with it.
    for (const bool second : {false, true}) {
        std::optional<context> last{background()};
        for (std::size_t i = 0; i < depth; ++i) {
            cancellable_context next = second ? leat::merge(background(), *last) : with_cancel(*last);
            last = std::move(next.first);
        }
        last.reset();
    }
}

TEST_CASE("context: looking for an end through contexts merged again and again comes to an end")
{
    leat::sim::world world;
    auto [ctx, cancel] = with_cancel(background());
    std::vector<cancellable_context> all;
    all.push_back(leat::merge(ctx, ctx));
    for (int i = 0; i < 200; ++i)
        all.push_back(leat::merge(all.back().first, all.back().first));
    world.run([&]() -> task<> {
        const context last = all.back().first;
        auto waiting = leat::spawn([&]() -> task<> {
            const auto waited = co_await leat::as_result(last.done());
            CHECK(waited.error() == leat::errc::cancelled);
        });
        co_await leat::sleep_for(1ms);
        waiting.cancel();
        co_await waiting;
        CHECK(!last.cancelled());
    });
    cancel();
    CHECK(all.back().first.cancelled());
}

TEST_CASE("context: a child is removed in constant time, however many siblings it has")
{
    const auto derive_and_drop = [](const context& parent) {
        const auto began = std::chrono::steady_clock::now();
        for (int i = 0; i < 20'000; ++i) {
            auto [ctx, cancel] = with_cancel(parent);
        }
        return std::chrono::steady_clock::now() - began;
    };
    auto [lonely, cancel_lonely] = with_cancel(background());
    auto [crowded, cancel_crowded] = with_cancel(background());
    std::vector<cancellable_context> crowd;
    for (std::size_t i = 0; i < scaled(100'000); ++i)
        crowd.push_back(with_cancel(crowded));
    auto alone = derive_and_drop(lonely);
    auto among_many = derive_and_drop(crowded);
    for (int i = 0; i < 2; ++i) {
        alone = std::min(alone, derive_and_drop(lonely));
        among_many = std::min(among_many, derive_and_drop(crowded));
    }
    // A search would take thousands of times as long.
    CHECK(among_many < alone * 20 + 20ms);
}

TEST_CASE("context: parking under a context costs the same with 100,000 tasks under it")
{
    leat::sim::world world;
    const auto ping_pong = [](context ctx) -> task<std::chrono::steady_clock::duration> {
        leat::channel<int> there;
        leat::channel<int> back;
        auto echo = leat::spawn(
            [&]() -> task<> {
                while (auto got = co_await there.recv())
                    co_await back.send(*got);
            },
            {.context = ctx});
        const auto began = std::chrono::steady_clock::now();
        for (int i = 0; i < 5'000; ++i) {
            co_await there.send(i);
            const auto got = co_await back.recv();
            if (got != i)
                throw std::logic_error{"out of order"};
        }
        const auto took = std::chrono::steady_clock::now() - began;
        there.close();
        co_await echo;
        co_return took;
    };
    world.run([&]() -> task<> {
        auto [quiet, cancel_quiet] = with_cancel();
        auto [busy, cancel_busy] = with_cancel();
        leat::channel<int> never;
        const int crowd = static_cast<int>(scaled(100'000));
        for (int i = 0; i < crowd; ++i)
            leat::spawn([&]() -> task<> { static_cast<void>(co_await leat::as_result(never.recv())); },
                        {.context = busy})
                .detach();
        co_await leat::sleep_for(1ms);
        auto alone = 1h + 0ns;
        auto among_many = 1h + 0ns;
        for (int i = 0; i < 3; ++i) {
            alone = std::min(alone, co_await leat::with_context(quiet, ping_pong(quiet)) + 0ns);
            among_many = std::min(among_many, co_await leat::with_context(busy, ping_pong(busy)) + 0ns);
        }
        CHECK(among_many < alone * 10 + 20ms);
        cancel_busy();
    });
    world.settle();
    CHECK(world.live_tasks() == 0);
}

// ---- Races -----------------------------------------------------------------------------------------

TEST_CASE("context: two contexts whose ends cancel each other")
{
    for (std::size_t round = 0; round < scaled(1000); ++round) {
        auto [a, cancel_a] = with_cancel(background());
        auto [b, cancel_b] = with_cancel(background());
        const std::stop_callback when_a{a.stop_token(), [&, &the_cancel_b = cancel_b] { the_cancel_b(); }};
        const std::stop_callback when_b{b.stop_token(), [&, &the_cancel_a = cancel_a] { the_cancel_a(); }};
        std::atomic<int> ready{0};
        const auto start = [&] {
            ++ready;
            while (ready != 2)
                std::this_thread::yield();
        };
        std::thread one{[&, &the_cancel_a = cancel_a] {
            start();
            the_cancel_a();
        }};
        start();
        cancel_b();
        one.join();
        CHECK(a.cancelled());
        CHECK(b.cancelled());
    }
}

TEST_CASE("context: tasks that cancel each other's contexts, on the pool")
{
    leat::runtime pool{{.workers = 4}};
    const std::size_t rounds = scaled(2000);
    pool.block_on([&]() -> task<> {
        for (std::size_t round = 0; round < rounds; ++round) {
            auto [a, cancel_a] = with_cancel(background());
            auto [b, cancel_b] = with_cancel(background());
            auto one = leat::spawn(
                [&, &the_cancel_b = cancel_b]() -> task<> {
                    static_cast<void>(co_await leat::as_result(leat::this_task::yield()));
                    the_cancel_b();
                    static_cast<void>(co_await leat::as_result(leat::sleep_for(1h)));
                    CHECK(leat::this_task::context().cancelled());
                },
                {.context = a});
            auto two = leat::spawn(
                [&, &the_cancel_a = cancel_a]() -> task<> {
                    the_cancel_a();
                    static_cast<void>(co_await leat::as_result(leat::sleep_for(1h)));
                    CHECK(leat::this_task::context().cancelled());
                },
                {.context = b});
            co_await one;
            co_await two;
        }
    });
}

TEST_CASE("context: deriving, cancelling and dropping one tree from many tasks and threads")
{
    const std::uint64_t seed = std::random_device{}();
    INFO("seed ", seed);
    leat::runtime pool{{.workers = 3}};
    const std::size_t rounds = scaled(100);
    for (std::size_t round = 0; round < rounds; ++round) {
        auto [root, cancel_root] = with_cancel(background());
        std::atomic<int> ends{0};
        std::atomic<int> expected{0};
        const auto grow = [&, &the_root = root](std::uint64_t salt) {
            std::mt19937_64 random{seed + salt};
            std::vector<cancellable_context> mine;
            for (int i = 0; i < 200; ++i) {
                const context& parent =
                    mine.empty() || random() % 4 == 0 ? the_root : mine[random() % mine.size()].first;
                switch (random() % 6) {
                case 0:
                    mine.push_back(with_timeout(parent, std::chrono::microseconds{random() % 500}));
                    break;
                case 1: mine.push_back(leat::merge(parent, the_root)); break;
                case 2:
                    if (!mine.empty())
                        mine[random() % mine.size()].second(because("at random"));
                    break;
                case 3:
                    if (!mine.empty())
                        mine.erase(mine.begin() + static_cast<std::ptrdiff_t>(random() % mine.size()));
                    break;
                case 4: static_cast<void>(parent.stop_token()); break;
                default: mine.push_back(with_cancel(with_value(parent, number, i))); break;
                }
            }
            return mine.empty() ? the_root : mine[random() % mine.size()].first;
        };
        std::thread outside{[&] { static_cast<void>(grow(round * 10 + 9)); }};
        pool.block_on([&, &the_cancel_root = cancel_root]() -> task<> {
            std::vector<leat::join_handle<>> all;
            for (std::uint64_t i = 0; i < 6; ++i)
                all.push_back(leat::spawn([&, i]() -> task<> {
                    const context under = grow(round * 10 + i);
                    ++expected;
                    static_cast<void>(leat::after_func(under, [&] { ++ends; }));
                    auto wait = [&]() -> task<> { co_await leat::sleep_for(1h); };
                    const auto slept = co_await leat::as_result(leat::with_context(under, wait()));
                    CHECK(slept.error());
                }));
            co_await leat::sleep_for(std::chrono::microseconds{round * 10});
            the_cancel_root();
            for (auto& each : all)
                co_await each;
            while (ends != expected)
                co_await leat::this_task::yield();
        });
        outside.join();
    }
}

// ---- with_signals ----------------------------------------------------------------------------------

namespace {

int signal_of(const context& ctx)
{
    try {
        std::rethrow_exception(ctx.cause());
    } catch (const leat::signal_error& why) {
        return why.number();
    } catch (...) {
    }
    return 0;
}

enum class handling { by_default, ignored, own, other };

std::atomic<int> own_handler_calls{0};

void own_handler(int)
{
    ++own_handler_calls;
}

handling handling_of(int signal)
{
    struct sigaction now{};
    ::sigaction(signal, nullptr, &now);
    return now.sa_handler == SIG_DFL       ? handling::by_default
           : now.sa_handler == SIG_IGN     ? handling::ignored
           : now.sa_handler == own_handler ? handling::own
                                           : handling::other;
}

}  // namespace

TEST_CASE("with_signals: a signal ends the context, and the cause names it")
{
    leat::run(
        []() -> task<> {
            auto [ctx, cancel] = leat::with_signals(leat::this_task::context(), {SIGUSR1, SIGUSR2});
            CHECK(!ctx.cancelled());
            ::kill(::getpid(), SIGUSR2);
            co_await ctx.done();
            CHECK(ctx.error() == leat::errc::cancelled);
            CHECK(signal_of(ctx) == SIGUSR2);
            CHECK(cause_of(ctx) == "signal " + std::to_string(SIGUSR2) + " (User defined signal 2)");
            CHECK(!leat::this_task::context().cancelled());
        },
        {.workers = 2});
    CHECK(handling_of(SIGUSR1) == handling::by_default);
    CHECK(handling_of(SIGUSR2) == handling::by_default);
}

TEST_CASE("with_signals: a signal wakes a pool that sleeps in the reactor")
{
    for (const std::ptrdiff_t workers : {1, 2, 4}) {
        leat::runtime pool{{.workers = workers}};
        std::optional<cancellable_context> made;
        pool.block_on([&]() -> task<> {
            made.emplace(leat::with_signals(background(), {SIGUSR1}));
            co_return;
        });
        passages count;
        auto sleeper = pool.spawn([&] { return wait_for_end(count); }, {.context = made->first});
        while (count.entered == 0 || pool.metrics().queued != 0)
            std::this_thread::yield();
        ::raise(SIGUSR1);
        pool.block_on([&]() -> task<> { co_await sleeper; });
        CHECK(count.cancelled == 1);
        CHECK(signal_of(made->first) == SIGUSR1);
    }
}

TEST_CASE(
    "with_signals: signals after the first are swallowed until the canceller goes, then the old handling is back")
{
    struct sigaction mine{};
    struct sigaction before{};
    mine.sa_handler = own_handler;
    ::sigaction(SIGUSR1, &mine, &before);
    own_handler_calls = 0;
    leat::run(
        []() -> task<> {
            auto [ctx, cancel] = leat::with_signals(background(), {SIGUSR1});
            ::raise(SIGUSR1);
            co_await ctx.done();
            for (int i = 0; i < 10; ++i)
                ::raise(SIGUSR1);
            co_await leat::sleep_for(1ms);
            CHECK(own_handler_calls == 0);
            cancel();
            ::raise(SIGUSR1);
            CHECK(own_handler_calls == 0);
            cancel = canceller{};
            CHECK(handling_of(SIGUSR1) == handling::own);
            ::raise(SIGUSR1);
            CHECK(own_handler_calls == 1);
        },
        {.workers = 2});
    CHECK(handling_of(SIGUSR1) == handling::own);
    ::sigaction(SIGUSR1, &before, nullptr);
}

TEST_CASE("with_signals: several at once each hear the signal; the last to go puts the handling back")
{
    leat::run(
        []() -> task<> {
            auto first =
                std::make_unique<cancellable_context>(leat::with_signals(background(), {SIGUSR1, SIGUSR1}));
            auto [second, cancel] = leat::with_signals(background(), {SIGUSR1, SIGUSR2});
            auto [other, cancel_other] = leat::with_signals(background(), {SIGUSR2});
            ::raise(SIGUSR1);
            co_await first->first.done();
            co_await second.done();
            CHECK(!other.cancelled());
            first.reset();
            CHECK(handling_of(SIGUSR1) == handling::other);
            ::raise(SIGUSR1);
            cancel = canceller{};
            CHECK(handling_of(SIGUSR1) == handling::by_default);
            CHECK(handling_of(SIGUSR2) == handling::other);
            ::raise(SIGUSR2);
            co_await other.done();
        },
        {.workers = 1});
    CHECK(handling_of(SIGUSR2) == handling::by_default);
}

TEST_CASE("with_signals: the end of the parent is the end, and a parent that has ended is no matter")
{
    leat::run(
        []() -> task<> {
            auto [parent, cancel_parent] = with_cancel(background());
            auto [ctx, cancel] = leat::with_signals(parent, {SIGUSR1});
            cancel_parent(because("the parent"));
            CHECK(cause_of(ctx) == "the parent");
            auto [late, cancel_late] = leat::with_signals(parent, {SIGUSR1});
            CHECK(cause_of(late) == "the parent");
            ::raise(SIGUSR1);
            co_await leat::sleep_for(1ms);
            CHECK(cause_of(late) == "the parent");
        },
        {.workers = 1});
}

TEST_CASE("with_signals: one that is never sent neither keeps the runtime nor outlives it")
{
    std::optional<cancellable_context> made;
    leat::run(
        [&]() -> task<> {
            made.emplace(leat::with_signals(background(), {SIGUSR1}));
            auto [dropped, cancel] = leat::with_signals(leat::this_task::context(), {SIGUSR2});
            co_return;
        },
        {.workers = 2});
    CHECK(handling_of(SIGUSR1) == handling::by_default);
    CHECK(handling_of(SIGUSR2) == handling::by_default);
    CHECK(!made->first.cancelled());
    auto [child, cancel_child] = with_cancel(made->first);
    made.reset();
    CHECK(child.cancelled());
}

TEST_CASE("with_signals: waiting for a signal is no deadlock; waiting on when none can come is")
{
    std::optional<cancellable_context> made;
    leat::runtime pool{{.workers = 2}};
    std::thread sender;
    CHECK_THROWS_AS(pool.block_on([&]() -> task<> {
        made.emplace(leat::with_signals(background(), {SIGUSR1}));
        leat::channel<int> never;
        // Longer than a pool at rest waits before it looks for a deadlock.
        leat::spawn([]() -> task<> {
            co_await leat::sleep_for(60ms);
            ::raise(SIGUSR1);
        }).detach();
        co_await made->first.done();
        static_cast<void>(co_await never.recv());
    }),
                    leat::deadlock_error);
    CHECK(signal_of(made->first) == SIGUSR1);
}

TEST_CASE("with_signals: refused outside of a runtime, in a world, and for signals that can not be handled")
{
    CHECK_THROWS_AS(static_cast<void>(leat::with_signals(background(), {SIGUSR1})), leat::usage_error);
    {
        leat::sim::world world;
        CHECK_THROWS_AS(static_cast<void>(leat::with_signals(background(), {SIGUSR1})), leat::usage_error);
        world.run([]() -> task<> {
            CHECK_THROWS_AS(static_cast<void>(leat::with_signals(background(), {SIGUSR1})),
                            leat::usage_error);
            co_return;
        });
    }
    leat::run(
        []() -> task<> {
            for (const int wrong : {SIGKILL, SIGSTOP, 0, -1, 100'000}) {
                CAPTURE(wrong);
                CHECK_THROWS_AS(static_cast<void>(leat::with_signals(background(), {SIGUSR1, wrong})),
                                std::system_error);
                CHECK(handling_of(SIGUSR1) == handling::by_default);
            }
            auto [none, cancel] = leat::with_signals(background(), {});
            CHECK(!none.cancelled());
            co_return;
        },
        {.workers = 1});
}

TEST_CASE("with_signals: cancellers that go on other threads while signals arrive and the runtime ends")
{
    struct sigaction ignore{};
    struct sigaction before{};
    ignore.sa_handler = SIG_IGN;
    ::sigaction(SIGUSR1, &ignore, &before);
    for (std::size_t round = 0; round < scaled(100); ++round) {
        std::vector<cancellable_context> made;
        auto pool = std::make_unique<leat::runtime>(leat::runtime_options{.workers = 2});
        pool->block_on([&]() -> task<> {
            for (int i = 0; i < 4; ++i)
                made.push_back(leat::with_signals(background(), {SIGUSR1}));
            co_return;
        });
        // In between, the handling of asio's is replaced by the default, which would end the process: one stays.
        std::optional<cancellable_context> last{std::move(made.back())};
        made.pop_back();
        std::thread elsewhere{[&] {
            ::kill(::getpid(), SIGUSR1);
            made.clear();
        }};
        if (round % 2 == 0)
            ::kill(::getpid(), SIGUSR1);
        elsewhere.join();
        std::thread closer{[&] { last.reset(); }};
        pool.reset();
        closer.join();
        CHECK(handling_of(SIGUSR1) == handling::ignored);
    }
    ::sigaction(SIGUSR1, &before, nullptr);
}
