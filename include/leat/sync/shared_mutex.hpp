#pragma once

#include <leat/detail/blocking_wait.hpp>
#include <leat/detail/guard.hpp>
#include <leat/detail/shared_mutex_core.hpp>

namespace leat {

class shared_mutex;
class shared_mutex_guard;

/// Shares a shared_mutex with other readers for as long as it lives. Movable, also to other tasks and threads.
class [[nodiscard]] shared_mutex_shared_guard
    : public detail::guard_base<shared_mutex_shared_guard, shared_mutex> {
    using base = detail::guard_base<shared_mutex_shared_guard, shared_mutex>;

public:
    /// Holds nothing.
    shared_mutex_shared_guard() noexcept = default;

    /// Makes its holder the writer, suspending while there are other readers. In between nobody else writes: what was
    /// read is still true. A case for select.
    ///
    /// Result   a guard that holds the mutex alone; this one then holds nothing.
    /// Throws   std::system_error of errc::upgrade_refused: another reader already waits for the same, and would
    ///          wait for this one. cancelled_error, timed_out_error: the task's context ended first. The call
    ///          itself: usage_error if it holds nothing. This guard then still holds what it held.
    /// Cancel   safe: a cancelled upgrade has changed nothing.
    /// Life     refers to this guard.
    /// Cost     one atomic operation if there is no other reader; no allocation.
    [[nodiscard]] detail::upgrade_operation<shared_mutex_guard, shared_mutex_shared_guard> upgrade();
    /// Makes its holder the writer if that is possible without waiting.
    ///
    /// Result   a guard that holds the mutex alone, this one then holds nothing; or one that holds nothing.
    shared_mutex_guard try_upgrade() noexcept;

private:
    friend class shared_mutex;
    friend class shared_mutex_guard;
    friend base;
    template <class, detail::shared_waiter::mode>
    friend class detail::shared_lock_operation;
    template <class>
    friend class detail::lock_request;

    explicit shared_mutex_shared_guard(shared_mutex& held) noexcept : base{held}
    {
    }
    static void give_up(shared_mutex& held) noexcept;

public:
    // For the library.
    static detail::shared_mutex_core& core_of(shared_mutex& held) noexcept;
};

/// Holds a shared_mutex alone for as long as it lives. Movable, also to other tasks and threads.
class [[nodiscard]] shared_mutex_guard : public detail::guard_base<shared_mutex_guard, shared_mutex> {
    using base = detail::guard_base<shared_mutex_guard, shared_mutex>;

public:
    /// Holds nothing.
    shared_mutex_guard() noexcept = default;

    /// Lets other readers in, and goes on as one. Nobody writes in between.
    ///
    /// Result   a guard that shares the mutex; this one then holds nothing. One that holds nothing, if this did.
    /// Cost     as unlock().
    shared_mutex_shared_guard downgrade() noexcept;

private:
    friend class shared_mutex;
    friend class shared_mutex_shared_guard;
    friend base;
    template <class, detail::shared_waiter::mode>
    friend class detail::shared_lock_operation;
    template <class>
    friend class detail::lock_request;
    template <class, class>
    friend class detail::upgrade_operation;

    explicit shared_mutex_guard(shared_mutex& held) noexcept : base{held}
    {
    }
    static void give_up(shared_mutex& held) noexcept;

public:
    // For the library.
    static detail::shared_mutex_core& core_of(shared_mutex& held) noexcept;
};

/// Many readers or one writer; who waits is suspended.
///
/// Served in the order in which they came; readers who wait one after the other come in together. A reader that comes
/// while a writer waits waits behind it, so neither is starved. So do not lock it twice in one task, not even
/// to read: with a writer in between it would wait for itself.
///
/// Life     may be destroyed when nobody holds it or waits for it: also at once by the task that was the last to
///          unlock it, though another is still leaving unlock(). Destroyed in use, it says so and ends the program.
/// Threads  any, concurrently; also threads of no runtime, through the try_ and blocking_ forms.
class shared_mutex {
public:
    using guard = shared_mutex_guard;
    using shared_guard = shared_mutex_shared_guard;
    using lock_operation = detail::eager_call<
        detail::lock_request<detail::shared_lock_operation<guard, detail::shared_waiter::mode::alone>>>;
    using lock_shared_operation = detail::eager_call<detail::lock_request<
        detail::shared_lock_operation<shared_guard, detail::shared_waiter::mode::shared>>>;

