// A scheduler of roots that stand for something else than a task: being made ready is all that happens to them.
#pragma once

#include <leat/detail/park.hpp>

#include <chrono>
#include <exception>

namespace leat::detail {

class bare_scheduler : public scheduler {
public:
    void ready_later(task_root& root, turn* by) noexcept final
    {
        ready(root, by);
    }
    void task_created(turn*) noexcept final
    {
    }
    void task_ended(turn*) noexcept final
    {
    }
    std::int64_t now() noexcept final
    {
        return std::chrono::duration_cast<std::chrono::nanoseconds>(
                   std::chrono::steady_clock::now().time_since_epoch())
            .count();
    }
    timer_shard& timers(turn*) noexcept final
    {
        std::terminate();
    }
    void timer_armed(timer_shard&, std::int64_t, turn*) noexcept final
    {
    }
    blocking_queue& blocking() noexcept final
    {
        std::terminate();
    }
    void unhandled(task_root&, std::exception_ptr) noexcept final
    {
    }
    std::uint32_t choose(std::uint32_t) noexcept final
    {
        return 0;
    }
    std::uint64_t new_id(turn*, std::uint64_t) noexcept final
    {
        return 0;
    }
};

}  // namespace leat::detail
