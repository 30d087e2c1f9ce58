#pragma once

#include <leat/detail/atomic.hpp>
#include <leat/detail/blocking_wait.hpp>
#include <leat/detail/operation.hpp>
#include <leat/detail/waiting_room.hpp>

namespace leat {

/// Something that has happened, or not yet. Tasks wait until it has.
///
/// By default it stays set until reset(), and everybody who waits goes on. With event::auto_reset, each set() lets
/// exactly one wait return, the first that waits or the next that comes, and is used up by it.
///
/// Threads  any, concurrently; also threads of no runtime, through set() and blocking_wait().
/// Life     may be destroyed as soon as the last wait on it has returned, even if the set() that let it return has
///          not; while a task waits for it, that is an error, and the wait throws usage_error.
class event {
public:
    enum mode : unsigned char { manual_reset, auto_reset };

    explicit event(bool set = false) noexcept : event{manual_reset, set}
    {
    }
    explicit event(mode how, bool set = false) noexcept : set_{set}, mode_{how}
    {
    }
    event(const event&) = delete;
    event& operator=(const event&) = delete;

    /// Lets everybody go on who waits, and who comes; with auto_reset, one. What was written before is seen by those
    /// who go on. Idempotent: sets that nobody has waited for count once.
    ///
    /// Cost  one short lock; with many waiters one for each few of them.
    void set() noexcept;

    /// Makes it unset. Who has been let go stays so.
    void reset() noexcept
    {
        set_.store(false, std::memory_order_relaxed);
    }

    bool is_set() const noexcept
    {
        return set_.load(std::memory_order_acquire);
    }

    /// Waits until it is set, and uses that up if it is auto_reset.
    ///
    /// Throws   cancelled_error, timed_out_error: the task's context ended first.
    /// Cancel   safe: a set() is not used up.
    /// Threads  any thread, concurrently with every other member.
    /// Cost     no lock if it is set; no allocation.
    [[nodiscard]] detail::room_operation<event> wait() noexcept
    {
        return detail::room_operation<event>{*this};
    }
    /// The same if that is possible at once.
    [[nodiscard]] bool try_wait() noexcept
    {
        return try_pass();
    }
    /// wait() for a thread that is no worker: blocks the thread. Throws usage_error in a task.
    void blocking_wait()
    {
        detail::wait_blocking(wait());
    }

private:
    friend class detail::room_operation<event>;
    static constexpr const char* waits_for = "event";

    // Of an event with auto_reset set_ is true only while nobody waits who can be won, so whoever takes it without
    // the lock overtakes nobody.
    bool try_pass() noexcept
    {
        if (mode_ == manual_reset)
            return is_set();
        bool expected = true;
        return set_.load(std::memory_order_relaxed) &&
               set_.compare_exchange_strong(expected, false, std::memory_order_acq_rel);
    }

    detail::waiting_room room_;
    detail::atomic<bool> set_;
    mode mode_;
};

/// event{event::auto_reset} as a type of its own.
class auto_reset_event : public event {
public:
    explicit auto_reset_event(bool set = false) noexcept : event{auto_reset, set}
    {
    }
};

}  // namespace leat
