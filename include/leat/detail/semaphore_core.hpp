// The heart of a semaphore: one word with the number of free permits and whether somebody waits, and a queue under a
// spinlock.
//
// While nobody waits, permits are taken and given back by compare-and-swap of the word. Once `queued` is set every
// change of the word is made under the spinlock, by a plain store. Strictly first in, first out: whoever comes while others wait queues
// up behind them, however few permits it wants, and the first in the queue alone decides what the queue waits for.
// So a large request is not overtaken. Whoever gives permits back gives them to those at the front of the queue
// that they suffice for.
//
// (The road not taken is to let the running task overtake, as a mutex does: a semaphore bounds how many do something
// that takes long, so a switch more does not matter, and being overtaken does.)
//
// `queued` may be set although nobody waits any more; whoever finds the queue empty under the spinlock takes it back.
// The number of free permits is negative while remove() has taken more than were free.
//
// Life. As for a mutex (mutex_core.hpp): with nobody waiting, giving back is one compare-and-swap and the last touch.
// With somebody waiting, it is the release of the spinlock, after which a waiter still has to be scheduled, or is
// still queued. Who serves many lets go of the spinlock now and then, and schedules those it has served only when it
// has taken it again: as long as one of them is not scheduled, the semaphore can not go.
#pragma once

#include <leat/detail/operation.hpp>
#include <leat/detail/park.hpp>

#include <cstddef>
#include <cstdint>
#include <utility>

namespace leat::detail {

class semaphore_waiter;

class semaphore_core {
public:
    using number = std::int64_t;

    semaphore_core(std::ptrdiff_t permits, const char* name);
    semaphore_core(const semaphore_core&) = delete;
    semaphore_core& operator=(const semaphore_core&) = delete;
    ~semaphore_core();

    bool try_acquire(number wanted) noexcept
    {
        number seen = word_.load(std::memory_order_relaxed);
        while ((seen & queued) == 0 && seen >= wanted * one)
            if (word_.compare_exchange_weak(seen, seen - wanted * one, std::memory_order_acquire,
                                            std::memory_order_relaxed))
                return true;
        return false;
    }
    /// The same if `queued` may be left over.
    bool try_acquire_slowly(number wanted) noexcept;
    void release(number given) noexcept
    {
        number seen = word_.load(std::memory_order_relaxed);
        while ((seen & queued) == 0)
            if (word_.compare_exchange_weak(seen, seen + given * one, std::memory_order_release,
                                            std::memory_order_relaxed))
                return;
        release_slowly(given);
    }
    void add(std::ptrdiff_t permits);
    void remove(std::ptrdiff_t permits);

    number available() const noexcept
    {
        const number is = word_.load(std::memory_order_relaxed) >> 1;
        return is > 0 ? is : 0;
    }
    number capacity() const noexcept
    {
        return capacity_.load(std::memory_order_relaxed);
    }
    /// How many are in the queue; out of date at once.
    std::size_t waiting() const noexcept
    {
        return waiting_.load(std::memory_order_relaxed);
    }
    const char* name() const noexcept
    {
        return name_;
    }

    mutable spinlock lock;

private:
    friend class semaphore_waiter;

    static constexpr number queued = 1;
    static constexpr number one = 2;  ///< a permit, in the word

    void release_slowly(number given) noexcept;
    void change_queued(number by) noexcept;
    void serve() noexcept;
    // All changes of the queue; under the lock.
    void join_queue(waiter& who) noexcept;
    void leave_queue(waiter& who) noexcept;
    bool serve_some(wake_list& wakes) noexcept;

    atomic<number> word_;
    waiter_list queue_;
    atomic<std::size_t> waiting_{0};  ///< in the queue; changed under the lock
    atomic<number> capacity_;
    const char* name_;
};

/// One who wants some permits.
class semaphore_waiter : public waiter {
public:
    spinlock& source() noexcept final
    {
        return of_->lock;
    }
    bool try_complete(wake_list& wakes) noexcept final;
    void link() noexcept final;
    void unlink() noexcept final;
    void unlinked() noexcept final;
    const char* kind() const noexcept final
    {
        return "semaphore";
    }
    void describe(inspect::task_info& into) const final;

protected:
    enum class state : unsigned char {
        idle,
        granted,    ///< has the permits, and has not given them to its task yet
        too_large,  ///< can never have them
        too_many,   ///< others wait already, as many as it puts up with
        left,       ///< has left the queue, so that others may be served
    };

    semaphore_waiter(semaphore_core& of, semaphore_core::number wanted, std::size_t behind) noexcept
        : of_{&of}, wanted_{wanted}, behind_{behind}
    {
    }
    ~semaphore_waiter() = default;

    void give_back() noexcept
    {
        if (std::exchange(state_, state::idle) == state::granted) [[unlikely]]
            of_->release(wanted_);
    }

    semaphore_core* of_;
    semaphore_core::number wanted_;
    std::size_t behind_;  ///< it queues up behind fewer than these, or not at all
    state state_ = state::idle;

private:
    friend class semaphore_core;
};

/// How many permits are asked for. Throws usage_error if that is negative.
semaphore_core::number checked_permits(std::ptrdiff_t wanted);

}  // namespace leat::detail
