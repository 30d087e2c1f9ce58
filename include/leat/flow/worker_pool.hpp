#pragma once

#include <leat/detail/blocking_wait.hpp>
#include <leat/detail/pointer.hpp>
#include <leat/detail/worker_pool_core.hpp>
#include <leat/group.hpp>
#include <leat/result.hpp>

#include <concepts>
#include <cstddef>
#include <type_traits>
#include <utility>

namespace leat {

/// The one who waits for a job of a worker_pool, if anybody does.
///
/// Awaiting it gives what the job's function gives, or throws what that has thrown; once. It is a case for select.
/// Dropping it lets the job go on alone: if that fails and nobody has seen it, a worker throws it, and with that the
/// group fails; once the group has ended nobody is told.
///
/// A job that is cancelled while it is queued leaves the queue and never runs; one that runs is told by its context.
///
/// Errors  usage_error: the handle is empty, or was awaited before. cancelled_error: the job was cancelled, or not begun
///         before the pool ended.
/// Cancel  cancelling the waiter leaves the job as it is; the handle can be awaited again.
/// Threads one thread at a time for the handle; cancel() from any.
template <class T = void>
class job_handle : public detail::joinable_handle<detail::typed_job<T>> {
public:
    using detail::joinable_handle<detail::typed_job<T>>::joinable_handle;
};

/// A fixed or elastic number of workers who share one bounded queue of jobs.
///
///     co_await leat::with_group([&](leat::task_group& group) -> leat::task<> {
///         leat::worker_pool pool{group, {.workers = 4, .queue = 100}};
///         auto answer = co_await pool.submit(question);     // waits for a place in the queue
///         use(co_await answer);                             // waits for the job
///     });                                                   // every job has ended
///
/// The workers are tasks of the group: they run on its executor, and jobs under contexts below its own. When the pool is
/// destroyed or closed, they do what is queued, and end; so nothing that was submitted is lost. If the group is cancelled
/// or fails, what is queued ends as cancelled.
///
/// Priorities are strict: as long as one of a higher priority is queued, none of a lower is begun.
///
/// Life     not to be kept beyond the group's body. Threads: any, concurrently.
/// Cost     a job is an allocation from the frame pool, a coroutine two, beside what its function takes.
class worker_pool {
public:
    /// Throws  usage_error: no workers, or a group that has no place for one; std::bad_alloc.
    explicit worker_pool(task_group& group, const worker_pool_options& options = {});
    worker_pool(const worker_pool&) = delete;
    worker_pool& operator=(const worker_pool&) = delete;
    /// Closes it. Does not wait: the group does.
    ~worker_pool()
    {
        close();
    }

    /// Hands in a function, plain or a coroutine, to be run by a worker; waits while the queue is full.
    ///
    /// A worker who has nothing to do begins at once; if there is none, and there may be more, another is started.
    ///
    /// Result   a handle: the wait for the job's result, and the right to cancel it.
    /// Throws   channel_closed_error: the pool is closed; cancelled_error, timed_out_error: the task's context ended first;
    ///          std::bad_alloc.
    /// Cancel   safe: a submission that is cancelled has submitted nothing, and the function is destroyed. A case for
    ///          select.
    /// Life     until it is awaited, what it gives refers to the pool, which has to be there.
    template <class F>
        requires std::invocable<std::decay_t<F>&>
    [[nodiscard]] auto submit(F&& f, const job_options& options = {})
    {
        using function = std::decay_t<F>;
        return detail::submit_operation<detail::result_of<function>, function>{*core_, options.priority,
                                                                               function(std::forward<F>(f))};
    }

    /// The same for a task. One whose submission is refused, or cancelled, is destroyed.
    template <class T>
    [[nodiscard]] auto submit(task<T>&& what, const job_options& options = {})
    {
        return submit(detail::made_task<T>{std::move(what)}, options);
    }

    /// The same without waiting.
    ///
    /// Result   the handle, or an error of errc::rejected if the queue is full, errc::channel_closed if the pool is closed.
    /// Throws   std::bad_alloc.
    template <class F>
        requires std::invocable<std::decay_t<F>&>
    auto try_submit(F&& f, const job_options& options = {})
        -> result<job_handle<detail::result_of<std::decay_t<F>>>>
    {
        auto op = submit(std::forward<F>(f), options);
        if (!detail::complete_now(op))
            return errc::rejected;
        if (op.error())
            return op.error();
        return op.value();
    }

    template <class T>
    auto try_submit(task<T>&& what, const job_options& options = {}) -> result<job_handle<T>>
    {
        return try_submit(detail::made_task<T>{std::move(what)}, options);
    }

    /// Waits until there is a moment at which no job is queued or running, and nobody waits to submit one.
    ///
    /// Throws   cancelled_error, timed_out_error: the task's context ended first. A case for select.
    [[nodiscard]] detail::drain_operation drain() const noexcept
    {
        return detail::drain_operation{core_};
    }

    /// No more jobs: what is queued is done, and then the workers end. Whoever waits to submit one is woken with
    /// channel_closed_error. Idempotent.
    void close() noexcept
    {
        core_->close();
    }
    /// The same, but what is queued ends as cancelled at once, and what is running is cancelled. Idempotent.
    void stop() noexcept
    {
        core_->stop();
    }

    worker_pool_stats stats() const noexcept
    {
        return core_->stats();
    }

private:
    const detail::shared<detail::worker_pool_core> core_;
};

}  // namespace leat
