// Where tasks wait until an object lets all of them go: event, latch, barrier, wait_group.
//
// Under the lock: the waiters, first come first, each with the round in which it came. To let everybody go closes a
// round: those of that round and of older ones are woken, in batches, between which the lock is free; whoever comes
// meanwhile belongs to the next round, and is left alone.
//
// Life. The object may go as soon as a wait on it has returned, while whoever let it return is still in its call: a
// latch on its waiter's stack is destroyed when the last count_down() has just begun to return. So:
//   - what makes a wait return (a flag that is set, a count that becomes zero, a task that is won) happens under the
//     lock, or before the lock is given back for the last time;
//   - whoever has more than one batch to wake is counted in wakers_ for as long as it is without the lock;
//   - the destructor takes the lock, and waits until wakers_ is zero.
// Then nobody can come back: to give back the lock is the last that a waker does to the object; what it schedules
// afterwards are tasks that it has won. It does not matter by which way the wait has returned, so a wait may find
// the flag set without the lock. The destructor waits for no more than the batch that is under way: it runs after the
// last wait has returned, when there is nobody left to wake.
// (The road not taken is a count of references, as channels have: an allocation for each object.)
// That an object goes while tasks wait for it is an error, which those tasks are thrown: they are won, so they do not
// touch it any more.
#pragma once

#include <leat/detail/park.hpp>
#include <leat/detail/spinlock.hpp>

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <system_error>
#include <utility>

namespace leat::detail {

[[noreturn]] void throw_deserted();
[[noreturn]] void throw_bad_count();

/// A number of things to come. Throws usage_error if it is negative, or absurd.
template <std::integral N>
std::ptrdiff_t count_of(N n)
{
    if (std::cmp_less(n, 0) || std::cmp_greater(n, std::numeric_limits<std::ptrdiff_t>::max()))
        throw_bad_count();
    return static_cast<std::ptrdiff_t>(n);
}

class room_waiter : public waiter {
public:
    std::uint64_t round = 0;
    bool deserted = false;  ///< what it waits for has been destroyed

    /// After the wait.
    void require_source() const
    {
        if (deserted)
            throw_deserted();
    }

protected:
    ~room_waiter() = default;
};

class waiting_room {
public:
    waiting_room() noexcept = default;
    waiting_room(const waiting_room&) = delete;
    waiting_room& operator=(const waiting_room&) = delete;
    ~waiting_room();

    mutable spinlock lock;

    // -- under the lock ----------------------------------------------------------------------------

    void admit(room_waiter& node) noexcept
    {
        admit(node, round_);
    }
    /// The same for a round that has not been closed.
    void admit(room_waiter& node, std::uint64_t round) noexcept
    {
        node.round = round;
        if (waiters_.empty() || round_of(waiters_.back()) <= round) {
            waiters_.push_back(node);
            return;
        }
        waiter* later = waiters_.front();
        while (round_of(later) <= round)
            later = later->next;
        waiters_.insert_before(*later, node);
    }
    void dismiss(room_waiter& node) noexcept
    {
        waiters_.remove(node);
    }
    /// The round that is open: what came in earlier ones has been let go.
    std::uint64_t round() const noexcept
    {
        return round_;
    }
    /// Wins the first who can be won; false if there is none.
    bool let_one_go(wake_list& wakes) noexcept
    {
        return waiters_.win_front(wakes) != nullptr;
    }
    /// Drops those who have been won by others already, and calls gone(waiter) for each.
    template <class Gone>
    void drop_lost(Gone gone) noexcept
    {
        for (waiter* each = waiters_.front(); each != nullptr;) {
            waiter* const following = each->next;
            if (!each->root->can_be_won()) {
                waiters_.remove(*each);
                gone(static_cast<room_waiter&>(*each));
            }
            each = following;
        }
    }
    /// Whoever is going to come back although nobody waits for it keeps the object until it has.
    void stay() noexcept
    {
        ++wakers_;
    }
    void come_back() noexcept
    {
        --wakers_;
    }
    /// Closes the round and wakes whoever is in it or was in an older one; with the lock, which is free afterwards. The
    /// object may be gone then.
    void let_all_go() noexcept;

private:
    static std::uint64_t round_of(const waiter* of) noexcept
    {
        return static_cast<const room_waiter*>(of)->round;
    }

    waiter_list waiters_;  ///< in the order of their rounds
    std::uint64_t round_ = 0;
    std::uint32_t wakers_ = 0;
};

/// Waits to be let through by a Source, which has
///     waiting_room room_;
///     bool try_pass() noexcept;           with the lock or without: whether a wait may return, and has it return
///     static constexpr const char* waits_for;
template <class Source>
class room_operation final : public room_waiter {
public:
    using value_type = void;

    explicit room_operation(Source& of) noexcept : of_{&of}
    {
    }
    room_operation(const room_operation& other) noexcept : of_{other.of_}
    {
    }

    void prepare(turn&) noexcept
    {
    }
    bool try_quick() noexcept
    {
        return of_->try_pass();
    }
    spinlock& source() noexcept override
    {
        return of_->room_.lock;
    }
    bool try_complete(wake_list&) noexcept override
    {
        return of_->try_pass();
    }
    void link() noexcept override
    {
        of_->room_.admit(*this);
    }
    void unlink() noexcept override
    {
        of_->room_.dismiss(*this);
    }
    const char* kind() const noexcept override
    {
        return Source::waits_for;
    }
    std::error_code error() const noexcept
    {
        return {};
    }
    void value() const
    {
        require_source();
    }

private:
    Source* of_;
};

}  // namespace leat::detail
