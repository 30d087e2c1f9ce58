// The atomics on which the protocols between threads rest: parking, locks, contexts, queues. A model build
// (test/model_test.cpp) puts atomics of its own in their place, each operation of which is a point where
// another thread may go on, and searches the interleavings.
#pragma once

#if defined(LEAT_MODEL_ATOMIC)
#include LEAT_MODEL_ATOMIC
#else

#include <atomic>

namespace leat::detail {

template <class T>
using atomic = std::atomic<T>;

/// Whether all interleavings are searched, so that what is repeated should be repeated seldom.
inline constexpr bool is_model = false;

/// A variable that is protected by a lock, and at which others may look without it.
///
/// get() and set() are as cheap as those of a plain variable. A look may miss what set() has written just now,
/// for as long as a processor keeps a store to itself. What show() has written it does not miss: show(), look() and all
/// else that is sequentially consistent have one order.
template <class T>
class published {
public:
    constexpr published() noexcept = default;
    constexpr published(T value) noexcept : value_{value}
    {
    }

    // With the lock.

    T get() const noexcept
    {
        return value_.load(std::memory_order_relaxed);
    }
    void set(T value) noexcept
    {
        value_.store(value, std::memory_order_release);
    }
    void show(T value) noexcept
    {
        value_.store(value, std::memory_order_seq_cst);
    }

    // Any time.

    T look() const noexcept
    {
        return value_.load(std::memory_order_seq_cst);
    }

private:
    std::atomic<T> value_{};
};

}  // namespace leat::detail

#endif
