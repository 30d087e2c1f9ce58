// Serving a queue of any length without holding its lock for long.
#pragma once

#include <leat/detail/park.hpp>

#include <array>
#include <cstddef>
#include <mutex>

namespace leat::detail {

/// How many waiters are woken for each time that the lock is taken.
inline constexpr int wakes_per_lock = 32;

/// Calls serve(wakes) under the lock until it says that there is no more to be done. Whom a portion has won is
/// scheduled when the next has been served: until then what is served can not have gone. A portion that has won nobody
/// keeps nothing alive, for those it has lost may end at once, so the lock is not let go after it.
template <class Serve>
void serve_in_portions(spinlock& lock, Serve serve) noexcept
{
    std::array<wake_list, 2> wakes;
    turn* const here = current_turn();
    bool more = true;
    for (std::size_t now = 0; more; now = 1 - now) {
        {
            const std::lock_guard hold{lock};
            do
                more = serve(wakes[now]);
            while (more && wakes[now].empty());
        }
        wakes[1 - now].flush(here);
        if (!more)
            wakes[now].flush(here);
    }
}

}  // namespace leat::detail
