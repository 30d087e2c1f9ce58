// Tasks that are forked: unsettled until they look at their context, their owners unknown until then.
#include <leat/asio/spawn.hpp>
#include <leat/leat.hpp>

#include "support/scale.hpp"

#include <leat/detail/frame_pool.hpp>

#include <asio/detached.hpp>
#include <asio/io_context.hpp>
#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

using namespace std::chrono_literals;
using leat::task;

namespace {

task<int> leaf(int n)
{
    co_return n;
}

task<int> sum_of_tree(int depth)
{
    if (depth == 0)
        co_return 1;
    const auto [a, b] = co_await leat::when_all(sum_of_tree(depth - 1), sum_of_tree(depth - 1));
    co_return a + b;
}

/// Forks down to a depth, and waits there.
task<int> wait_below(int depth, leat::receiver<int> from)
{
    if (depth == 0) {
        const std::optional<int> got = co_await from.recv();
        co_return got ? *got : 0;
    }
    const auto [a, b] = co_await leat::when_all(wait_below(depth - 1, from), leaf(1));
    co_return a + b;
}

task<> fail_when_told(leat::receiver<int> from)
{
    [[maybe_unused]] const auto got = co_await from.recv();
    throw std::runtime_error{"told to fail"};
}

}  // namespace

TEST_CASE("fork: a tree of forks on one worker and on several")
{
    for (const int workers : {1, 2, 4}) {
        leat::runtime pool{{.workers = workers}};
        for (int round = 0; round < 20; ++round)
            CHECK(pool.block_on(sum_of_tree(9)) == 1 << 9);
    }
}

TEST_CASE("fork: a failure reaches what waits, however many forks below")
{
    leat::sim::world world;
    leat::channel<int> never, tell{1};
    world.run([&]() -> task<> {
        co_await tell.send(1);
        bool failed = false;
        try {
            co_await leat::when_all(wait_below(20, never), fail_when_told(tell));
        } catch (const std::runtime_error&) {
            failed = true;
        }
        CHECK(failed);
    });
    CHECK(world.live_tasks() == 0);
}

TEST_CASE("fork: a task that first looks at its context after the scope was cancelled finds it cancelled")
{
    // One never waits, the other computes and only then receives: cancelled if it runs after the first has won.
    bool both_orders[2] = {false, false};
    for (std::uint64_t seed = 1; seed <= 32; ++seed) {
        leat::sim::world world{seed};
        world.run([&]() -> task<> {
            leat::channel<int> full{1};
            co_await full.send(1);
            bool won = false, late_has_won = false;
            auto late = [&]() -> task<int> {
                const bool beaten = won;
                const auto got = co_await leat::as_result(full.recv());
                CHECK((got.error() == leat::errc::cancelled) == beaten);
                CHECK(full.size() == (beaten ? 1U : 0U));
                late_has_won = !beaten;
                co_return 2;
            };
            auto winner = [&]() -> task<int> {
                won = true;
                co_return 1;
            };
            const auto first = co_await leat::when_any(winner(), late());
            CHECK(first.index == (late_has_won ? 1U : 0U));
            both_orders[first.index] = true;
        });
    }
    CHECK(both_orders[0]);
    CHECK(both_orders[1]);
}

TEST_CASE("fork: cancelling the owner's handle reaches forked tasks that look later, and none under a shield")
{
    leat::sim::world world;
    world.run([&]() -> task<> {
        leat::channel<int> gate, never;
        bool started = false;
        int cancelled = 0, shielded = 0;
        auto child = [&](int) -> task<> {
            started = true;
            const auto got = co_await leat::as_result(never.recv());
            cancelled += got.error() == leat::errc::cancelled;
        };
        auto owner = [&]() -> task<> { co_await leat::when_all(child(1), child(2)); };
        auto handle = leat::spawn(owner);
        handle.cancel();  // before it has begun
        const auto ended = co_await leat::as_result(handle);
        CHECK(ended.has_value());
        CHECK(started);
        CHECK(cancelled == 2);

        auto deaf = [&](int) -> task<> {
            co_await leat::this_task::yield();
            co_await leat::this_task::yield();
            ++shielded;
        };
        auto under = [&]() -> task<> { co_await leat::shield(1h, leat::when_all(deaf(1), deaf(2))); };
        auto second = leat::spawn(under);
        co_await leat::this_task::yield();
        second.cancel();
        static_cast<void>(co_await leat::as_result(second));
        CHECK(shielded == 2);
    });
}

