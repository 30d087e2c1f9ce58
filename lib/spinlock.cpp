#include <leat/detail/spinlock.hpp>

#include "pause.hpp"

#include <thread>

namespace leat::detail {

void spinlock::wait() noexcept
{
    constexpr int spins_before_yield = 64;
    for (int spins = 0;; ++spins) {
        if (try_lock())
            return;
        if (spins < spins_before_yield)
            pause_core();
        else
            std::this_thread::yield();
    }
}

}  // namespace leat::detail
