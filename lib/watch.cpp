#include <leat/flow/watch.hpp>

namespace leat::detail {

void watch_base::close() noexcept
{
    {
        const spin_guard hold{lock};
        if (is_closed)
            return;
        is_closed = true;
    }
    wake_everybody();
}

// Who waits has seen the version there was when he was linked. So those for whom there is something new come before those
// for whom there is not, because they have been woken, have looked, and wait again: these are not to be woken twice.
void watch_base::wake_everybody() noexcept
{
    constexpr int wakes_per_lock = 32;
    for (bool more = true; more;) {
        wake_list wakes;
        {
            const spin_guard hold{lock};
            int room = wakes_per_lock;
            for (; room > 0; --room) {
                auto* const first = static_cast<change_waiter*>(waiting.front());
                if (first == nullptr || !first->due())
                    break;
                waiting.remove(*first);
                static_cast<void>(first->win(wakes));
            }
            more = room == 0;
        }
        wakes.flush(current_turn());
    }
}

}  // namespace leat::detail
