#include <leat/detail/channel_core.hpp>

#include <leat/error.hpp>

#include "serve.hpp"

#include <mutex>

namespace leat::detail {
void throw_bad_capacity()
{
    throw usage_error{"leat: the capacity of a channel is a number of values that fits into memory, and not "
                      "negative; for a channel without bound, say leat::unbounded"};
}

void channel_base::close() noexcept
{
    bool more = true;
    while (more) {
        wake_list wakes;
        {
            std::lock_guard hold{lock};
            closed_.show(true);
            int room = wakes_per_lock;
            for (waiter_list* queue : {&watchers, &receivers, &senders})
                while (room > 0) {
                    auto* const won = static_cast<channel_waiter*>(queue->win_front(wakes));
                    if (won == nullptr)
                        break;
                    won->result = channel_waiter::outcome::closed;
                    won->attached = false;
                    --waiting_;
                    --room;
                }
            more = room == 0;
        }
        wakes.flush(current_turn());
    }
}

void channel_base::unpin() noexcept
{
    bool dead = false;
    {
        std::lock_guard hold{lock};
        dead = --waiting_ == 0 && orphaned_;
    }
    if (dead)
        destroy();
}

void channel_base::last_handle_gone() noexcept
{
    close();
    bool dead = false;
    {
        std::lock_guard hold{lock};
        orphaned_ = true;
        dead = waiting_ == 0;
    }
    if (dead)
        destroy();
}

}  // namespace leat::detail