TEST_CASE("fork: a cancellation that nobody ordered is a failure, of a task without a context, too")
{
    leat::sim::world world;
    auto gives_up = []() -> task<int> {
        throw leat::cancelled_error{};
        co_return 0;
    };
    world.run([&]() -> task<> {
        bool failed = false;
        try {
            co_await leat::when_all(gives_up(), leaf(1));
        } catch (const leat::cancelled_error&) {
            failed = true;
        }
        CHECK(failed);
    });
}

TEST_CASE("fork: what a forked task leaves behind under its context is cancelled when the scope ends")
{
    leat::sim::world world;
    world.run([&]() -> task<> {
        leat::channel<int> never;
        bool cancelled = false;
        auto stays = [&]() -> task<> {
            const auto got = co_await leat::as_result(never.recv());
            cancelled = got.error() == leat::errc::cancelled;
        };
        auto parent = [&]() -> task<> {
            leat::spawn(stays).detach();
            co_return;
        };
        co_await leat::when_all(parent(), leaf(1));
        co_await leat::this_task::yield();
        co_await leat::sleep_for(1ms);
        CHECK(cancelled);
    });
}

TEST_CASE("fork: the ids of forked tasks grow from owner to child, and differ")
{
    leat::sim::world world;
    world.run([&]() -> task<> {
        auto id = []() -> task<std::uint64_t> { co_return leat::this_task::id(); };
        const auto [a, b] = co_await leat::when_all(id(), id());
        CHECK(a != b);
        CHECK(a > leat::this_task::id());
        CHECK(b > leat::this_task::id());
    });
}

TEST_CASE("fork: a report has every owner above a task that waits")
{
    leat::sim::world world;
    leat::channel<int> never{0};
    constexpr int depth = 5;
    const auto handle = world.spawn(wait_below(depth, never));
    world.settle();
    CHECK(leat::inspect::tasks(world.get_executor()).size() == depth + 1);
    for (const auto& each : leat::inspect::tasks(world.get_executor())) {
        CHECK(each.parked);
        CHECK(!each.chain.empty());
    }
    CHECK(handle.id() == leat::inspect::tasks(world.get_executor()).front().id);
    never.close();
    world.settle();
    CHECK(world.live_tasks() == 0);
}

TEST_CASE("fork: a world that ends anywhere destroys forked tasks before their owners")
{
    // A child refers to what lies in its owner's frame.
    static int alive = 0;
    struct looks {
        const std::unique_ptr<int>& at;
        explicit looks(const std::unique_ptr<int>& of) : at{of}
        {
            ++alive;
        }
        looks(const looks&) = delete;
        ~looks()
        {
            --alive;
            CHECK(*at == 7);
        }
    };
    auto child = [](const std::unique_ptr<int>& of, leat::channel<int> never, bool waits) -> task<> {
        const looks here{of};
        if (waits)
            static_cast<void>(co_await never.recv());
        co_return;
    };
    auto owner = [&](int levels, leat::channel<int> never, auto& self) -> task<> {
        const auto own = std::make_unique<int>(7);
        if (levels == 0)
            co_return;
        co_await leat::when_all(child(own, never, false), child(own, never, true),
                                self(levels - 1, never, self), child(own, never, false));
    };
    for (std::size_t steps = 0; steps < 60; ++steps) {
        {
            const leat::channel<int> never;
            auto deaf = [&]() -> task<> {
                co_await leat::with_context(leat::background(), owner(4, never, owner));
            };
            leat::sim::world world{steps + 1};
            world.spawn(deaf()).detach();
            for (std::size_t i = 0; i < steps; ++i)
                if (!world.step())
                    break;
        }
        CHECK(alive == 0);
    }
}

