#include <leat/detail/mutex_core.hpp>

#include <leat/inspect.hpp>

#include <cstdio>
#include <exception>
#include <mutex>

namespace leat::detail {

std::uint64_t running_task_id() noexcept
{
    const turn* const here = current_turn();
    return here != nullptr && here->root != nullptr ? here->root->id() : 0;
}

void report_destroyed_in_use(const char* kind, const char* name) noexcept
{
    const bool named = name != nullptr;
    std::fprintf(
        stderr,
        "leat: a %s%s%s%s was destroyed while somebody held it or waited for it: it has to outlive its "
        "guards, and the tasks that use it\n",
        kind, named ? " \"" : "", named ? name : "", named ? "\"" : "");
    std::terminate();
}

// It is free, but not all zero.
bool mutex_core::try_lock_seen(word seen) noexcept
{
    while ((seen & locked) == 0)
        if (word_.compare_exchange_weak(seen, seen | locked, std::memory_order_acquire,
                                        std::memory_order_relaxed))
            return true;
    return false;
}

void mutex_core::unlock_slowly() noexcept
{
    for (;;) {
        word seen = word_.load(std::memory_order_relaxed);
        while ((seen & queued) == 0 || (seen & woken) != 0)
            if (word_.compare_exchange_weak(seen, seen & ~locked, std::memory_order_release,
                                            std::memory_order_relaxed))
                return;
        wake_list wakes;
        bool wanted = false;
        {
            std::lock_guard hold{lock};
            wanted = hand_on(wakes);
        }
        wakes.flush(current_turn());
        if (wanted)
            return;
    }
}

// With the spinlock and the mutex, which the caller no longer has if this is true; if nobody wants it, it still has.
bool mutex_core::hand_on(wake_list& wakes) noexcept
{
    const bool to_the_first = (word_.load(std::memory_order_relaxed) & starving) != 0;
    auto* const next = static_cast<mutex_waiter*>(queue_.win_front(wakes));
    if (next == nullptr) {
        word_.store(locked, std::memory_order_relaxed);
        return false;
    }
    const word rest = queue_.empty() ? 0 : queued;
    // Its root is ours to look at until it is scheduled.
    if (to_the_first || next->root->on_turn == nullptr) {
        next->grant();
        word_.store(locked | rest, std::memory_order_relaxed);
    } else {
        next->state_ = mutex_waiter::state::contending;
        word_.store(woken | rest, std::memory_order_release);
    }
    return true;
}

bool mutex_waiter::try_complete(wake_list&) noexcept
{
    using word = mutex_core::word;
    const bool contends = state_ == state::contending;
    const word cleared = contends ? mutex_core::woken : 0;
    const word left = mutex_core::queued | (contends ? mutex_core::starving : 0);
    word seen = of_->word_.load(std::memory_order_relaxed);
    for (;;) {
        if ((seen & mutex_core::locked) == 0) {
            if (of_->word_.compare_exchange_weak(seen, (seen & ~cleared) | mutex_core::locked,
                                                 std::memory_order_acquire, std::memory_order_relaxed)) {
                grant();
                return true;
            }
        } else if (of_->word_.compare_exchange_weak(seen, (seen & ~cleared) | left,
                                                    std::memory_order_relaxed)) {
            if (contends)
                state_ = state::lost;
            return false;
        }
    }
}

bool mutex_waiter::queue_if_locked() noexcept
{
    mutex_core::word seen = of_->word_.load(std::memory_order_relaxed);
    while ((seen & mutex_core::locked) != 0)
        if (of_->word_.compare_exchange_weak(seen, seen | mutex_core::queued, std::memory_order_relaxed)) {
            of_->queue_.push_back(*this);
            return true;
        }
    return false;
}

void mutex_waiter::link() noexcept
{
    if (state_ == state::lost)
        of_->queue_.push_front(*this);
    else
        of_->queue_.push_back(*this);
}

// A contender that gives up has to wake another. It takes the mutex for that, if it is free; else its holder will.
void mutex_waiter::unlink() noexcept
{
    using word = mutex_core::word;
    of_->queue_.remove(*this);
    if (state_ != state::contending)
        return;
    word seen = of_->word_.load(std::memory_order_relaxed);
    while (!of_->word_.compare_exchange_weak(seen, (seen & ~mutex_core::woken) | mutex_core::locked,
                                             std::memory_order_acquire, std::memory_order_relaxed)) {}
    state_ = (seen & mutex_core::locked) == 0 ? state::granted : state::idle;
}

void mutex_waiter::unlinked() noexcept
{
    give_back();
}

void mutex_waiter::describe(inspect::task_info& into) const
{
    if (of_->name() != nullptr)
        into.waits_for = "mutex \"" + std::string{of_->name()} + '"';
    if (of_->is_locked())
        into.held_by = of_->holder();
}

}  // namespace leat::detail
