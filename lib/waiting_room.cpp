#include <leat/detail/waiting_room.hpp>

#include <leat/error.hpp>

#include "serve.hpp"

#include <thread>

namespace leat::detail {

waiting_room::~waiting_room()
{
    lock.lock();
    while (wakers_ != 0) {
        lock.unlock();
        std::this_thread::yield();
        lock.lock();
    }
    wake_list wakes;
    while (waiter* const left = waiters_.pop_front()) {
        static_cast<room_waiter*>(left)->deserted = true;
        static_cast<void>(left->win(wakes));
    }
    lock.unlock();
    wakes.flush(current_turn());
}

void throw_deserted()
{
    throw usage_error{
        "leat: an event, latch, barrier or wait_group was destroyed while a task waited for it; it has to "
        "live until every wait on it has returned"};
}

void throw_bad_count()
{
    throw usage_error{
        "leat: a latch expects, and a barrier has, a number of participants that is not negative"};
}

void waiting_room::let_all_go() noexcept
{
    const std::uint64_t last = round_++;
    for (;;) {
        wake_list wakes;
        int room = wakes_per_lock;
        waiter* next = waiters_.front();
        while (room > 0 && next != nullptr && static_cast<room_waiter*>(next)->round <= last) {
            waiters_.remove(*next);
            static_cast<void>(next->win(wakes));
            --room;
            next = waiters_.front();
        }
        const bool more = room == 0;
        wakers_ += more ? 1 : 0;
        lock.unlock();
        wakes.flush(current_turn());
        if (!more)
            return;
        lock.lock();
        --wakers_;
    }
}

}  // namespace leat::detail
