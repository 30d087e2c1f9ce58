#pragma once

#include <leat/detail/condition_core.hpp>
#include <leat/sync/mutex.hpp>
#include <leat/task.hpp>
#include <leat/this_task.hpp>

#include <concepts>
#include <utility>

namespace leat {

namespace detail {

/// Throws usage_error unless the guard holds something.
void check_guard(bool holds);

/// Waits for a condition with a guard, which holds nothing meanwhile.
template <class Guard>
class condition_wait {
    using owner_type = typename Guard::owner_type;

public:
    using value_type = void;

    condition_wait(condition_core& condition, Guard& guard) noexcept : condition_{condition}, guard_{guard}
    {
    }

    template <bool Throwing>
    class awaiter final : public condition_awaiter {
    public:
        awaiter(condition_core& condition, Guard& guard, task_root& root) noexcept
            : condition_awaiter{condition, Guard::core_of(*guard.held()), root}, guard_{guard},
              owner_{*guard.held()}
        {
        }
        bool await_suspend(std::coroutine_handle<> frame) noexcept
        {
            guard_.let_go();
            return condition_awaiter::await_suspend(frame);
        }
        auto await_resume()
        {
            guard_.hold_again(owner_);
            const bool stopped = this->finish();
            if constexpr (Throwing) {
                if (stopped)
                    throw_stopped(this->root());
            } else {
                return stopped ? result<>{make_error_code(this->root().stop_reason())} : result<>{};
            }
        }

    private:
        Guard& guard_;
        owner_type& owner_;
    };

    auto await_in(task_root& root) const
    {
        check_guard(guard_.owns_lock());
        return awaiter<true>{condition_, guard_, root};
    }
    auto await_result_in(task_root& root) const
    {
        check_guard(guard_.owns_lock());
        return awaiter<false>{condition_, guard_, root};
    }

private:
    condition_core& condition_;
    Guard& guard_;
};

template <class Guard>
concept mutex_holder = std::same_as<Guard, mutex_guard> || requires(Guard& g) {
    typename Guard::owner_type::value_type;
    requires std::same_as<Guard, guarded_guard<typename Guard::owner_type::value_type>>;
};

}  // namespace detail

/// Lets tasks wait until what a mutex guards has changed.
///
/// Wait in a loop, or with a predicate: another may have changed it again before the waiter has the mutex. Nobody is
/// woken without having been notified, be it in the place of one who was notified and cancelled. Those who wait are notified in the order in which they came.
///
/// Life     may be destroyed when everybody who waited has been notified and the call that did it has returned, or made
///          under the mutex. A wait whose context ends before it has the mutex again uses it until it throws: where
///          that can happen, wait for its end first. Destroyed with waiters, it says so and ends the program.
/// Threads  any, concurrently; also threads of no runtime, through the blocking_ forms.
class condition_variable {
public:
    constexpr condition_variable() noexcept : core_{nullptr}
    {
    }
    /// With a name for reports, which is not copied: a string literal.
    constexpr explicit condition_variable(const char* name) noexcept : core_{name}
    {
    }

    /// Gives the mutex up, waits to be notified, and locks the mutex again. The guard is of a mutex or a guarded<T>, and
    /// holds it before and afterwards, whatever happens.
    ///
    /// Throws   cancelled_error, timed_out_error: the task's context ended first; the mutex has been locked again, for
    ///          which it may have had to wait. usage_error: the guard holds nothing.
    /// Cancel   safe: a notification that came at the same time goes to another who waits.
    /// Life     refers to the guard.
    /// Threads  any thread, concurrently with every other member.
    /// Cost     a short lock of the condition variable and one of the mutex; no allocation. No case for select, which
    ///          could not keep the mutex while it waits for others.
    template <detail::mutex_holder Guard>
    [[nodiscard]] detail::condition_wait<Guard> wait(Guard& guard) noexcept
    {
        return {core_, guard};
    }
    /// Waits until `holds()` is true, which is asked only with the mutex locked, first before any wait.
    ///
    /// Throws  what `holds` throws; as wait(guard), also if `holds()` would be true.
    /// Cost    a coroutine.
    template <detail::mutex_holder Guard, std::predicate Predicate>
    [[nodiscard]] task<> wait(Guard& guard, Predicate holds)
    {
        return wait_until_true(guard, std::move(holds));
    }
    /// wait() for a thread that is no worker: blocks the thread.
    ///
    /// Throws   usage_error in a task, which must co_await wait(), or if the guard holds nothing.
    template <detail::mutex_holder Guard>
    void blocking_wait(Guard& guard)
    {
        detail::check_guard(guard.owns_lock());
        core_.wait_blocking(Guard::core_of(*guard.held()));
    }
    template <detail::mutex_holder Guard, std::predicate Predicate>
    void blocking_wait(Guard& guard, Predicate holds)
    {
        detail::check_guard(guard.owns_lock());
        while (!holds())
            blocking_wait(guard);
    }

    /// Notifies the one who has waited longest, if there is any. With the mutex locked or not.
    ///
    /// Threads  any, also those of no runtime.
    /// Cost     two short locks. The waiter does not run before it has the mutex.
    void notify_one() noexcept
    {
        core_.notify_one();
    }
    /// Notifies all who wait at this moment.
    ///
    /// Cost     as notify_one() for each; it wakes one after the other, as they get the mutex.
    void notify_all() noexcept
    {
        core_.notify_all();
    }

    /// Null if it has none.
    const char* name() const noexcept
    {
        return core_.name();
    }

private:
    template <class Guard, class Predicate>
    task<> wait_until_true(Guard& guard, Predicate holds)
    {
        detail::check_guard(guard.owns_lock());
        const detail::step_operation step;
        co_await step;
        while (!holds()) {
            auto changed = wait(guard);
            co_await changed;
        }
    }

    detail::condition_core core_;
};

}  // namespace leat
