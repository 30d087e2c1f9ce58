#include <leat/detail/shared_mutex_core.hpp>

#include <leat/inspect.hpp>
#include <leat/sync/shared_mutex.hpp>

#include "pause.hpp"
#include "serve.hpp"

#include <algorithm>
#include <mutex>
#include <string>

namespace leat::detail {

void throw_upgrade_of_nothing()
{
    throw usage_error{"leat: an upgrade of a guard that holds no shared_mutex"};
}

shared_mutex_core::~shared_mutex_core()
{
    if (slots_ != nullptr) {
        {
            const std::lock_guard hold{lock};
            gather();
        }
        reader_slots::free(slots_);
    }
    if ((word_.load(std::memory_order_relaxed) & ~(queued | gathered)) != 0 || !queue_.empty() ||
        upgrader_ != nullptr)
        report_destroyed_in_use("shared_mutex", name_);
}

// Takes it alone if nobody waits. `queued` is not believed, but while others spin.
bool shared_mutex_core::lock_soon(int spins) noexcept
{
    word seen = word_.load(std::memory_order_relaxed);
    for (; spins > 0 && (seen & (written | queued)) == written; --spins) {
        pause_core();
        seen = word_.load(std::memory_order_relaxed);
    }
    if ((seen & written) != 0)
        return false;
    const std::lock_guard hold{lock};
    if (!queue_.empty() || upgrader_ != nullptr)
        return false;
    if ((word_.load(std::memory_order_relaxed) & spread) != 0 && drain_slots(spins))
        return true;
    seen = gather();
    const word kept = seen & gathered;
    if (spins > 0 && (seen & written) == 0 && seen >= one_reader) {
        // The bit is changed under the spinlock only.
        if (kept == 0)
            word_.fetch_add(gathered, std::memory_order_relaxed);
        for (; spins > 0 && seen >= one_reader; --spins) {
            pause_core();
            seen = word_.load(std::memory_order_relaxed);
        }
    }
    for (;;) {
        const bool free = seen < one_reader && (seen & written) == 0;
        const word to = (seen & ~by_spinlock) | kept | (free ? written : 0);
        if (to == seen)
            return false;
        if (word_.compare_exchange_weak(seen, to, std::memory_order_acquire, std::memory_order_relaxed))
            return free;
    }
}

// With the spinlock, of slots that are open: keeps others from coming, and takes it alone if those go who are there.
bool shared_mutex_core::drain_slots(int& spins) noexcept
{
    // Nobody else changes it while it is spread.
    const word before = word_.load(std::memory_order_acquire);
    const reader_slots::tally sum = slots_->close();
    for (std::uint64_t readers = sum.readers; (before / one_reader + readers) % reader_slots::modulus != 0;
         readers = slots_->readers()) {
        if (spins-- <= 0)
            return false;
        pause_core();
    }
    const word kept = worth_it(sum.come);
    if (kept == 0)
        give_up_slots();
    word_.store(written | kept, std::memory_order_release);
    return true;
}

// Exactly: although `queued` is set, which may have been left over.
bool shared_mutex_core::try_lock_shared_slowly(int spins, bool exactly) noexcept
{
    for (;;) {
        // Acquire: somebody else has made them.
        if (reader_slots* const open = open_.load(std::memory_order_acquire))
            if (open->come(spins))
                return true;
        word seen = word_.load(std::memory_order_relaxed);
        if ((seen & written) != 0) {
            if ((seen & queued) != 0 || spins-- <= 0)
                return false;
            pause_core();
            continue;
        }
        if ((seen & queued) != 0 && !exactly)
            return false;
        if ((seen & by_spinlock) != 0)
            return share_with_spinlock();
        if (word_.compare_exchange_strong(seen, seen + one_reader, std::memory_order_acquire,
                                          std::memory_order_relaxed))
            return true;
        crowded();
    }
}

bool shared_mutex_core::share_with_spinlock() noexcept
{
    const std::lock_guard hold{lock};
    if (!queue_.empty() || upgrader_ != nullptr)
        return false;
    word seen = word_.load(std::memory_order_relaxed);
    do {
        if ((seen & written) != 0)
            return false;
    } while (!word_.compare_exchange_weak(seen, (seen & ~queued) + one_reader, std::memory_order_acquire,
                                          std::memory_order_relaxed));
    if ((seen & gathered) != 0)
        open_slots();
    return true;
}

void shared_mutex_core::unlock_shared_slowly() noexcept
{
    if (reader_slots* const open = open_.load(std::memory_order_acquire))
        if (open->go())
            return;
    word seen = word_.load(std::memory_order_relaxed);
    while ((seen & (queued | spread)) == 0)
        if (word_.compare_exchange_weak(seen, seen - one_reader, std::memory_order_release,
                                        std::memory_order_relaxed))
            return;
    change_slowly(one_reader, 0);
}

// A reader that comes has found the word changed by others.
void shared_mutex_core::crowded() noexcept
{
    const auto times = static_cast<std::uint8_t>(crowds_.load(std::memory_order_relaxed) + 1);
    crowds_.store(times, std::memory_order_relaxed);
    if (times < crowds_to_bear_.load(std::memory_order_relaxed))
        return;
    crowds_.store(0, std::memory_order_relaxed);
    spread_readers();
}

void shared_mutex_core::spread_readers() noexcept
{
    reader_slots* spare = nullptr;
    if (!open_slots_with(spare) && (spare = reader_slots::make()) != nullptr)
        static_cast<void>(open_slots_with(spare));
    reader_slots::free(spare);
}

// False: there are none. Takes those that are given if it has none yet.
bool shared_mutex_core::open_slots_with(reader_slots*& spare) noexcept
{
    const std::lock_guard hold{lock};
    if (slots_ == nullptr)
        slots_ = std::exchange(spare, nullptr);
    if (slots_ == nullptr)
        return false;
    if (queue_.empty() && upgrader_ == nullptr)
        open_slots();
    return true;
}

// With the spinlock, and slots. Nobody waits. Acquire: the slots pass on to readers what writers did.
void shared_mutex_core::open_slots() noexcept
{
    word seen = word_.load(std::memory_order_relaxed);
    do {
        if ((seen & (written | queued | spread)) != 0)
            return;
    } while (!word_.compare_exchange_weak(seen, (seen & ~gathered) | spread, std::memory_order_acq_rel,
                                          std::memory_order_relaxed));
    slots_->open();
    if (open_.load(std::memory_order_relaxed) == nullptr)
        open_.store(slots_, std::memory_order_release);
}

// So many readers have come through the slots: what to remember in the word. One interval between writers may be short.
shared_mutex_core::word shared_mutex_core::worth_it(std::uint32_t come) noexcept
{
    constexpr std::uint32_t enough = 16;
    constexpr std::uint8_t most_credit = 4;
    if (come >= enough) {
        credit_ = std::min<std::uint8_t>(credit_ + 1, most_credit);
        crowds_to_bear_.store(least_crowds, std::memory_order_relaxed);
        return gathered;
    }
    if (credit_ > 0) {
        --credit_;
        return gathered;
    }
    const int bear = crowds_to_bear_.load(std::memory_order_relaxed) * 2;
    crowds_to_bear_.store(static_cast<std::uint8_t>(std::min<int>(bear, most_crowds)),
                          std::memory_order_relaxed);
    return 0;
}

// With the spinlock: shuts the slots if they are open, so that the word says all. Gives the word.
shared_mutex_core::word shared_mutex_core::gather() noexcept
{
    word is = word_.load(std::memory_order_acquire);
    if ((is & spread) == 0)
        return is;
    // Before a slot is closed: whoever does not get through it then goes through the word, and need not wait for us.
    word_.fetch_add(gathered - spread, std::memory_order_relaxed);
    open_.store(nullptr, std::memory_order_relaxed);
    const reader_slots::tally sum = slots_->shut();
    const word kept = worth_it(sum.come);
    // More may have gone through the word than have come through it. Release: those who went through slots hand on what
    // they did.
    is = word_.load(std::memory_order_relaxed);
    word to = 0;
    do
        to = (is / one_reader + sum.readers) % reader_slots::modulus * one_reader + kept;
    while (!word_.compare_exchange_weak(is, to, std::memory_order_acq_rel, std::memory_order_relaxed));
    return to;
}

// Those who wait for the mutex do not keep one of its readers from becoming the writer; another upgrader does.
bool shared_mutex_core::try_upgrade() noexcept
{
    word seen = one_reader;
    if (word_.compare_exchange_strong(seen, written, std::memory_order_acquire, std::memory_order_relaxed))
        return true;
    if ((seen & by_spinlock) == 0)
        return false;
    const std::lock_guard hold{lock};
    if (upgrader_ != nullptr)
        return false;
    // `queued` may have been taken back meanwhile.
    seen = gather();
    while ((seen & ~by_spinlock) == one_reader)
        if (word_.compare_exchange_weak(seen, (seen & by_spinlock) | written, std::memory_order_acquire,
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
            if (!changed && queue_.empty() && upgrader_ == nullptr &&
                (word_.load(std::memory_order_relaxed) & (spread | gathered)) == 0) {
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
        while ((seen & (queued | spread)) == 0)
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
            if ((is & gathered) != 0)
                open_slots();
            return false;
        }
        const bool alone = first->mode_ == shared_waiter::mode::alone;
        if ((is & written) != 0 || (alone && is >= one_reader))
            return false;
        queue_.remove(*first);
        if (!first->win(wakes))
            continue;
        first->grant();
        first->waited_ = true;
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
    const bool shared = mode_ == mode::shared;
    // Nobody waits while it is spread, so a reader is let in.
    word seen = shared ? of_->word_.load(std::memory_order_relaxed) : of_->gather();
    for (;;) {
        const word is = seen & ~shared_mutex_core::by_spinlock;
        const bool possible = first && (upgrades ? is == shared_mutex_core::one_reader
                                        : shared ? (is & shared_mutex_core::written) == 0
                                                 : is == 0);
        word to = seen | shared_mutex_core::queued;
        if (possible && upgrades)
            to = (seen & shared_mutex_core::by_spinlock) | shared_mutex_core::written;
        else if (possible)
            to = (seen & ~shared_mutex_core::queued) +
                 (shared ? shared_mutex_core::one_reader : shared_mutex_core::written);
        if (!of_->word_.compare_exchange_weak(seen, to, std::memory_order_acquire, std::memory_order_relaxed))
            continue;
        if (!possible) {
            of_->give_up_slots();
            return false;
        }
        grant();
        if (shared && (seen & shared_mutex_core::gathered) != 0)
            of_->open_slots();
        return true;
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