TEST_CASE("fork: a runtime that ends in the middle of a tree leaves nothing behind")
{
    std::atomic<int> frames{0};
    struct counts {
        std::atomic<int>& of;
        explicit counts(std::atomic<int>& n) : of{n}
        {
            ++of;
        }
        counts(const counts&) = delete;
        ~counts()
        {
            --of;
        }
    };
    auto grow = [&](int depth, auto& self) -> task<int> {
        const counts here{frames};
        if (depth == 0)
            co_return 1;
        const auto [a, b] = co_await leat::when_all(self(depth - 1, self), self(depth - 1, self));
        co_return a + b;
    };
    for (std::size_t round = 0; round < test::scaled(60); ++round) {
        leat::runtime pool{{.workers = 2, .grace = 0ms, .on_stuck = [](std::string_view) {}}};
        pool.spawn(grow(40, grow)).detach();
        std::this_thread::sleep_for(std::chrono::microseconds{20 * round});
        pool.stop();
        CHECK(frames == 0);
    }
}

TEST_CASE("fork: an io_context that goes in the middle of a tree leaves nothing behind")
{
    int frames = 0;
    struct counts {
        int& of;
        explicit counts(int& n) : of{n}
        {
            ++of;
        }
        counts(const counts&) = delete;
        ~counts()
        {
            --of;
        }
    };
    auto grow = [&](int depth, auto& self) -> task<int> {
        const counts here{frames};
        if (depth == 0)
            co_return 1;
        const auto [a, b] = co_await leat::when_all(self(depth - 1, self), self(depth - 1, self));
        co_return a + b;
    };
    for (int drains = 0; drains < 20; ++drains) {
        {
            asio::io_context io;
            leat::spawn(io.get_executor(), grow(40, grow), asio::detached);
            for (int i = 0; i < drains; ++i)
                io.poll_one();
        }
        CHECK(frames == 0);
    }
}

TEST_CASE("fork: a forked task that moves to another runtime is waited for")
{
    leat::runtime here{{.workers = 2}};
    leat::runtime there{{.workers = 2}};
    auto moves = [&](int n) -> task<int> {
        co_await leat::this_task::resume_on(there.get_executor());
        co_return n;
    };
    for (std::size_t round = 0; round < test::scaled(1000); ++round) {
        const auto sum = here.block_on([&]() -> task<int> {
            const auto [a, b, c] = co_await leat::when_all(moves(1), leaf(2), moves(3));
            CHECK(leat::this_task::executor() == here.get_executor());
            co_return a + b + c;
        });
        CHECK(sum == 6);
    }
}

TEST_CASE("fork: without memory for its context a task fails, and with it the scope, and nothing leaks")
{
    leat::sim::world world;
    const leat::channel<int> never;
    for (std::size_t after = 0; after < 12; ++after) {
        world.run([&]() -> task<> {
            auto starved = [&]() -> task<> {
                leat::detail::fail_next_frames(1, after);
                const auto got = co_await leat::as_result(leat::timeout(1ms, never.recv()));
                leat::detail::fail_next_frames(0);
                CHECK(!got.has_value());
            };
            try {
                co_await leat::when_all(starved(), leat::sleep_for(1ms));
            } catch (const std::bad_alloc&) {
            }
            leat::detail::fail_next_frames(0);
        });
        CHECK(world.live_tasks() == 0);
    }
}

TEST_CASE("fork: on the pool, deep and wide trees whose leaves wait, cancelled from outside")
{
    leat::runtime pool{{.workers = 4}};
    for (std::size_t round = 0; round < test::scaled(200); ++round) {
        const leat::channel<int> never;
        std::atomic<int> ended{0};
        auto tree = [&](int depth, auto& self) -> task<> {
            if (depth == 0) {
                const auto got = co_await leat::as_result(never.recv());
                ended += got.error() == leat::errc::cancelled;
                co_return;
            }
            co_await leat::when_all(self(depth - 1, self), self(depth - 1, self), self(depth - 1, self));
        };
        auto handle = pool.spawn(tree(4, tree));
        std::this_thread::sleep_for(std::chrono::microseconds{20 * round});
        handle.cancel();
        pool.block_on([&]() -> task<> { static_cast<void>(co_await leat::as_result(handle)); });
        CHECK(ended == 81);
    }
}
