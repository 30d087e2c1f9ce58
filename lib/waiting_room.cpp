#include <leat/detail/waiting_room.hpp>

#include <cstdio>
#include <exception>
#include <thread>

namespace leat::detail {
namespace {

/// How many waiters are woken for each time that the lock is taken.
constexpr int wakes_per_lock = 32;

}  // namespace

waiting_room::~waiting_room()
{
    lock.lock();
    while (wakers_ != 0) {
        lock.unlock();
        std::this_thread::yield();
        lock.lock();
    }
    const bool deserted = waiters_.empty();
    lock.unlock();
    if (!deserted) {
        std::fputs(
            "leat: an event, latch, barrier or wait_group was destroyed while a task waits for it: it has to "
            "live until every wait on it has returned\n",
            stderr);
        std::terminate();
    }
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