    constexpr shared_mutex() noexcept : core_{nullptr}
    {
    }
    /// With a name for reports, which is not copied: a string literal.
    constexpr explicit shared_mutex(const char* name) noexcept : core_{name}
    {
    }

    /// Locks it to write, suspending while anybody has it or waits before. A case for select.
    ///
    /// Result   a guard that unlocks.
    /// Throws   cancelled_error, timed_out_error: the task's context ended first.
    /// Cancel   safe: a cancelled lock has locked nothing, and lets those behind it go on.
    /// Life     refers to the mutex.
    /// Threads  any thread, concurrently with every other member.
    /// Cost     one atomic operation if it is free; no allocation.
    [[nodiscard]] lock_operation lock() noexcept
    {
        return lock_operation{std::in_place, *this};
    }
    /// Locks it to read, suspending while a writer has it or anybody waits before. The rest as lock().
    ///
    /// Cost     one atomic operation if no writer has it. When readers on several cores have been in each other's way for a
    ///          while they get counters of their own, a cache line for each core, allocated once; without memory for
    ///          them they go on as before. A writer then costs several cache misses more.
    [[nodiscard]] lock_shared_operation lock_shared() noexcept
    {
        return lock_shared_operation{std::in_place, *this};
    }
    /// Locks it if that is possible without waiting, and without overtaking anybody.
    ///
    /// Result   a guard, which is false if it holds nothing.
    /// Threads  any, also those of no runtime.
    guard try_lock() noexcept
    {
        if (!core_.try_lock())
            return {};
        core_.held_by_caller();
        return guard{*this};
    }
    shared_guard try_lock_shared() noexcept
    {
        if (!core_.try_lock_shared())
            return {};
        return shared_guard{*this};
    }
    /// lock() and lock_shared() for a thread that is no worker: block the thread.
    ///
    /// Throws   usage_error in a task, which must co_await the operation instead.
    guard blocking_lock()
    {
        return detail::wait_blocking(lock().as_operation());
    }
    shared_guard blocking_lock_shared()
    {
        return detail::wait_blocking(lock_shared().as_operation());
    }

    /// Null if it has none.
    const char* name() const noexcept
    {
        return core_.name();
    }

private:
    friend class shared_mutex_guard;
    friend class shared_mutex_shared_guard;

    detail::shared_mutex_core core_;
};

namespace detail {

[[noreturn]] void throw_upgrade_of_nothing();

}  // namespace detail

inline void shared_mutex_guard::give_up(shared_mutex& held) noexcept
{
    held.core_.unlock();
}

inline void shared_mutex_shared_guard::give_up(shared_mutex& held) noexcept
{
    held.core_.unlock_shared();
}

inline detail::shared_mutex_core& shared_mutex_guard::core_of(shared_mutex& held) noexcept
{
    return held.core_;
}

inline detail::shared_mutex_core& shared_mutex_shared_guard::core_of(shared_mutex& held) noexcept
{
    return held.core_;
}

inline shared_mutex_shared_guard shared_mutex_guard::downgrade() noexcept
{
    shared_mutex* const mine = let_go();
    if (mine == nullptr)
        return {};
    mine->core_.downgrade();
    return shared_mutex_shared_guard{*mine};
}

inline detail::upgrade_operation<shared_mutex_guard, shared_mutex_shared_guard> shared_mutex_shared_guard::
    upgrade()
{
    if (!owns_lock())
        detail::throw_upgrade_of_nothing();
    return {held()->core_, *this};
}

inline shared_mutex_guard shared_mutex_shared_guard::try_upgrade() noexcept
{
    if (!owns_lock() || !held()->core_.try_upgrade())
        return {};
    held()->core_.held_by_caller();
    return shared_mutex_guard{*let_go()};
}

}  // namespace leat
