#include <leat/detail/condition_core.hpp>

#include <leat/detail/blocking_wait.hpp>
#include <leat/inspect.hpp>
#include <leat/sync/condition_variable.hpp>

#include "serve.hpp"

#include <limits>
#include <mutex>
#include <string>

namespace leat::detail {

void check_guard(bool holds)
{
    if (!holds)
        throw usage_error{"leat: a wait for a condition with a guard that holds no mutex"};
}

void condition_core::notify_one() noexcept
{
    wake_list wakes;
    notify_some(std::numeric_limits<std::uint64_t>::max(), 1, wakes);
    wakes.flush(current_turn());
}

// Those who come meanwhile, maybe for the second time, are not meant.
void condition_core::notify_all() noexcept
{
    std::uint64_t beyond = 0;
    {
        const std::lock_guard hold{lock};
        beyond = last_ + 1;
    }
    bool more = true;
    while (more) {
        wake_list wakes;
        more = notify_some(beyond, wakes_per_lock, wakes) == wakes_per_lock;
        wakes.flush(current_turn());
    }
}

int condition_core::notify_some(std::uint64_t beyond, int most, wake_list& wakes) noexcept
{
    int done = 0;
    lock.lock();
    while (done < most) {
        auto* const first = static_cast<condition_waiter*>(queue_.front());
        if (first == nullptr || first->number >= beyond)
            break;
        queue_.remove(*first);
        spinlock& of_mutex = first->mutex().lock;
        of_mutex.lock();
        const bool moves = first->queue_if_locked();
        if (!moves && !first->win(wakes)) {
            // It has been won by its context, and is not there to be notified.
            of_mutex.unlock();
            continue;
        }
        first->notified.store(true, std::memory_order_relaxed);
        ++done;
        if (done == most) {
            lock.unlock();
            of_mutex.unlock();
            return done;
        }
        of_mutex.unlock();
    }
    lock.unlock();
    return done;
}

bool condition_core::unlink(condition_waiter& node) noexcept
{
    bool notified = false;
    {
        const std::lock_guard hold{lock};
        const std::lock_guard hold_mutex{node.mutex().lock};
        notified = node.notified.load(std::memory_order_relaxed);
        if (notified)
            node.unlink();
        else
            queue_.remove(node);
    }
    node.unlinked();
    return notified;
}

void condition_core::wait_blocking(mutex_core& mutex)
{
    thread_parker parker;
    condition_waiter node{*this, mutex};
    node.root = &parker.root();
    {
        const std::lock_guard hold{lock};
        parker.root().prepare_shielded_park();
        link(node);
    }
    mutex.unlock();
    parker.wait();
    parker.root().finish_park();
    if (node.has_mutex()) {
        node.take_mutex();
        return;
    }
    // Notified while the mutex was free.
    thread_parker again;
    node.root = &again.root();
    wake_list wakes;
    mutex.lock.lock();
    if (!node.try_complete(wakes)) {
        again.root().prepare_shielded_park();
        node.link();
        mutex.lock.unlock();
        again.wait();
        again.root().finish_park();
    } else
        mutex.lock.unlock();
    node.take_mutex();
}

void condition_waiter::describe(inspect::task_info& into) const
{
    if (into.waits_for == mutex_waiter::kind() || notified.load(std::memory_order_relaxed)) {
        into.waits_for = mutex_waiter::kind();
        mutex_waiter::describe(into);
    } else if (name_ != nullptr)
        into.waits_for = "condition_variable \"" + std::string{name_} + '"';
}

// While it is published it may be claimed, but a task that was cancelled does not get past the lock of the condition,
// so the mutex is not asked for before it has been given up.
bool condition_awaiter::await_suspend(std::coroutine_handle<> frame) noexcept
{
    root_.current = frame;
    root_.now->left = true;
    root_.enroll();
    condition_core& condition = *waiter_.condition_;
    mutex_core& mutex = waiter_.mutex();
    state_ = state::waits;
    root_.waits_for(waiter_.kind(), &waiter_);
    root_.on_turn = this;
    condition.lock.lock();
    switch (root_.prepare_park()) {
    case park_result::parked:
        condition.link(waiter_);
        gave_up_ = true;
        break;
    case park_result::claimed: condition.lock.unlock(); return true;
    case park_result::refused:
        condition.lock.unlock();
        root_.on_turn = nullptr;
        state_ = state::refused;
        return false;
    }
    condition.lock.unlock();
    // The task may have been notified, but it can not have ended: it needs the mutex for that.
    mutex.unlock();
    return true;
}

bool condition_awaiter::begin_turn(turn& here) noexcept
{
    const bool cancelled = root_.finish_park() == task_root::by_context;
    if (state_ == state::waits && cancelled) {
        const bool notified = waiter_.condition_->unlink(waiter_);
        if (!gave_up_) {
            state_ = state::refused;
            return true;
        }
        stopped_ = true;
        if (notified)
            waiter_.condition_->notify_one();
    }
    if (waiter_.has_mutex()) {
        state_ = state::done;
        return true;
    }
    return lock_or_park(here);
}

bool condition_awaiter::lock_or_park(turn& here) noexcept
{
    spinlock& source = waiter_.source();
    wake_list wakes;
    source.lock();
    if (waiter_.try_complete(wakes)) {
        source.unlock();
        wakes.flush(&here);
        state_ = state::done;
        return true;
    }
    state_ = state::locks;
    root_.waits_for("mutex", &waiter_);
    root_.on_turn = this;
    root_.prepare_shielded_park();
    waiter_.link();
    source.unlock();
    return false;
}

// The frame is destroyed while it waits.
void condition_awaiter::abandon() noexcept
{
    if (state_ == state::locks) {
        {
            const std::lock_guard hold{waiter_.source()};
            waiter_.unlink();
        }
        waiter_.unlinked();
    } else {
        const bool notified = waiter_.condition_->unlink(waiter_);
        if (!gave_up_)
            waiter_.mutex().unlock();  // its guard has let go of it
        else if (notified)
            waiter_.condition_->notify_one();
    }
}

bool condition_awaiter::finish() noexcept
{
    if (state_ == state::done)
        waiter_.take_mutex();
    return stopped_ || state_ == state::refused;
}

}  // namespace leat::detail
