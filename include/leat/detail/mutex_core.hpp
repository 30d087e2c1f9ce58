// The heart of a mutex: one word that says whether it is free, and a queue of waiters under a spinlock that is taken
// only if somebody has to wait or to be woken.
//
//   locked    somebody has it
//   queued    the queue may not be empty: whoever unlocks has to look
//   woken     a waiter has been taken off the queue and is on its way to try again (a contender); until it has, nobody
//             else is woken
//   starving  the first in the queue has tried again and lost: the next to unlock hands the mutex to it
//
// Taking a free mutex is one compare-and-swap, whoever waits (barging): the task that runs goes on, instead of being
// switched for one that has first to be brought to a core. What it costs in fairness is bounded: a waiter that has
// been woken and finds the mutex taken goes back to the front of the queue, and gets it from the next unlock. So
// between two tasks that are served from the queue there is at most one turn of others' barging on each worker, and
// the queue itself is first in, first out. Waiters that can not try again, because they are one of several cases
// of a select or a blocked thread, are handed the mutex at once. (docs/decisions.md has the measurements.)
//
// Who may change what:
//   - without the spinlock: nobody but by taking the mutex when it is free (locked set, all else kept), or by giving
//     it up when there is nobody to be woken: not queued, or woken. All are compare-and-swaps of the whole word.
//   - with the spinlock, while the mutex is locked by the caller: anything, as then the word is nobody else's.
//   - with the spinlock alone: by compare-and-swap.
//   - queued is set under the spinlock in the same compare-and-swap that finds the mutex locked. So its holder, who
//     gives it up by a compare-and-swap from a word without `queued`, fails, takes the spinlock, and by then the
//     waiter is linked.
//   - starving and woken are never set at the same time.
//
// Life. Giving a mutex up is the last that unlock() does to it, whenever that lets others see it free: with nobody to
// wake, the compare-and-swap is the last; with somebody, the spinlock is let go first of the task that is woken,
// which is scheduled only then and has to be done with the mutex before it may be destroyed. So the mutex may be
// destroyed by whoever has locked and unlocked it last. (The road not taken is to give it up by an exchange and to
// look for waiters after that: it may have gone by then.)
//
// Order: taking is acquire, giving up is release. A mutex that is handed over stays locked; the spinlock and the
// claim of the new holder order what the old one wrote.
#pragma once

#include <leat/detail/locking.hpp>
#include <leat/detail/operation.hpp>
#include <leat/detail/park.hpp>

#include <cstdint>
#include <utility>

namespace leat::detail {

class mutex_core : public lock_holder {
public:
    using word = std::uint32_t;
    static constexpr word locked = 1;
    static constexpr word queued = 2;
    static constexpr word woken = 4;
    static constexpr word starving = 8;

    constexpr explicit mutex_core(const char* name) noexcept : name_{name}
    {
    }
    mutex_core(const mutex_core&) = delete;
    mutex_core& operator=(const mutex_core&) = delete;
    ~mutex_core()
    {
        if (word_.load(std::memory_order_relaxed) != 0) [[unlikely]]
            report_destroyed_in_use("mutex", name_);
    }

    bool try_lock() noexcept
    {
        word seen = 0;
        if (word_.compare_exchange_strong(seen, locked, std::memory_order_acquire, std::memory_order_relaxed))
            [[likely]]
            return true;
        return (seen & locked) == 0 && try_lock_seen(seen);
    }
    void unlock() noexcept
    {
        word seen = locked;
        if (!word_.compare_exchange_strong(seen, 0, std::memory_order_release, std::memory_order_relaxed))
            [[unlikely]]
            unlock_slowly();
    }

    bool is_locked() const noexcept
    {
        return (word_.load(std::memory_order_relaxed) & locked) != 0;
    }
    const char* name() const noexcept
    {
        return name_;
    }

    mutable spinlock lock;

private:
    friend class mutex_waiter;

    bool try_lock_seen(word seen) noexcept;
    void unlock_slowly() noexcept;
    bool hand_on(wake_list& wakes) noexcept;

    atomic<word> word_{0};
    waiter_list queue_;
    const char* name_;
};

/// One who wants it.
class mutex_waiter : public waiter {
public:
    spinlock& source() noexcept override
    {
        return of_->lock;
    }
    bool try_complete(wake_list& wakes) noexcept final;
    void link() noexcept override;
    void unlink() noexcept override;
    void unlinked() noexcept override;
    const char* kind() const noexcept override
    {
        return "mutex";
    }
    void describe(inspect::task_info& into) const override;

    /// With the spinlock: queues up, without having asked, if the mutex is locked.
    bool queue_if_locked() noexcept;

    bool contends() const noexcept
    {
        return state_ == state::contending;
    }

protected:
    enum class state : unsigned char {
        idle,
        contending,  ///< woken to try again
        lost,        ///< has tried again, and found the mutex taken
        granted,     ///< has the mutex, and has not given it to its task yet
    };

    explicit mutex_waiter(mutex_core& of) noexcept : of_{&of}
    {
    }
    ~mutex_waiter() = default;

    /// What its task has not taken is given back: the frame is destroyed after the lock had been won.
    void give_back() noexcept
    {
        if (state_ == state::idle) [[likely]]
            return;
        if (std::exchange(state_, state::idle) == state::granted)
            of_->unlock();
    }
    void grant() noexcept
    {
        state_ = state::granted;
        of_->held_by(root->id());
    }

    state state_ = state::idle;
    mutex_core* of_;

private:
    friend class mutex_core;
};

/// Locks; Guard is what the task gets.
template <class Guard>
class lock_operation final : public mutex_waiter {
public:
    using value_type = Guard;
    using owner_type = typename Guard::owner_type;
    static constexpr bool holds = true;

    lock_operation(mutex_core& of, owner_type& owner) noexcept : mutex_waiter{of}, owner_{&owner}
    {
    }
    // Until it is awaited; then it stays where it is.
    lock_operation(const lock_operation& other) noexcept : mutex_waiter{*other.of_}, owner_{other.owner_}
    {
    }

    ~lock_operation()
    {
        give_back();
    }

    void prepare(turn&) noexcept
    {
        give_back();
    }
    static bool take_now(mutex_core& of, const task_root& by) noexcept
    {
        if (!of.try_lock())
            return false;
        of.held_by(by.id());
        return true;
    }
    bool try_quick() noexcept
    {
        if (state_ != state::idle || !take_now(*of_, *root))
            return false;
        state_ = state::granted;
        return true;
    }
    std::error_code error() const noexcept
    {
        return {};
    }
    Guard value() noexcept
    {
        state_ = state::idle;
        return Guard{*owner_};
    }

private:
    owner_type* owner_;
};

}  // namespace leat::detail
