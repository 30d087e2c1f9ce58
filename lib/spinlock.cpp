#include <leat/detail/spinlock.hpp>

#include "pause.hpp"

#include <chrono>
#include <thread>

namespace leat::detail {

void spinlock::wait() noexcept
{
    // The holder has been preempted if it takes longer than this. Some schedulers take a whole slice from a thread for each
    // yield, so that one which goes on yielding is behind by seconds in the end: it sleeps instead.
    constexpr int spins_before_yield = 64;
    constexpr int spins_before_sleep = spins_before_yield + 4;
    for (int spins = 0;; ++spins) {
        if (try_lock())
            return;
        if (spins < spins_before_yield)
            pause_core();
        else if (spins < spins_before_sleep)
            std::this_thread::yield();
        else
            std::this_thread::sleep_for(std::chrono::microseconds{20});
    }
}

}  // namespace leat::detail
