// Deadlines in order, for things that mostly go before theirs comes. How it works: lib/timer_wheel.cpp.
#pragma once

#include <array>
#include <cassert>
#include <cstddef>
#include <cstdint>

namespace leat::detail {

// Of a circular list; also the head of one.
struct timer_node {
    timer_node* prev;
    timer_node* next;
};

/// Base of whatever is timed. It lives with its owner (in a coroutine's frame, say), who must remove it from
/// the wheel before it ends; the wheel only links it.
class timer_link : private timer_node {
public:
    constexpr timer_link() noexcept : timer_node{nullptr, nullptr}
    {
    }
    timer_link(const timer_link&) = delete;
    timer_link& operator=(const timer_link&) = delete;

    ~timer_link()
    {
        assert(!armed() && "leat: a timer ends while it is armed");
    }

    /// Whether it is in a wheel.
    bool armed() const noexcept
    {
        return next != nullptr;
    }

    /// As given to the last insert().
    std::int64_t deadline() const noexcept
    {
        return deadline_;
    }

private:
    friend class timer_wheel;

    std::int64_t deadline_ = 0;
    std::uint64_t tick_ = 0;  // decides the slot, together with the wheel's current_
};

/// A hierarchical timing wheel over the whole range of int64 nanoseconds. Allocates nothing.
///
/// Time comes in ticks of 2^tick_shift ns: a timer expires at the first tick that is not before its deadline,
/// so never early, and late by less than a tick. With tick_shift 0 all is exact.
///
/// Threads  none of its own: the user locks, around const members too.
class timer_wheel {
public:
    static constexpr std::int64_t never = INT64_MAX;

    /// Pre: tick_shift < 64. No deadline is seen as earlier than `start_ns`.
    explicit timer_wheel(unsigned tick_shift, std::int64_t start_ns = 0) noexcept;

    timer_wheel(const timer_wheel&) = delete;
    timer_wheel& operator=(const timer_wheel&) = delete;

    /// Pre: nobody is armed.
    ~timer_wheel();

    /// Arms `link`. O(1). Pre: not armed.
    ///
    /// A deadline that is past already counts as the present one: the link expires after those that are due
    /// at the moment expire() has come to, and before all others.
    void insert(timer_link& link, std::int64_t deadline_ns) noexcept;

    /// Disarms `link`. O(1). Pre: armed, in this wheel.
    void remove(timer_link& link) noexcept;

    /// The time at which expire() will next find something, `never` if nobody is armed: the earliest
    /// deadline, rounded up to a tick (of those past already, the time of the wheel).
    ///
    /// O(1), except that it may look at each link of one slot, once until the first among them goes. Move
    /// time there (which spreads the slot), or use earliest_hint() if time may not get there.
    std::int64_t earliest() const noexcept;

    /// A time not after earliest() and, if anybody is armed, at which expire() has something to do, if only
    /// to move links closer; `never` if nobody is armed. O(1). To bound a sleep: there are at most as many
    /// wake-ups before the deadline as there are levels (one per factor of 64 in the distance, in ticks).
    std::int64_t earliest_hint() const noexcept;

    /// Disarms and returns a link whose deadline has come, null if there is none; to be called until then.
    ///
    /// In the order of deadlines (in ticks), and of insertion among equal ones. Amortised O(1): a link moves
    /// at most once per level. A `now_ns` before the last one counts as the last one.
    timer_link* expire(std::int64_t now_ns) noexcept;

    /// Disarms all. O(how many are armed).
    void clear() noexcept;

    /// How many are armed.
    std::size_t size() const noexcept
    {
        return size_;
    }

private:
    static constexpr unsigned slot_bits = 6;
    static constexpr unsigned slots = 1U << slot_bits;
    static constexpr unsigned levels = 11;  // of 6 bits each: 66

    struct place {
        unsigned level;
        unsigned slot;
    };

    place place_of(std::uint64_t tick) const noexcept;
    std::uint64_t first_tick(place where) const noexcept;
    place lowest() const noexcept;
    std::int64_t to_ns(std::uint64_t tick) const noexcept;
    void link_up(timer_link& link) noexcept;
    void unlink(timer_link& link, place where) noexcept;
    void cascade(place from) noexcept;

    std::uint64_t current_;  // the tick that time has come to
    std::uint64_t now_;      // the latest time seen, in biased nanoseconds
    std::size_t size_ = 0;
    unsigned shift_;
    std::uint32_t used_levels_ = 0;                            // a bit per level
    std::array<std::uint64_t, levels> occupied_{};             // a bit per slot
    mutable std::array<timer_link*, levels> earliest_{};       // in the level's first slot; null: not known
    std::array<std::array<timer_node, slots>, levels> slots_;  // indeterminate where the bit is clear
};

}  // namespace leat::detail
