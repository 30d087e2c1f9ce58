#include <leat/sync/event.hpp>

namespace leat {

// Always under the lock, and by an exchange. If it is set already, another waiter may yet read what that other set()
// has published, and find nothing of what came before this one.
void event::set() noexcept
{
    room_.lock.lock();
    if (mode_ == manual_reset) {
        set_.exchange(true, std::memory_order_acq_rel);
        room_.let_all_go();
        return;
    }
    detail::wake_list wakes;
    if (!room_.let_one_go(wakes))
        set_.exchange(true, std::memory_order_acq_rel);
    room_.lock.unlock();
    wakes.flush(detail::current_turn());
}

}  // namespace leat
