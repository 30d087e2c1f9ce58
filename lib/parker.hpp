// Lets one thread sleep until it is woken or some time has passed. A wake-up that comes first is not lost.
//
// word_ is 1 while there is a wake-up to be taken. wake() stores it with release before it looks for the
// sleeper; wait() takes it with acquire, so the sleeper sees what was written before the wake-up.
#pragma once

#include <atomic>
#include <cstdint>

#if defined(__linux__)
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <climits>
#include <ctime>
#else
#include <chrono>
#include <condition_variable>
#include <mutex>
#endif

namespace leat::detail {

class parker {
public:
    /// Forgets a wake-up that has not been taken.
    void reset() noexcept
    {
        word_.store(0, std::memory_order_relaxed);
    }
    bool woken() const noexcept
    {
        return word_.load(std::memory_order_acquire) != 0;
    }

#if defined(__linux__)
    /// Notes the wake-up without waking: for a thread that sleeps elsewhere.
    void mark() noexcept
    {
        word_.store(1, std::memory_order_release);
    }
    void wake() noexcept
    {
        mark();
        syscall(SYS_futex, &word_, FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0);
    }
    /// Returns when woken, or after the span; at any time if there is a signal. Negative: no limit.
    void wait(std::int64_t nanoseconds) noexcept
    {
        if (woken())
            return;
        timespec span{};
        span.tv_sec = static_cast<std::time_t>(nanoseconds / 1'000'000'000);
        span.tv_nsec = static_cast<long>(nanoseconds % 1'000'000'000);
        syscall(SYS_futex, &word_, FUTEX_WAIT_PRIVATE, 0, nanoseconds < 0 ? nullptr : &span, nullptr, 0);
        static_cast<void>(woken());
    }
#else
    void mark() noexcept
    {
        word_.store(1, std::memory_order_release);
    }
    void wake() noexcept
    {
        {
            const std::lock_guard hold{mutex_};
            mark();
        }
        called_.notify_one();
    }
    void wait(std::int64_t nanoseconds) noexcept
    {
        std::unique_lock hold{mutex_};
        if (nanoseconds < 0)
            called_.wait(hold, [&] { return woken(); });
        else
            called_.wait_for(hold, std::chrono::nanoseconds{nanoseconds}, [&] { return woken(); });
    }

private:
    std::mutex mutex_;
    std::condition_variable called_;
#endif

private:
    std::atomic<int> word_{0};
};

}  // namespace leat::detail
