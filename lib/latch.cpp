#include <leat/sync/latch.hpp>

#include <leat/error.hpp>

namespace leat {

// Zero appears only under the lock, from where it is the last that is done to the latch; see waiting_room.hpp. All
// others count without it.
void latch::count_down(std::ptrdiff_t n)
{
    std::ptrdiff_t seen = expected_.load(std::memory_order_relaxed);
    for (;;) {
        if (n < 0 || n > seen)
            throw usage_error{"leat: a latch was counted down further than to zero, or by a negative number"};
        if (n == seen)
            break;
        if (expected_.compare_exchange_weak(seen, seen - n, std::memory_order_acq_rel,
                                            std::memory_order_relaxed))
            return;
    }
    if (n == 0)
        return;
    room_.lock.lock();
    if (!expected_.compare_exchange_strong(seen, 0, std::memory_order_acq_rel)) {
        room_.lock.unlock();
        throw usage_error{"leat: a latch was counted down further than to zero"};
    }
    room_.let_all_go();
}

}  // namespace leat
