#include <leat/detail/timers.hpp>

namespace leat::detail {
namespace {

/// How many timers expire for each time that the lock is taken.
constexpr int expired_per_lock = 64;

}  // namespace

timer_shard::~timer_shard()
{
    std::lock_guard hold{lock};
    while (timer_link* const left = wheel.expire(timer_wheel::never - 1))
        static_cast<timed*>(left)->orphaned();
}

std::size_t timer_shard::run(std::int64_t now, turn* by) noexcept
{
    std::size_t total = 0;
    if (earliest_.load(std::memory_order_relaxed) > now)
        return total;
    for (bool more = true; more;) {
        expiry due;
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
        due.wakes.flush(by);
        while (expired_call* const call = due.calls) {
            due.calls = call->next_expired;
            call->fire(by);
        }
    }
    return total;
}

}  // namespace leat::detail
