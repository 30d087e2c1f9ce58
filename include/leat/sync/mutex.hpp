#pragma once

#include <leat/detail/blocking_wait.hpp>
#include <leat/detail/guard.hpp>
#include <leat/detail/memory.hpp>
#include <leat/detail/mutex_core.hpp>
#include <leat/task.hpp>

#include <concepts>
#include <type_traits>
#include <utility>

namespace leat {

class mutex;

/// Holds a mutex for as long as it lives. Movable, also to other tasks and threads.
class [[nodiscard]] mutex_guard : public detail::guard_base<mutex_guard, leat::mutex> {
    using base = detail::guard_base<mutex_guard, leat::mutex>;

public:
    /// Holds nothing.
    mutex_guard() noexcept = default;

    /// What it holds, or null.
    leat::mutex* mutex() const noexcept
    {
        return held();
    }

private:
    template <class>
    friend class detail::lock_operation;
    template <class>
    friend class detail::lock_request;
    friend class leat::mutex;
    friend base;

    explicit mutex_guard(leat::mutex& held) noexcept : base{held}
    {
    }
    static void give_up(leat::mutex& held) noexcept;

public:
    // For the library.
    static detail::mutex_core& core_of(leat::mutex& held) noexcept;
};

/// Mutual exclusion between tasks: who waits is suspended, and its worker runs others.
///
/// Waiting tasks are served in the order in which they came. A task that runs and finds the mutex free takes it, even
/// if others wait; but each of them finds it taken once at the most, and then it is handed to it. A task may keep it
/// over a co_await. Not recursive: a task that locks it twice waits for itself.
///
/// Life     may be destroyed when nobody holds it or waits for it: also at once by the task that was the last to
///          lock and unlock it, though another is still leaving unlock(). Destroyed in use, it says so and ends the
///          program.
/// Threads  any, concurrently; also threads of no runtime, through the try_ and blocking_ forms.
class mutex {
public:
    using guard = mutex_guard;
    using lock_operation = detail::eager_call<detail::lock_request<detail::lock_operation<mutex_guard>>>;

    constexpr mutex() noexcept : core_{nullptr}
    {
    }
    /// With a name for reports, which is not copied: a string literal.
    constexpr explicit mutex(const char* name) noexcept : core_{name}
    {
    }

    /// Locks, suspending while another has the mutex. A case for select.
    ///
    /// Result   a guard that unlocks.
    /// Throws   cancelled_error, timed_out_error: the task's context ended first.
    /// Cancel   safe: a cancelled lock has locked nothing, and has taken nobody's turn.
    /// Life     refers to the mutex.
    /// Threads  any thread, concurrently with every other member.
    /// Cost     one atomic operation if it is free; no allocation.
    [[nodiscard]] lock_operation lock() noexcept
    {
        return lock_operation{std::in_place, *this};
    }
    /// Locks if that is possible without waiting.
    ///
    /// Result   a guard, which is false if it holds nothing.
    /// Threads  any, also those of no runtime.
    mutex_guard try_lock() noexcept
    {
        if (!core_.try_lock())
            return {};
        core_.held_by_caller();
        return mutex_guard{*this};
    }
    /// lock() for a thread that is no worker: blocks the thread.
    ///
    /// Throws   usage_error in a task, which must co_await lock().
    mutex_guard blocking_lock()
    {
        return detail::wait_blocking(lock().as_operation());
    }

    /// Whether somebody holds it; out of date at once.
    bool locked() const noexcept
    {
        return core_.is_locked();
    }
    /// Null if it has none.
    const char* name() const noexcept
    {
        return core_.name();
    }

private:
    friend class mutex_guard;

