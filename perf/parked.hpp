// Many tasks that wait, for measurements of what waiting costs.
#pragma once

#include <leat/leat.hpp>

#include <atomic>
#include <chrono>
#include <cstdint>

namespace perf {

using arrivals = std::atomic<std::int64_t>;

/// Waits until that many tasks have said that they are about to wait, and a moment more: then they do.
inline leat::task<> all_parked(const arrivals& arrived, std::int64_t tasks)
{
    using namespace std::chrono_literals;
    while (arrived.load() < tasks)
        co_await leat::sleep_for(1ms);
    co_await leat::sleep_for(50ms);
}

/// Waits until the channel is closed.
inline leat::task<> park(leat::receiver<std::int64_t> never, arrivals& arrived)
{
    arrived.fetch_add(1, std::memory_order_relaxed);
    while (const auto got = co_await never.recv())
        static_cast<void>(got);
}

/// Calls `body`, a coroutine, while that many tasks wait to receive from one channel.
template <class Body>
leat::task<> while_parked(std::int64_t tasks, Body body)
{
    leat::channel<std::int64_t> never;
    arrivals arrived{0};
    auto inner = [&](leat::task_group& group) -> leat::task<> {
        for (std::int64_t i = 0; i < tasks; ++i)
            co_await group.spawn(park(never, arrived));
        co_await all_parked(arrived, tasks);
        co_await body();
        never.close();
    };
    co_await leat::with_group([&](leat::task_group& group) { return inner(group); });
}

}  // namespace perf
