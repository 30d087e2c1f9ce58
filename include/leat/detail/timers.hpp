// Timers of a scheduler: one shard for each worker, each a wheel under a lock of its own.
//
// What is timed derives from `timed`. It is armed and disarmed under its shard's lock. When its time has
// come, the thread that looks after the shard takes it out of the wheel and calls expired(), still under the
// lock, where it may claim a task or take a reference and ask to be called again once the lock has been
// released; after that the shard no longer knows it. So whoever disarms under the lock and finds it not
// armed knows that expired() has returned.
//
// What is timed may outlive the scheduler: contexts and timers do. So a shard is counted, by its scheduler and by
// each of those, and freed with the last. When the scheduler ends it closes its shards: nothing is armed in them
// then or later, so that disarming goes on to be safe, on any thread. What was armed is told, and may find itself
// another.
#pragma once

#include <leat/detail/atomic.hpp>
#include <leat/detail/park.hpp>
#include <leat/detail/timer_wheel.hpp>

#include <cstdint>

namespace leat::detail {

/// Something to be done for an expired timer when no lock is held.
class expired_call {
public:
    /// Tasks that it wins go to `wakes`: what expires together is woken together, in order.
    virtual void fire(turn* by, wake_list& wakes) noexcept = 0;
    /// Instead of fire(), for what asked for it when its shard was closed.
    virtual void lost() noexcept
    {
    }
    expired_call* next_expired = nullptr;

protected:
    ~expired_call() = default;
};

/// What an expiry leaves to be done.
struct expiry {
    explicit expiry(wake_list& woken) noexcept : wakes{woken}
    {
    }

    wake_list& wakes;
    expired_call* calls = nullptr;

    expired_call* last_call = nullptr;

    void call(expired_call& what) noexcept
    {
        what.next_expired = nullptr;
        (calls != nullptr ? last_call->next_expired : calls) = &what;
        last_call = &what;
    }
};

class timed : public timer_link {
public:
    virtual void expired(expiry& out) noexcept = 0;
    /// The shard has been closed, and this is no longer armed. Under the lock; may ask to be called.
    virtual void disowned(expiry&) noexcept
    {
    }

protected:
    ~timed() = default;
};

class timer_shard {
public:
    /// Held once, by the caller.
    static timer_shard& make(scheduler& owner, unsigned tick_shift, std::int64_t start)
    {
        return *new timer_shard{owner, tick_shift, start};
    }
    timer_shard(const timer_shard&) = delete;
    timer_shard& operator=(const timer_shard&) = delete;

    void hold() noexcept
    {
        holders_.fetch_add(1, std::memory_order_relaxed);
    }
    void leave() noexcept
    {
        if (holders_.fetch_sub(1, std::memory_order_acq_rel) == 1)
            delete this;
    }

    /// The scheduler is about to end: disarms everything, for good. While the lock is held and this has not been
    /// called, the scheduler exists.
    void close() noexcept;
    bool closed() const noexcept
    {
        return closed_.load(std::memory_order_relaxed);
    }
    /// Calls f(), under the lock, unless the shard has been closed; says whether it did.
    template <class F>
    bool while_open(F f) noexcept
    {
        const spin_guard hold{lock};
        if (closed())
            return false;
        f();
        return true;
    }

    /// Under the lock; tell() afterwards, without it, if the result is true.
    [[nodiscard]] bool arm_locked(timed& what, std::int64_t deadline) noexcept
    {
        if (closed()) [[unlikely]]
            return false;
        wheel.insert(what, deadline);
        armed_.store(wheel.size(), std::memory_order_relaxed);
        if (deadline >= earliest_.load(std::memory_order_relaxed))
            return false;
        earliest_.store(deadline, std::memory_order_seq_cst);
        return true;
    }
    void disarm_locked(timed& what) noexcept
    {
        if (!what.armed())
            return;
        wheel.remove(what);
        armed_.store(wheel.size(), std::memory_order_relaxed);
    }

    void arm(timed& what, std::int64_t deadline, turn* by) noexcept
    {
        bool first = false;
        {
            const spin_guard hold{lock};
            first = arm_locked(what, deadline);
        }
        if (first)
            tell(deadline, by);
    }
    void disarm(timed& what) noexcept
    {
        const spin_guard hold{lock};
        disarm_locked(what);
    }
    void tell(std::int64_t deadline, turn* by) noexcept
    {
        owner_->timer_armed(*this, deadline, by);
    }

    /// Expires what is due, in the order of deadlines; returns how many. The lock must not be held. Of those that
    /// expire at once sleepers are woken first, then whoever waits for timers and contexts.
    std::size_t run(std::int64_t now, turn* by) noexcept;
    /// Not later than the next deadline; may be earlier after a cancellation. Any thread, no lock.
    std::int64_t earliest_hint() const noexcept
    {
        return earliest_.load(std::memory_order_seq_cst);
    }
    std::size_t armed() const noexcept
    {
        return armed_.load(std::memory_order_relaxed);
    }
    scheduler& owner() const noexcept
    {
        return *owner_;
    }

    spinlock lock;
    timer_wheel wheel;

private:
    timer_shard(scheduler& owner, unsigned tick_shift, std::int64_t start) noexcept
        : wheel{tick_shift, start}, owner_{&owner}
    {
    }
    ~timer_shard() = default;

    scheduler* owner_;
    atomic<std::int64_t> earliest_{timer_wheel::never};
    atomic<std::size_t> armed_{0};
    atomic<std::uint32_t> holders_{1};
    atomic<bool> closed_{false};  ///< set under the lock
};

}  // namespace leat::detail
