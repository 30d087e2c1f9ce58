// A worker's queue of ready tasks: a ring with one producer and many consumers.
//
// Only the owner advances tail_, after it has filled the slot: release, paired with the consumers' acquire.
// Everybody, the owner included, takes by advancing head_ with a compare-and-swap after having read the slots;
// one that fails has read slots that were somebody else's, and forgets them. The owner does not refill a slot
// before head_ has passed it: it reads head_ with acquire, paired with the consumers' release. The counters run
// on and wrap around; a slot is the counter's low bits. The owner takes several at a time, so that the
// compare-and-swap is shared by a batch.
#pragma once

#include <leat/detail/atomic.hpp>
#include <leat/detail/park.hpp>

#include <cstdint>

namespace leat::detail {

template <std::uint32_t Size>
class run_queue_of {
    static_assert((Size & (Size - 1)) == 0, "the counters wrap around at a power of two");

public:
    static constexpr std::uint32_t size = Size;

    run_queue_of() noexcept = default;
    /// With counters that have run so far: for tests of their wrap-around.
    explicit run_queue_of(std::uint32_t start) noexcept : head_{start}, tail_{start}
    {
    }

    /// By the owner; false if there is no room.
    [[nodiscard]] bool push(task_root& root) noexcept
    {
        const std::uint32_t tail = tail_.load(std::memory_order_relaxed);
        if (tail - head_.load(std::memory_order_acquire) >= size)
            return false;
        slots_[tail % size].store(&root, std::memory_order_relaxed);
        tail_.store(tail + 1, std::memory_order_release);
        return true;
    }

    /// By the owner: up to `most` from the front. Returns how many.
    std::uint32_t take(task_root** into, std::uint32_t most) noexcept
    {
        return take_some(into, most, false);
    }
    /// By a thief: half of what is there, but at most `most`.
    std::uint32_t steal(task_root** into, std::uint32_t most) noexcept
    {
        return take_some(into, most, true);
    }

    bool empty() const noexcept
    {
        return length() == 0;
    }
    std::uint32_t length() const noexcept
    {
        const std::uint32_t head = head_.load(std::memory_order_seq_cst);
        const std::uint32_t tail = tail_.load(std::memory_order_seq_cst);
        const std::uint32_t count = tail - head;
        return count <= size ? count : 0;  // head had moved on before tail was read
    }

private:
    std::uint32_t take_some(task_root** into, std::uint32_t most, bool half) noexcept
    {
        std::uint32_t head = head_.load(std::memory_order_acquire);
        for (;;) {
            const std::uint32_t tail = tail_.load(std::memory_order_acquire);
            std::uint32_t count = tail - head;
            if (count == 0)
                return 0;
            if (count > size) {  // head is stale
                head = head_.load(std::memory_order_acquire);
                continue;
            }
            if (half)
                count -= count / 2;
            if (count > most)
                count = most;
            for (std::uint32_t i = 0; i < count; ++i)
                into[i] = slots_[(head + i) % size].load(std::memory_order_relaxed);
            if (head_.compare_exchange_weak(head, head + count, std::memory_order_acq_rel,
                                            std::memory_order_acquire))
                return count;
        }
    }

    alignas(64) atomic<std::uint32_t> head_{0};
    alignas(64) atomic<std::uint32_t> tail_{0};
    alignas(64) atomic<task_root*> slots_[size]{};
};

using run_queue = run_queue_of<256>;

}  // namespace leat::detail
