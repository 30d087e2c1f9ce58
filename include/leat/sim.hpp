#pragma once

#include <leat/detail/callback.hpp>
#include <leat/detail/chrono.hpp>
#include <leat/detail/pointer.hpp>
#include <leat/runtime.hpp>
#include <leat/spawn.hpp>
#include <leat/task.hpp>
#include <leat/time.hpp>

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace leat::detail {
class sim_scheduler;
}

namespace leat::sim {

/// A place for tests: one thread, a virtual clock that moves only when every task waits, and an order of
/// events that a seed decides. What happened once happens again with the same seed.
///
/// Calls of blocking() run at once, on the world's thread. There are no sockets and no signals.
///
/// Threads  one: that which made it. Contexts and timers made on that thread outside of tasks use the world's
///          clock.
class world {
public:
    /// The seed comes from LEAT_SEED in the environment, else it is drawn.
    world();
    explicit world(std::uint64_t seed);
    world(const world&) = delete;
    world& operator=(const world&) = delete;
    /// Cancels what is left, lets it end, and destroys what does not. Left by an exception, it prints its seed.
    ~world();

    /// Runs the world until the task has ended; other tasks may be left.
    ///
    /// Throws  what the task throws; deadlock_error, with the seed and every parked task, if it can never end;
    ///         what a detached task threw.
    template <class W>
    decltype(auto) run(W&& main, detail::location place = detail::location::current())
    {
        auto handle = spawn(std::forward<W>(main), {.name = "main"}, place);
        drive(handle);
        auto joined = handle.join();
        return joined.value();
    }

    /// Starts a task. It does nothing before the world is stepped or run.
    template <class W>
        requires detail::spawnable_task<W&&> || detail::spawnable_callable<W>
    auto spawn(W&& what, const spawn_options& options = {},
               detail::location place = detail::location::current())
    {
        const detail::spawn_site where = site(options, place);
        return detail::launch(detail::prepare_spawn(where, std::forward<W>(what)), where.by);
    }

    /// One turn of one ready task, the seed choosing which; or, if none is ready, the clock moves to the next
    /// timer. False if neither is to be had. Throws what a detached task threw; so do the next two.
    bool step();
    /// Turns until no task is ready. The clock stands still.
    void settle();
    /// Moves the clock, and runs all that becomes ready on the way. Throws usage_error for a negative span.
    void advance(clock::duration by);

    /// The virtual time since the world was made.
    clock::duration now() const noexcept;
    /// Tasks that have been spawned and have not ended.
    std::size_t live_tasks() const noexcept;
    /// Every parked task with its await chain.
    std::string report() const;
    std::uint64_t seed() const noexcept;

    executor get_executor() const noexcept;
    leat::context context() const noexcept;

    // For explore().
    class script;
    explicit world(script& choices);

private:
    template <class T>
    void drive(join_handle<T>& handle)
    {
        while (!handle.done())
            turn_or_deadlock();
        rethrow_unhandled();
    }
    void turn_or_deadlock();
    void rethrow_unhandled();
    detail::spawn_site site(const spawn_options& options, detail::location place) const;

    detail::owned<detail::sim_scheduler> sched_;
};

/// The choices of one schedule, to be replayed and then varied.
class world::script {
public:
    /// The next choice among `bound` possibilities.
    std::uint32_t choose(std::uint32_t bound);
    /// Goes to the next schedule, depth first; false if there is none.
    bool next();
    void rewind() noexcept
    {
        at_ = 0;
    }
    std::string describe() const;

private:
    struct choice {
        std::uint32_t taken;
        std::uint32_t bound;
    };
    std::vector<choice> choices_;
    std::size_t at_ = 0;
};

struct explore_options {
    std::size_t schedules = 10'000;  ///< at most so many
    /// Zero: depth first through all of them. Else: as many random ones, from this seed on.
    std::uint64_t random_from = 0;
};

struct explore_result {
    std::size_t schedules = 0;  ///< how many were run
    bool exhausted = false;     ///< these were all there are
};

/// Runs `test(world)` under many schedules: every order in which ready tasks can run and every choice a select
/// can make, each in a world of its own. What the test throws ends the search, after the schedule or seed has
/// been printed.
explore_result explore(const explore_options& options, const detail::callback<void(world&)>& test);
inline explore_result explore(const detail::callback<void(world&)>& test)
{
    return explore({}, test);
}

}  // namespace leat::sim
