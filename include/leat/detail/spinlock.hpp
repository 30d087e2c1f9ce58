#pragma once

#include <leat/detail/atomic.hpp>

namespace leat::detail {

/// A lock of one byte for critical sections of a few instructions. Models Lockable.
///
/// No task is resumed and no code of the user's runs while one is held, but for the noexcept moves of
/// values. After a short spin the thread gives its core away, so that a preempted holder can go on.
class spinlock {
public:
    constexpr spinlock() noexcept = default;
    spinlock(const spinlock&) = delete;
    spinlock& operator=(const spinlock&) = delete;

    void lock() noexcept
    {
        if (locked_.exchange(true, std::memory_order_acquire)) [[unlikely]]
            wait();
    }

    bool try_lock() noexcept
    {
        return !locked_.load(std::memory_order_relaxed) && !locked_.exchange(true, std::memory_order_acquire);
    }

    void unlock() noexcept
    {
        locked_.store(false, std::memory_order_release);
    }

private:
    void wait() noexcept;

    atomic<bool> locked_{false};
};

/// Holds a spinlock in a scope: std::lock_guard, without <mutex>.
class [[nodiscard]] spin_guard {
public:
    explicit spin_guard(spinlock& lock) noexcept : lock_{lock}
    {
        lock_.lock();
    }
    spin_guard(const spin_guard&) = delete;
    spin_guard& operator=(const spin_guard&) = delete;
    ~spin_guard()
    {
        lock_.unlock();
    }

private:
    spinlock& lock_;
};

}  // namespace leat::detail
