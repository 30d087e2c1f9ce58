#include <leat/sync/wait_group.hpp>

#include <leat/error.hpp>

#include <limits>

namespace leat {
namespace {

std::int64_t sum(std::int64_t count, std::int64_t n)
{
    if (n > std::numeric_limits<std::int64_t>::max() - count)
        throw usage_error{"leat: the count of a wait_group is absurd"};
    if (n < -count)
        throw usage_error{
            "leat: the count of a wait_group would be negative: more calls of done() than were added"};
    return count + n;
}

}  // namespace

// To zero it goes only under the lock, from where it is the last that is done to the group; see waiting_room.hpp.
// Everything else needs no lock: nobody can wait who came at an earlier zero, for that has let them all go, and those
// who still are in the queue are of an older round.
void wait_group::add(std::int64_t n)
{
    std::int64_t seen = count_.load(std::memory_order_relaxed);
    for (;;) {
        const std::int64_t next = sum(seen, n);
        if (n == 0)
            return;
        if (next == 0)
            break;
        if (count_.compare_exchange_weak(seen, next, std::memory_order_acq_rel, std::memory_order_relaxed))
            return;
    }
    room_.lock.lock();
    for (;;) {
        if (n < -seen) {
            room_.lock.unlock();
            static_cast<void>(sum(seen, n));
        }
        if (count_.compare_exchange_weak(seen, seen + n, std::memory_order_acq_rel,
                                         std::memory_order_relaxed))
            break;
    }
    if (seen + n == 0)
        room_.let_all_go();
    else
        room_.lock.unlock();
}

}  // namespace leat
