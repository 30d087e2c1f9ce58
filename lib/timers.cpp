#include <leat/detail/timers.hpp>

#include <mutex>

namespace leat::detail {
namespace {

/// How many timers expire for each time that the lock is taken.
constexpr int expired_per_lock = 64;

}  // namespace

void timer_shard::close() noexcept
{
    wake_list nobody;
    expiry left{nobody};
    {
        std::lock_guard hold{lock};
        closed_.store(true, std::memory_order_relaxed);
        while (timer_link* const link = wheel.expire(timer_wheel::never))
            static_cast<timed*>(link)->disowned(left);
        wheel.clear();  // what lies beyond the end of time
        armed_.store(0, std::memory_order_relaxed);
        earliest_.store(timer_wheel::never, std::memory_order_relaxed);
    }
    while (expired_call* const call = left.calls) {
        left.calls = call->next_expired;
        call->lost();
    }
}

std::size_t timer_shard::run(std::int64_t now, turn* by) noexcept
{
    std::size_t total = 0;
    if (earliest_.load(std::memory_order_relaxed) > now)
        return total;
    // One list for all: a task that is scheduled alone goes before those that are ready.
    wake_list wakes;
    for (bool more = true; more;) {
        expiry due{wakes};
        int room = expired_per_lock;
        {
            std::lock_guard hold{lock};
            while (room > 0) {
                timer_link* const link = wheel.expire(now);
                if (link == nullptr)
                    break;
                static_cast<timed*>(link)->expired(due);
                ++total;
                --room;
            }
            more = room == 0;
            earliest_.store(wheel.earliest_hint(), std::memory_order_seq_cst);
            armed_.store(wheel.size(), std::memory_order_relaxed);
        }
        while (expired_call* const call = due.calls) {
            due.calls = call->next_expired;
            call->fire(by, wakes);
        }
    }
    wakes.flush(by);
    return total;
}

}  // namespace leat::detail
