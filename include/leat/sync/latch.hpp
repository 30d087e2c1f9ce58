#pragma once

#include <leat/detail/atomic.hpp>
#include <leat/detail/blocking_wait.hpp>
#include <leat/detail/operation.hpp>
#include <leat/detail/waiting_room.hpp>

#include <concepts>
#include <cstddef>

namespace leat {

/// Counts down once: tasks wait until as many things have happened as were expected.
///
/// Threads  any, concurrently; also threads of no runtime, through count_down() and blocking_wait().
/// Life     may be destroyed as soon as the last wait on it has returned, even if the count_down() that let it return
///          has not; while a task waits for it, that is an error, and the wait throws usage_error.
class latch {
public:
    /// Throws usage_error if `expected` is negative, or absurd.
    template <std::integral N>
    explicit latch(N expected) : expected_{detail::count_of(expected)}
    {
    }
    latch(const latch&) = delete;
    latch& operator=(const latch&) = delete;

    /// Lets everybody go on who waits, if this is the last. What was written before is seen by them.
    ///
    /// Throws  usage_error: `n` is negative, or more than is expected; nothing has been counted then.
    /// Cost    one atomic operation; the last one a short lock, with many waiters one for each few of them.
    void count_down(std::ptrdiff_t n = 1);

    /// Whether nothing is expected any more.
    [[nodiscard]] bool try_wait() const noexcept
    {
        return expected_.load(std::memory_order_acquire) == 0;
    }

    /// Waits until nothing is expected any more.
    ///
    /// Throws   cancelled_error, timed_out_error: the task's context ended first.
    /// Cancel   safe: the latch is as it was.
    /// Threads  any thread, concurrently with every other member.
    /// Cost     no lock if nothing is expected; no allocation.
    [[nodiscard]] detail::room_operation<latch> wait() noexcept
    {
        return detail::room_operation<latch>{*this};
    }

    /// count_down(n), at once, and wait().
    ///
    /// Throws   as both do.
    /// Cancel   what was counted stays counted: it is done by the call, not by awaiting it.
    [[nodiscard]] detail::room_operation<latch> arrive_and_wait(std::ptrdiff_t n = 1)
    {
        count_down(n);
        return wait();
    }

    /// wait() for a thread that is no worker: blocks the thread. Throws usage_error in a task.
    void blocking_wait()
    {
        detail::wait_blocking(wait());
    }

private:
    friend class detail::room_operation<latch>;
    static constexpr const char* waits_for = "latch";

    bool try_pass() const noexcept
    {
        return try_wait();
    }

    detail::waiting_room room_;
    detail::atomic<std::ptrdiff_t> expected_;
};

}  // namespace leat
