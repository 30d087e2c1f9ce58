#pragma once

#include <leat/detail/atomic.hpp>
#include <leat/detail/call.hpp>
#include <leat/sync/semaphore.hpp>
#include <leat/time.hpp>

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <utility>

namespace leat {

struct bulkhead_options {
    std::ptrdiff_t concurrent = 16;                     ///< how many calls run at a time
    std::size_t queue = 0;                              ///< how many more may wait for their turn
    clock::duration max_wait = clock::duration::max();  ///< for how long
};

/// Keeps one part of a program from using up what others need: so many calls run at a time, so many wait for so long, and
/// the rest is refused at once.
///
/// Threads  any tasks, concurrently.
/// Life     to stay as long as its calls.
class bulkhead {
public:
    /// Throws  usage_error: a number of calls that is not positive, or absurd.
    explicit bulkhead(const bulkhead_options& options = {});
    bulkhead(const bulkhead&) = delete;
    bulkhead& operator=(const bulkhead&) = delete;

    /// Runs a function, plain or a coroutine, when it is its turn.
    ///
    /// Throws   rejected_error: all places are taken, and those in the queue too, or the wait was too long; the function
    ///          has not been called. What the function throws; cancelled_error, timed_out_error: the task's context ended
    ///          first.
    /// Cancel   also while it waits, which then keeps nobody waiting.
    /// Cost     a frame, and what an acquire of a semaphore costs.
    template <class F>
        requires std::invocable<std::decay_t<F>&>
    [[nodiscard]] auto run(F&& f) -> task<detail::result_of<std::decay_t<F>>>
    {
        using function = std::decay_t<F>;
        return run_in<detail::result_of<function>, function>(*this, std::forward<F>(f));
    }

    /// Takes a place if one is free and nobody waits.
    ///
    /// Result   the place, which is false if there is none; it is given back when it is destroyed.
    /// Threads  any, also those of no runtime.
    [[nodiscard]] semaphore_permit try_enter()
    {
        if (places_.try_acquire(1) || places_.try_acquire_slowly(1))
            return {places_, 1};
        return {};
    }
    /// Takes a place, after waiting for it if that is allowed. Throws as run() does.
    [[nodiscard]] task<semaphore_permit> enter();

    /// How many places are free.
    std::ptrdiff_t available() const noexcept
    {
        return static_cast<std::ptrdiff_t>(places_.available());
    }
    /// How many wait for one.
    std::size_t waiting() const noexcept
    {
        return places_.waiting();
    }
    /// How many calls have been refused.
    std::uint64_t rejected() const noexcept
    {
        return rejected_.load(std::memory_order_relaxed);
    }

private:
    template <class T, class F>
    static task<T> run_in(bulkhead& in, F f)
    {
        const semaphore_permit place = co_await in.enter();
        co_return co_await detail::call_as_task(f);
    }

    const std::size_t queue_;
    const clock::duration max_wait_;
    detail::semaphore_core places_;
    detail::atomic<std::uint64_t> rejected_{0};
};

}  // namespace leat