    detail::mutex_core core_;
};

inline detail::mutex_core& mutex_guard::core_of(leat::mutex& held) noexcept
{
    return held.core_;
}

inline void mutex_guard::give_up(leat::mutex& held) noexcept
{
    held.core_.unlock();
}

template <class T>
class guarded;

/// Holds what a guarded<T> keeps: for as long as it lives, nobody else sees it.
template <class T>
class [[nodiscard]] guarded_guard : public detail::guard_base<guarded_guard<T>, guarded<T>> {
    using base = detail::guard_base<guarded_guard<T>, guarded<T>>;

public:
    /// Holds nothing.
    guarded_guard() noexcept = default;

    /// Precondition of both: it holds something.
    T& operator*() const noexcept
    {
        return this->held()->value_;
    }
    T* operator->() const noexcept
    {
        return std::addressof(this->held()->value_);
    }

private:
    template <class>
    friend class detail::lock_operation;
    template <class>
    friend class detail::lock_request;
    friend class guarded<T>;
    friend base;

    explicit guarded_guard(guarded<T>& held) noexcept : base{held}
    {
    }
    static void give_up(guarded<T>& held) noexcept
    {
        held.core_.unlock();
    }

public:
    // For the library.
    static detail::mutex_core& core_of(guarded<T>& held) noexcept
    {
        return held.core_;
    }
};

/// A name for what has arguments of its own: guarded<bank> accounts{leat::named{"accounts"}, 100};
class named {
public:
    /// Not copied: a string literal.
    constexpr explicit named(const char* what) noexcept : name{what}
    {
    }

    const char* name;
};

/// A value together with the mutex that guards it: there is no way to it but through a guard.
///
/// Life, threads  as for mutex.
template <class T>
class guarded {
public:
    using value_type = T;
    using guard = guarded_guard<T>;
    using lock_operation = detail::eager_call<detail::lock_request<detail::lock_operation<guarded_guard<T>>>>;

    /// Makes the value of the arguments.
    template <class... Args>
        requires std::constructible_from<T, Args...>
    explicit(sizeof...(Args) == 1) guarded(Args&&... args)
        : core_{nullptr}, value_(std::forward<Args>(args)...)
    {
    }
    /// The same, with a name for reports.
    template <class... Args>
        requires std::constructible_from<T, Args...>
    explicit guarded(named name, Args&&... args) : core_{name.name}, value_(std::forward<Args>(args)...)
    {
    }
    guarded(const guarded&) = delete;
    guarded& operator=(const guarded&) = delete;

    /// As mutex::lock(); the guard points to the value.
    [[nodiscard]] lock_operation lock() noexcept
    {
        return lock_operation{std::in_place, *this};
    }
    /// As mutex::try_lock().
    guarded_guard<T> try_lock() noexcept
    {
        if (!core_.try_lock())
            return {};
        core_.held_by_caller();
        return guarded_guard<T>{*this};
    }
    /// As mutex::blocking_lock().
    guarded_guard<T> blocking_lock()
    {
        return detail::wait_blocking(lock().as_operation());
    }

    /// Calls f(T&) with the lock held, and gives what it returns; what a coroutine gives, if it is one.
    ///
    /// Throws   what f throws; as mutex::lock().
    /// Cost     a coroutine.
    template <std::invocable<T&> F>
    [[nodiscard]] auto with(F f)
    {
        using got = std::invoke_result_t<F&, T&>;
        if constexpr (detail::is_task<got>)
            return with_task<F, typename got::value_type>(std::move(f));
        else
            return with_call<F, got>(std::move(f));
    }

    /// Null if it has none.
    const char* name() const noexcept
    {
        return core_.name();
    }

private:
    friend class guarded_guard<T>;

    template <class F, class R>
    task<R> with_task(F f)
    {
        const guarded_guard<T> held = co_await lock();
        co_return co_await f(*held);
    }
    template <class F, class R>
    task<R> with_call(F f)
    {
        const guarded_guard<T> held = co_await lock();
        co_return f(*held);
    }

    detail::mutex_core core_;
    T value_;
};

}  // namespace leat
