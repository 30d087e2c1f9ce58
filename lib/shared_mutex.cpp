#include <leat/detail/shared_mutex_core.hpp>

#include <leat/detail/mutex_core.hpp>
#include <leat/inspect.hpp>
#include <leat/sync/shared_mutex.hpp>

#include "serve.hpp"

#include <mutex>
#include <string>

namespace leat::detail {

void throw_upgrade_of_nothing()
{
    throw usage_error{"leat: an upgrade of a guard that holds no shared_mutex"};
}

shared_mutex_core::~shared_mutex_core()
{
    if ((word_.load(std::memory_order_relaxed) & ~queued) != 0 || !queue_.empty() || upgrader_ != nullptr)
        report_destroyed_in_use("shared_mutex", name_);
}

bool shared_mutex_core::nobody_waits() noexcept
{
    if ((word_.load(std::memory_order_relaxed) & queued) == 0)
        return false;
    const std::lock_guard hold{lock};
    if (!queue_.empty() || upgrader_ != nullptr)
        return false;
    word_.fetch_and(~queued, std::memory_order_relaxed);
    return true;
}

// Those who wait for the mutex do not keep one of its readers from becoming the writer; another upgrader does.
bool shared_mutex_core::try_upgrade() noexcept
{
    word seen = one_reader;
    if (word_.compare_exchange_strong(seen, written, std::memory_order_acquire, std::memory_order_relaxed))
        return true;
    if ((seen & queued) == 0)
        return false;
    const std::lock_guard hold{lock};
    if (upgrader_ != nullptr)
        return false;
    // `queued` may have been taken back meanwhile.
    seen = word_.load(std::memory_order_relaxed);
    while ((seen & ~queued) == one_reader)
        if (word_.compare_exchange_weak(seen, (seen & queued) | written, std::memory_order_acquire,
                                        std::memory_order_relaxed))
            return true;
    return false;
}

// The word is not changed before the first of those who wait have been served: afterwards this may be gone.
void shared_mutex_core::change_slowly(word minus, word plus) noexcept
{
    for (;;) {
        bool changed = false;
        serve_in_portions(lock, [&](wake_list& wakes) {
            if (!changed && queue_.empty() && upgrader_ == nullptr) {
                word_.fetch_and(~queued, std::memory_order_relaxed);
                return false;
            }
            if (!std::exchange(changed, true))
                word_.fetch_add(plus - minus, std::memory_order_release);
            return serve_some(wakes);
        });
        if (changed)
            return;
        word seen = word_.load(std::memory_order_relaxed);
        while ((seen & queued) == 0)
            if (word_.compare_exchange_weak(seen, seen + plus - minus, std::memory_order_release,
                                            std::memory_order_relaxed))
                return;
    }
}

void shared_mutex_core::serve() noexcept
{
    serve_in_portions(lock, [this](wake_list& wakes) { return serve_some(wakes); });
}

// With the spinlock: lets in whom it can. True: there may be more.
bool shared_mutex_core::serve_some(wake_list& wakes) noexcept
{
    for (int room = wakes_per_lock; room > 0; --room) {
        const word is = word_.load(std::memory_order_acquire);
        if (upgrader_ != nullptr) {
            if (serve_upgrader(wakes))
                continue;
            return false;
        }
        auto* const first = static_cast<shared_waiter*>(queue_.front());
        if (first == nullptr) {
            word_.fetch_and(~queued, std::memory_order_relaxed);
            return false;
        }
        const bool alone = first->mode_ == shared_waiter::mode::alone;
        if ((is & written) != 0 || (alone && is >= one_reader))
            return false;
        queue_.remove(*first);
        if (!first->win(wakes))
            continue;
        first->grant();
        word_.fetch_add(alone ? written : one_reader, std::memory_order_relaxed);
    }
    return true;
}

// True: the upgrader has become the writer, or has gone.
bool shared_mutex_core::serve_upgrader(wake_list& wakes) noexcept
{
    if (readers() != 1)
        return false;
    shared_waiter* const first = std::exchange(upgrader_, nullptr);
    if (first->win(wakes)) {
        first->grant();
        word_.fetch_add(written - one_reader, std::memory_order_relaxed);
    }
    return true;
}

bool shared_waiter::try_complete(wake_list&) noexcept
{
    using word = shared_mutex_core::word;
    const bool upgrades = mode_ == mode::upgrade;
    if (upgrades && of_->upgrader_ != nullptr) {
        state_ = state::refused;
        return true;
    }
    const bool first = upgrades || (of_->queue_.empty() && of_->upgrader_ == nullptr);
    word seen = of_->word_.load(std::memory_order_relaxed);
    for (;;) {
        const word is = seen & ~shared_mutex_core::queued;
        const bool possible = first && (upgrades                ? is == shared_mutex_core::one_reader
                                        : mode_ == mode::shared ? (is & shared_mutex_core::written) == 0
                                                                : is == 0);
        word to = seen | shared_mutex_core::queued;
        if (possible)
            to = upgrades ? (seen & shared_mutex_core::queued) | shared_mutex_core::written
                          : is + (mode_ == mode::shared ? shared_mutex_core::one_reader
                                                        : shared_mutex_core::written);
        if (!of_->word_.compare_exchange_weak(seen, to, std::memory_order_acquire, std::memory_order_relaxed))
            continue;
        if (possible)
            grant();
        return possible;
    }
}

void shared_waiter::link() noexcept
{
    if (mode_ == mode::upgrade)
        of_->upgrader_ = this;
    else
        of_->queue_.push_back(*this);
}

void shared_waiter::unlink() noexcept
{
    if (of_->upgrader_ == this || (linked && of_->queue_.front() == this))
        state_ = state::left;
    if (of_->upgrader_ == this)
        of_->upgrader_ = nullptr;
    of_->queue_.remove(*this);
}

void shared_waiter::unlinked() noexcept
{
    if (state_ == state::left)
        of_->serve();
    give_back();
}

void shared_waiter::give_back_granted() noexcept
{
    switch (mode_) {
    case mode::alone: of_->unlock(); break;
    case mode::shared: of_->unlock_shared(); break;
    case mode::upgrade: of_->downgrade(); break;
    }
}

void shared_waiter::describe(inspect::task_info& into) const
{
    if (of_->name() != nullptr)
        into.waits_for = "shared_mutex \"" + std::string{of_->name()} + '"';
    if (of_->is_written())
        into.held_by = of_->holder();
    else if (const std::uint64_t readers = of_->readers())
        into.waits_for += ", held by " + std::to_string(readers) + (readers == 1 ? " reader" : " readers");
}

}  // namespace leat::detail
