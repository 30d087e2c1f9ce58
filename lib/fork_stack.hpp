// What a worker has forked and not yet run: a stack to its owner, who runs the youngest first, and a queue to
// thieves, who take the oldest, which is likely to have the most work under it. So a tree of tasks unfolds depth
// first, in memory that grows with its depth, and is shared out near its root.
//
// The deque of Chase and Lev (Dynamic Circular Work-Stealing Deque, SPAA 2005), with a ring that does not grow:
// what finds no room goes elsewhere. Only the owner changes bottom_; everybody, the owner only for the last one,
// takes by advancing top_ with a compare-and-swap. pop() lowers bottom_, then reads top_; steal() reads top_, then
// bottom_; sequentially consistent all four, so that not both miss each other over the last one. A thief may read
// a slot that is being refilled, but then top_ has moved on, and its compare-and-swap fails. The counters run on
// and wrap around. There is no fence, because ThreadSanitizer does not see them (T8).
#pragma once

#include <leat/detail/atomic.hpp>
#include <leat/detail/park.hpp>

#include <cstdint>

namespace leat::detail {

template <std::uint32_t Size>
class fork_stack_of {
    static_assert((Size & (Size - 1)) == 0, "the counters wrap around at a power of two");

public:
    static constexpr std::uint32_t size = Size;

    fork_stack_of() noexcept = default;
    /// With counters that have run so far: for tests of their wrap-around.
    explicit fork_stack_of(std::uint32_t start) noexcept : top_{start}, bottom_{start}
    {
    }

    /// By the owner; false if there is no room.
    [[nodiscard]] bool push(task_root& root) noexcept
    {
        const std::uint32_t bottom = bottom_.load(std::memory_order_relaxed);
        if (bottom - top_.load(std::memory_order_acquire) >= size)
            return false;
        slots_[bottom % size].store(&root, std::memory_order_relaxed);
        bottom_.store(bottom + 1, std::memory_order_release);
        return true;
    }

    /// By the owner: the youngest, or null.
    task_root* pop() noexcept
    {
        const std::uint32_t bottom = bottom_.load(std::memory_order_relaxed);
        // top_ only grows: what looks empty is.
        if (bottom == top_.load(std::memory_order_relaxed))
            return nullptr;
        const std::uint32_t last = bottom - 1;
        bottom_.store(last, std::memory_order_seq_cst);
        std::uint32_t top = top_.load(std::memory_order_seq_cst);
        if (top == bottom) {  // a thief was faster
            bottom_.store(bottom, std::memory_order_release);
            return nullptr;
        }
        task_root* const root = slots_[last % size].load(std::memory_order_relaxed);
        if (top != last)
            return root;
        const bool mine = top_.compare_exchange_strong(top, top + 1, std::memory_order_seq_cst);
        bottom_.store(bottom, std::memory_order_release);
        return mine ? root : nullptr;
    }

    /// By a thief: the oldest; null if there is none, or somebody else was faster.
    task_root* steal() noexcept
    {
        std::uint32_t top = top_.load(std::memory_order_seq_cst);
        const std::uint32_t bottom = bottom_.load(std::memory_order_seq_cst);
        // The owner, about to find out that it is empty, may be one below.
        if (static_cast<std::int32_t>(bottom - top) <= 0)
            return nullptr;
        task_root* const root = slots_[top % size].load(std::memory_order_relaxed);
        return top_.compare_exchange_strong(top, top + 1, std::memory_order_seq_cst) ? root : nullptr;
    }

    bool empty() const noexcept
    {
        return length() == 0;
    }
    std::uint32_t length() const noexcept
    {
        const std::uint32_t top = top_.load(std::memory_order_seq_cst);
        const std::uint32_t bottom = bottom_.load(std::memory_order_seq_cst);
        const auto count = static_cast<std::int32_t>(bottom - top);
        return count > 0 ? static_cast<std::uint32_t>(count) : 0;
    }

private:
    alignas(64) atomic<std::uint32_t> top_{0};
    alignas(64) atomic<std::uint32_t> bottom_{0};
    alignas(64) atomic<task_root*> slots_[size]{};
};

using fork_stack = fork_stack_of<256>;

}  // namespace leat::detail
