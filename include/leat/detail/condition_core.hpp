// The heart of a condition variable: a queue of waiters, each of which also is a waiter of its mutex.
//
//   waits ──notify──▶ moved, in the queue of the mutex ──unlock──▶ has the mutex, or contends for it
//     │  └──notify, the mutex is free──▶ awake ──▶ locks like anybody else
//     └──cancelled──▶ locks, deaf to further cancellation ──▶ throws
//
// Being notified moves a waiter from the queue here to that of the mutex, if that is locked, without waking its task. So
// notify_all() of a million does not let a million run for one mutex: it moves them, and each unlock wakes one.
//
// The waiter is linked here before the mutex is given up, in one go under the spinlock here: whoever has the mutex after
// it, and notifies, finds it. (An operation would have to complete or park before its locks are released, and
// could not give up a mutex on the way, which may wake somebody. So the awaiter is one of its own.)
//
// Locks: this one's, then the mutex's. A waiter that waits here is claimed under the former, one that has moved under
// the latter; a task that was won by its context takes both before it goes on. Who moves a waiter lets go of the
// lock here first: once the mutex's is released, the waiter may run, and this be gone.
//
// A wake-up is not lost: a waiter that was cancelled and finds that it had been notified as well notifies another.
#pragma once

#include <leat/detail/mutex_core.hpp>
#include <leat/detail/park.hpp>

#include <coroutine>
#include <cstdint>

namespace leat::detail {

class condition_core;

/// One who waits for a condition, and then for the mutex.
class condition_waiter final : public mutex_waiter {
public:
    condition_waiter(condition_core& of, mutex_core& mutex) noexcept;
    ~condition_waiter()
    {
        give_back();
    }
    mutex_core& mutex() const noexcept
    {
        return *of_;
    }
    bool has_mutex() const noexcept
    {
        return state_ == state::granted;
    }
    /// The mutex is its task's now.
    void take_mutex() noexcept
    {
        state_ = state::idle;
    }

    const char* kind() const noexcept override
    {
        return "condition_variable";
    }
    void describe(inspect::task_info& into) const override;

    condition_core* condition_;
    const char* name_;             ///< of the condition, which may have gone when a report asks
    std::uint64_t number = 0;      ///< in the order in which they came
    atomic<bool> notified{false};  ///< and has moved, unless the mutex was free
};

class condition_core {
public:
    constexpr explicit condition_core(const char* name) noexcept : name_{name}
    {
    }
    condition_core(const condition_core&) = delete;
    condition_core& operator=(const condition_core&) = delete;
    ~condition_core()
    {
        if (!queue_.empty()) [[unlikely]]
            report_destroyed_in_use("condition_variable", name_);
    }

    void notify_one() noexcept;
    void notify_all() noexcept;
    const char* name() const noexcept
    {
        return name_;
    }

    /// With the lock.
    void link(condition_waiter& node) noexcept
    {
        node.number = ++last_;
        queue_.push_back(node);
    }
    /// Of a waiter that waits no longer. True if it had been notified.
    bool unlink(condition_waiter& node) noexcept;
    /// Waits by blocking the thread; the mutex is locked before and after.
    void wait_blocking(mutex_core& mutex);

    spinlock lock;

private:
    /// Notifies some of those who came before `beyond`, at most so many; how many were notified.
    int notify_some(std::uint64_t beyond, int most, wake_list& wakes) noexcept;

    waiter_list queue_;
    std::uint64_t last_ = 0;
    const char* name_;
};

inline condition_waiter::condition_waiter(condition_core& of, mutex_core& mutex) noexcept
    : mutex_waiter{mutex}, condition_{&of}, name_{of.name()}
{
}

/// Gives the mutex up, waits, and has it again.
class condition_awaiter : private turn_hook {
public:
    condition_awaiter(condition_core& condition, mutex_core& mutex, task_root& root) noexcept
        : waiter_{condition, mutex}, root_{root}
    {
        waiter_.root = &root;
    }
    condition_awaiter(const condition_awaiter&) = delete;
    condition_awaiter& operator=(const condition_awaiter&) = delete;

    bool await_ready() noexcept
    {
        if (root_.stop_requested())
            state_ = state::refused;
        return state_ == state::refused;
    }
    /// False: the context has ended, and the mutex has not been given up.
    bool await_suspend(std::coroutine_handle<> frame) noexcept;

protected:
    /// The mutex is the task's again. Whether its context has ended first.
    bool finish() noexcept;
    task_root& root() const noexcept
    {
        return root_;
    }

    ~condition_awaiter()
    {
        if (state_ == state::waits || state_ == state::locks) [[unlikely]]
            abandon();
    }

private:
    enum class state : unsigned char {
        fresh,
        waits,    ///< for the condition, then the mutex
        locks,    ///< for the mutex, deaf
        done,     ///< has the mutex
        refused,  ///< has never given it up
    };

    bool begin_turn(turn& here) noexcept final;
    bool lock_or_park(turn& here) noexcept;
    void abandon() noexcept;

    condition_waiter waiter_;
    task_root& root_;
    state state_ = state::fresh;
    bool gave_up_ = false;  ///< the mutex
    bool stopped_ = false;
};

}  // namespace leat::detail
