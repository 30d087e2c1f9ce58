// What each thread has of its own, without anything having to be set up: a small number, and a pin.
//
// Slots are never freed, but used again: a thread that ends gives its slot back under the lock of the list, under which
// the next one takes it, so what the one did with things of that number the other sees.
//
// Pins let readers go through a structure without a lock while others take parts out of it. A reader stores into its
// slot the time on a clock that only counts; whoever has taken something out lets the clock go on, and notes what it
// then shows. What was taken out at t is freed when every slot is either empty or shows t or later:
//   - a reader that shows t or later has read the clock after it was let go on, so it has come after the taking out;
//   - one that looked at the clock before, but had not stored it when the slots were looked at, will find the thing
//     taken out: its store, the look at the slots, the pointers that lead to the thing and the taking out are all
//     sequentially consistent (so no fence is needed, which ThreadSanitizer would not see).
// (The road not taken is a pointer for each reader, to the one thing that it looks at: it costs the same store for each
// step of the way. References that readers count would have them write to what they share.)
#pragma once

#include <leat/detail/atomic.hpp>

#include <cstdint>

namespace leat::detail {

class alignas(64) thread_slot {
public:
    /// Small, and no other thread's that lives.
    std::uint32_t index = 0;
    std::uint32_t depth = 0;       ///< pins within pins; the thread's own
    atomic<std::uint64_t> pin{0};  ///< zero: none
    thread_slot* next = nullptr;   ///< of all there are; constant
    thread_slot* next_free = nullptr;
};

/// The calling thread's. Never inlined: see current_turn(). Ends the program if there is no memory for the first.
[[gnu::noinline]] thread_slot& this_threads_slot() noexcept;

/// The clock of pins.
inline constinit atomic<std::uint64_t> pin_clock{1};

/// Lets the clock go on: what has been taken out before may be freed when all_pinned_since() says so of the result.
inline std::uint64_t retire_time() noexcept
{
    return pin_clock.fetch_add(1, std::memory_order_seq_cst) + 1;
}
bool all_pinned_since(std::uint64_t time) noexcept;

/// While it lives, what its thread can reach is not freed. Not to be kept across a suspension.
class [[nodiscard]] read_pin {
public:
    read_pin() noexcept : slot_{this_threads_slot()}
    {
        if (slot_.depth++ == 0)
            slot_.pin.exchange(pin_clock.load(std::memory_order_seq_cst), std::memory_order_seq_cst);
    }
    read_pin(const read_pin&) = delete;
    read_pin& operator=(const read_pin&) = delete;
    ~read_pin()
    {
        if (--slot_.depth == 0)
            slot_.pin.store(0, std::memory_order_release);
    }

private:
    thread_slot& slot_;
};

}  // namespace leat::detail
