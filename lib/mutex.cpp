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
        next->note_granted();
        word_.store(locked | rest, std::memory_order_relaxed);
    } else {
        next->contends_ = true;
        word_.store(woken | rest, std::memory_order_release);
    }
    return true;
}

bool mutex_waiter::try_complete(wake_list&) noexcept
{
    using word = mutex_core::word;
    const word mine = contends_ ? mutex_core::woken : 0;
    const bool lost = contends_;
    contends_ = false;
    word seen = of_->word_.load(std::memory_order_relaxed);
    for (;;) {
        if ((seen & mutex_core::locked) == 0) {
            if (of_->word_.compare_exchange_weak(seen, (seen | mutex_core::locked) & ~mine,
                                                 std::memory_order_acquire, std::memory_order_relaxed)) {
                note_granted();
                return true;
            }
        } else {
            const word to = ((seen | mutex_core::queued) & ~mine) | (lost ? mutex_core::starving : 0);
            if (of_->word_.compare_exchange_weak(seen, to, std::memory_order_relaxed)) {
                lost_ = lost_ || lost;
                return false;
            }
        }
    }
}

void mutex_waiter::link() noexcept
{
    if (lost_)
        of_->queue_.push_front(*this);
    else
        of_->queue_.push_back(*this);
}

// A contender that gives up has to wake another. It takes the mutex for that, if it is free; else its holder will.
void mutex_waiter::unlink() noexcept
{
    using word = mutex_core::word;
    of_->queue_.remove(*this);
    if (!std::exchange(contends_, false))
        return;
    word seen = of_->word_.load(std::memory_order_relaxed);
    for (;;) {
        const bool is_free = (seen & mutex_core::locked) == 0;
        const word to = (seen & ~mutex_core::woken) | mutex_core::locked;
        if (of_->word_.compare_exchange_weak(seen, to, std::memory_order_acquire,
                                             std::memory_order_relaxed)) {
            granted_ = is_free;
            return;
        }
    }
}

void mutex_waiter::unlinked() noexcept
{
    if (std::exchange(granted_, false))
        of_->unlock();
}

void mutex_waiter::describe(inspect::task_info& into) const
{
    if (of_->name() != nullptr)
        into.waits_for = "mutex \"" + std::string{of_->name()} + '"';
    if (of_->is_locked())
        into.held_by = of_->holder();
}

}  // namespace leat::detail
