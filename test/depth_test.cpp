// Depth and number: neither the stack nor the memory of a program grows with how much of it there is.
#include <leat/leat.hpp>

#include "support/rounds.hpp"
#include "support/scale.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <ostream>
#include <thread>
#include <utility>
#include <vector>

#include <unistd.h>

using namespace std::chrono_literals;
using leat::task;

namespace {

/// The stack between the highest and the lowest place it was asked from, on one thread.
class stack_use {
public:
    [[gnu::noinline]] void note() noexcept
    {
        const auto here = reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0));
        low_ = std::min(low_, here);
        high_ = std::max(high_, here);
    }
    std::size_t bytes() const noexcept
    {
        return high_ - low_;
    }

private:
    std::uintptr_t low_ = UINTPTR_MAX;
    std::uintptr_t high_ = 0;
};

// A few frames of a scheduler, unoptimised and instrumented; nowhere near a frame for each step.
constexpr std::size_t shallow = 16 * 1024;

/// What the process holds in memory.
std::size_t resident()
{
    long pages = 0;
    if (std::FILE* const file = std::fopen("/proc/self/statm", "r")) {
        long all = 0;
        if (std::fscanf(file, "%ld %ld", &all, &pages) != 2)
            pages = 0;
        std::fclose(file);
    }
    return static_cast<std::size_t>(pages) * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
}

/// How many tasks are parked in receives from a channel, at one moment.
template <class T>
std::size_t parked_at(const leat::channel<T>& gate)
{
    auto* const core = leat::detail::channel_access::core(gate);
    const leat::detail::spin_guard hold{core->lock};
    std::size_t count = 0;
    for (const leat::detail::waiter* each = core->receivers.front(); each != nullptr; each = each->next)
        ++count;
    return count;
}

task<int> leaf(stack_use& stack, int n)
{
    stack.note();
    co_return n;
}

}  // namespace

TEST_CASE("depth: two million ready awaits do not grow the stack")
{
    const int count = test::rounds(2'000'000);
    const auto loop = [&](stack_use& stack) -> task<long> {
        long sum = 0;
        for (int i = 0; i < count; ++i)
            sum += co_await leaf(stack, 1);
        co_return sum;
    };
    stack_use on_pool;
    CHECK(leat::run(loop(on_pool), {.workers = 1}) == count);
    CHECK(on_pool.bytes() < shallow);
    stack_use in_world;
    leat::sim::world world;
    CHECK(world.run(loop(in_world)) == count);
    CHECK(in_world.bytes() < shallow);
}

TEST_CASE("depth: two million ready channel operations do not grow the stack")
{
    const int count = test::rounds(1'000'000);
    stack_use stack;
    leat::run(
        [&]() -> task<> {
            leat::channel<int> buffer{1};
            for (int i = 0; i < count; ++i) {
                co_await buffer.send(i);
                static_cast<void>(co_await buffer.recv());
                stack.note();
            }
        },
        {.workers = 1});
    CHECK(stack.bytes() < shallow);
}

TEST_CASE(
    "depth: a chain of a million tasks, each of which joins the next, comes down without growing the stack")
{
    const int count = test::rounds(1'000'000);
    stack_use stack;
    const int got = leat::run(
        [&]() -> task<int> {
            auto link = [&stack](leat::join_handle<int> next) -> task<int> {
                const int below = next ? co_await next : 0;
                stack.note();
                co_return below + 1;
            };
            leat::channel<void> go;
            auto first = [&]() -> task<int> {
                static_cast<void>(co_await go.recv());
                stack.note();
                co_return 1;
            };
            leat::join_handle<int> last = leat::spawn(first());
            for (int i = 1; i < count; ++i)
                last = leat::spawn(link(std::move(last)));
            co_await leat::this_task::yield();
            co_await go.send();
            co_return co_await last;
        },
        {.workers = 1});
    CHECK(got == count);
    CHECK(stack.bytes() < shallow);
}

