#pragma once

#include <leat/context.hpp>
#include <leat/detail/blocking_wait.hpp>
#include <leat/detail/callback.hpp>
#include <leat/detail/chrono.hpp>
#include <leat/detail/pointer.hpp>
#include <leat/spawn.hpp>
#include <leat/task.hpp>
#include <leat/this_task.hpp>

#include <cstddef>
#include <cstdint>
#include <exception>
#include <string>
#include <string_view>
#include <utility>

namespace leat {

/// A detached task that has failed.
struct unhandled_failure {
    std::exception_ptr thrown;
    std::string report;  ///< the exception, and the task's id, name and spawn place
};

struct runtime_options {
    /// Worker threads; zero: LEAT_WORKERS from the environment, else the container's CPU quota, else the
    /// cores. A value that is no positive number is an error.
    std::ptrdiff_t workers = 0;
    /// How long the end of the runtime waits for tasks that have been cancelled.
    std::chrono::nanoseconds grace = std::chrono::seconds{5};
    /// How many blocking() calls may run at a time. Threads are started on demand and end when idle.
    std::ptrdiff_t blocking_threads = 64;
    /// Told of detached tasks that fail. The default prints the report and terminates.
    detail::callback<void(const unhandled_failure&)> on_unhandled{};
    /// Told of tasks that are still there when the grace has passed: a list with their await chains. The
    /// default prints it.
    detail::callback<void(const std::string&)> on_stuck{};
    /// Whether run() and block_on() end with deadlock_error when no task can ever run again. Threads that are
    /// not the runtime's could still send to a channel, so nothing is reported while the process has any.
    bool detect_deadlock = true;
    /// A turn that is longer is reported, once: its task computes, or blocks the worker, without ever waiting.
    /// Zero: none is. Noticed by other workers, within a few milliseconds; so a single worker reports nothing.
    std::chrono::nanoseconds long_turn{};
    /// Told of such turns, on another worker: the task's id, name and spawn place, and how long it has been
    /// running. The default prints it.
    detail::callback<void(const std::string&)> on_long_turn{};
};

/// What a runtime has done and has to do. Counters are exact when it is idle, a little old otherwise.
struct runtime_metrics {
    std::size_t workers = 0;
    std::size_t live_tasks = 0;  ///< spawned and not ended
    std::uint64_t spawned = 0;
    std::uint64_t turns = 0;   ///< times that a task was resumed
    std::uint64_t steals = 0;  ///< tasks taken from another worker
    std::uint64_t sleeps = 0;  ///< times that a worker found nothing to do
    std::size_t queued = 0;    ///< tasks ready to run
    std::size_t armed_timers = 0;
    std::size_t blocking_threads = 0;  ///< threads that exist for blocking()
    std::size_t blocking_queued = 0;   ///< calls that wait for such a thread
};

namespace detail {
class pool;
[[noreturn]] void throw_deadlock(const std::string& report);
}  // namespace detail

/// A pool of worker threads that runs tasks, steals work between them, and waits for timers and I/O.
///
/// Threads  any, concurrently, except where it says otherwise.
class runtime {
public:
    using executor = leat::executor;

    /// Starts the workers. Errors: usage_error for options that make no sense; std::system_error if a thread
    /// or the reactor can not be had.
    runtime();
    explicit runtime(runtime_options options);
    runtime(const runtime&) = delete;
    runtime& operator=(const runtime&) = delete;
    /// stop().
    ~runtime();

    /// Runs a task (or what spawn() takes) on the pool, and blocks the calling thread until it has ended.
    ///
    /// Throws  what the task throws; deadlock_error if no task of the runtime can ever run again; usage_error
    ///         on a worker, which must not block.
    template <class W>
    decltype(auto) block_on(W&& what, detail::location place = detail::location::current())
    {
        refuse_worker("block_on");
        auto handle = spawn(std::forward<W>(what), {.name = "main"}, place);
        return wait(handle);
    }

    /// Starts a task on the pool from anywhere, under the root context unless the options name another. If the
    /// runtime has been stopped, the task is destroyed at once, and its handle gives errc::abandoned.
    template <class W>
        requires detail::spawnable_task<W&&> || detail::spawnable_callable<W>
    auto spawn(W&& what, const spawn_options& options = {},
               detail::location place = detail::location::current())
    {
        const detail::spawn_site where = site(options, place);
        return detail::launch(detail::prepare_spawn(where, std::forward<W>(what)), where.by);
    }

    executor get_executor() const noexcept;

    /// The context above all tasks that are not given another; ends when the runtime stops.
    leat::context context() const noexcept;

    /// Ends everything: cancels the root context, waits for the tasks up to the grace, reports those that are
    /// stuck, stops the workers, and destroys what is left, children before parents. Calls of blocking() that
    /// have begun are waited for. Idempotent. In a task or a call of blocking(), for which it would have to wait,
    /// it only cancels.
    void stop() noexcept;

    runtime_metrics metrics() const;

    // For the library.
    detail::pool& pool() const noexcept
    {
        return *pool_;
    }

private:
    void refuse_worker(const char* what) const;
    detail::spawn_site site(const spawn_options& options, detail::location place) const;
    /// Says that a thread now waits for the runtime to get something done; deadlocks are looked for only then.
    void enter_block_on() noexcept;
    /// Throws deadlock_error if there was one.
    void leave_block_on();

    template <class T>
    T wait(join_handle<T>& handle)
    {
        enter_block_on();
        result<T> got = [&] {
            auto joined = handle.join();
            return detail::wait_blocking_result(joined);
        }();
        leave_block_on();
        if constexpr (std::is_void_v<T>)
            got.value();
        else
            return std::move(got).value();
    }

    detail::owned<detail::pool> pool_;
};

/// Runs a task (or a callable that gives one) on a runtime of its own and returns its result.
///
/// When the task has ended, what it left behind is ended as by runtime::stop().
template <class W>
decltype(auto) run(W&& main, runtime_options options = {},
                   detail::location place = detail::location::current())
{
    runtime pool{std::move(options)};
    return pool.block_on(std::forward<W>(main), place);
}

}  // namespace leat