TEST_CASE("depth: a value relayed through a hundred thousand channels does not grow the stack")
{
    const int count = test::rounds(100'000);
    stack_use stack;
    const int got = leat::run(
        [&]() -> task<int> {
            leat::channel<int> first;
            leat::channel<int> from = first;
            co_return co_await leat::with_group([&](leat::task_group& group) -> task<int> {
                for (int i = 0; i < count; ++i) {
                    leat::channel<int> to;
                    auto relay = [](stack_use& use, leat::channel<int> in, leat::channel<int> out) -> task<> {
                        auto value = co_await in.recv();
                        use.note();
                        co_await out.send(*value + 1);
                    };
                    co_await group.spawn(relay(stack, from, to));
                    from = to;
                }
                co_await first.send(0);
                auto value = co_await from.recv();
                co_return *value;
            });
        },
        {.workers = 1});
    CHECK(got == count);
    CHECK(stack.bytes() < shallow);
}

TEST_CASE("depth: awaits nested a hundred thousand deep return, and throw, without growing the stack")
{
    struct deep {
        static task<int> down(int n, bool fail, stack_use& stack)
        {
            int below = 0;
            if (n > 0)
                below = co_await down(n - 1, fail, stack);
            else if (fail)
                throw 7;
            stack.note();
            co_return below + 1;
        }
    };
    const int count = test::rounds(100'000);
    stack_use stack;
    CHECK(leat::run(deep::down(count, false, stack), {.workers = 1}) == count + 1);
    CHECK_THROWS_AS(static_cast<void>(leat::run(deep::down(count / 10, true, stack), {.workers = 1})), int);
    CHECK(stack.bytes() < shallow);
}

TEST_CASE(
    "depth: a million tasks parked at once, time and again, are woken and end; each time their memory goes back")
{
    const auto count = static_cast<std::size_t>(test::rounds(1'000'000));
    for (const int workers : {2, 4}) {
        CAPTURE(workers);
        leat::runtime pool{{.workers = workers}};
        std::atomic<std::size_t> woken{0};
        const auto crowd = [&](std::size_t size) {
            pool.block_on([&]() -> task<> {
                leat::channel<void> gate;
                std::atomic<std::size_t> ready{0};
                const std::size_t before_burst = woken;
                // A thread for blocking calls is there meanwhile, and stays for a while.
                co_await leat::blocking([] {});
                co_await leat::with_group([&](leat::task_group& group) -> task<> {
                    for (std::size_t i = 0; i < size; ++i)
                        co_await group.spawn([&]() -> task<> {
                            ++ready;
                            static_cast<void>(co_await gate.recv());
                            ++woken;
                        });
                    while (ready != size || parked_at(gate) != size)
                        co_await leat::this_task::yield();
                    CHECK(woken == before_burst);
                    gate.close();
                });
            });
        };
        crowd(1000);
        const std::size_t before = resident();
        // What recurs without a rest between, the frame pool learns to keep.
        for (const int bursts : {1, 3}) {
            CAPTURE(bursts);
            woken = 0;
            for (int i = 0; i < bursts; ++i)
                crowd(count);
            CHECK(woken == count * static_cast<std::size_t>(bursts));
            CHECK(pool.metrics().live_tasks == 0);
            if (!leat::detail::frames_are_cached())
                continue;
            // The caches are given back by the workers once they have been idle for a while.
            std::size_t after = resident();
            for (const auto until = std::chrono::steady_clock::now() + 5s;
                 after > before + before / 10 && std::chrono::steady_clock::now() < until; after = resident())
                std::this_thread::sleep_for(5ms);
            MESSAGE("resident before: " << before / 1024 << " KiB, after: " << after / 1024 << " KiB");
            CHECK(after <= before + before / 10);
        }
    }
}

TEST_CASE("depth: a hundred thousand tasks parked at once are cancelled, and end")
{
    const std::size_t count = test::scaled(100'000);
    leat::runtime pool{{.workers = 2}};
    std::atomic<std::size_t> told{0};
    pool.block_on([&]() -> task<> {
        leat::channel<int> never;
        std::atomic<std::size_t> ready{0};
        co_await leat::with_group([&](leat::task_group& group) -> task<> {
            for (std::size_t i = 0; i < count; ++i)
                co_await group.spawn([&]() -> task<> {
                    ++ready;
                    auto got = co_await leat::as_result(never.recv());
                    told += got.error() == leat::errc::cancelled;
                });
            while (ready != count || parked_at(never) != count)
                co_await leat::this_task::yield();
            CHECK(told == 0);
            group.cancel();
        });
    });
    CHECK(told == count);
}
