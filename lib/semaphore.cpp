#include <leat/detail/semaphore_core.hpp>

#include <leat/detail/locking.hpp>
#include <leat/error.hpp>
#include <leat/inspect.hpp>

#include "serve.hpp"

#include <mutex>
#include <string>
#include <utility>

namespace leat::detail {
namespace {

constexpr semaphore_core::number most_permits = semaphore_core::number{1} << 60;

semaphore_core::number checked_capacity(std::ptrdiff_t permits)
{
    if (permits < 0 || permits > most_permits)
        throw usage_error{
            "leat: a semaphore has a number of permits that is not negative and below 2 to the 60th"};
    return permits;
}

}  // namespace

semaphore_core::number checked_permits(std::ptrdiff_t wanted)
{
    if (wanted < 0)
        throw usage_error{"leat: a negative number of permits of a semaphore"};
    // What nobody can have is the same as this, and does not overflow.
    return wanted > most_permits ? most_permits + 1 : semaphore_core::number{wanted};
}

semaphore_core::semaphore_core(std::ptrdiff_t permits, const char* name)
    : word_{checked_capacity(permits) * one}, capacity_{permits}, name_{name}
{
}

semaphore_core::~semaphore_core()
{
    if (word_.load(std::memory_order_relaxed) >> 1 != capacity() || !queue_.empty())
        report_destroyed_in_use("semaphore", name_);
}

bool semaphore_core::try_acquire_slowly(number wanted) noexcept
{
    if ((word_.load(std::memory_order_relaxed) & queued) == 0)
        return false;
    {
        const std::lock_guard hold{lock};
        if (!queue_.empty())
            return false;
        word_.fetch_and(~queued, std::memory_order_relaxed);
    }
    return try_acquire(wanted);
}

// The permits are not back before the first of those who wait have been served: afterwards this may be gone.
void semaphore_core::release_slowly(number given) noexcept
{
    bool returned = false;
    serve_in_portions(lock, [&](wake_list& wakes) {
        if (!returned && queue_.empty()) {
            word_.fetch_and(~queued, std::memory_order_relaxed);
            return false;
        }
        if (!std::exchange(returned, true))
            change_queued(given);
        return serve_some(wakes);
    });
    if (!returned)
        release(given);
}

// With the spinlock, while `queued` is set: nobody else changes the word. Acquire: what those did who gave permits back
// before that, without the spinlock, is handed on.
void semaphore_core::change_queued(number by) noexcept
{
    word_.store(word_.load(std::memory_order_acquire) + by * one, std::memory_order_release);
}

void semaphore_core::serve() noexcept
{
    serve_in_portions(lock, [this](wake_list& wakes) { return serve_some(wakes); });
}

void semaphore_core::join_queue(waiter& who) noexcept
{
    queue_.push_back(who);
    waiting_.store(waiting() + 1, std::memory_order_relaxed);
}

void semaphore_core::leave_queue(waiter& who) noexcept
{
    if (!who.linked)
        return;
    queue_.remove(who);
    waiting_.store(waiting() - 1, std::memory_order_relaxed);
}

// With the spinlock: gives the first in the queue what they want, as long as there is enough. True: there may be more.
bool semaphore_core::serve_some(wake_list& wakes) noexcept
{
    for (int room = wakes_per_lock; room > 0; --room) {
        auto* const first = static_cast<semaphore_waiter*>(queue_.front());
        if (first == nullptr) {
            word_.fetch_and(~queued, std::memory_order_relaxed);
            return false;
        }
        const bool too_large = first->wanted_ > capacity();
        if (!too_large && word_.load(std::memory_order_acquire) >> 1 < first->wanted_)
            return false;
        leave_queue(*first);
        if (!first->win(wakes))
            continue;
        if (too_large) {
            first->state_ = semaphore_waiter::state::too_large;
        } else {
            first->state_ = semaphore_waiter::state::granted;
            change_queued(-first->wanted_);
        }
    }
    return true;
}

void semaphore_core::add(std::ptrdiff_t permits)
{
    const number more = checked_capacity(permits);
    {
        const std::lock_guard hold{lock};
        if (more > most_permits - capacity())
            throw usage_error{"leat: more permits than a semaphore can have"};
        capacity_.fetch_add(more, std::memory_order_relaxed);
        word_.fetch_add(more * one, std::memory_order_relaxed);
    }
    serve();
}

void semaphore_core::remove(std::ptrdiff_t permits)
{
    const number fewer = checked_capacity(permits);
    wake_list wakes;
    {
        const std::lock_guard hold{lock};
        if (fewer > capacity())
            throw usage_error{"leat: more permits are removed than the semaphore has"};
        capacity_.fetch_sub(fewer, std::memory_order_relaxed);
        word_.fetch_sub(fewer * one, std::memory_order_relaxed);
        for (waiter* each = queue_.front(); each != nullptr;) {
            auto& request = static_cast<semaphore_waiter&>(*each);
            each = each->next;
            if (request.wanted_ <= capacity())
                continue;
            leave_queue(request);
            if (request.win(wakes))
                request.state_ = semaphore_waiter::state::too_large;
        }
    }
    serve();
    wakes.flush(current_turn());
}

bool semaphore_waiter::try_complete(wake_list&) noexcept
{
    if (wanted_ > of_->capacity()) {
        state_ = state::too_large;
        return true;
    }
    semaphore_core::number seen = of_->word_.load(std::memory_order_relaxed);
    for (;;) {
        const bool possible = of_->queue_.empty() && seen >> 1 >= wanted_;
        const semaphore_core::number to =
            possible ? (seen & ~semaphore_core::queued) - wanted_ * semaphore_core::one
                     : seen | semaphore_core::queued;
        if (to != seen &&
            !of_->word_.compare_exchange_weak(seen, to, std::memory_order_acquire, std::memory_order_relaxed))
            continue;
        const bool too_many = !possible && of_->waiting() >= behind_;
        if (possible || too_many)
            state_ = possible ? state::granted : state::too_many;
        return possible || too_many;
    }
}

void semaphore_waiter::link() noexcept
{
    of_->join_queue(*this);
}

void semaphore_waiter::unlink() noexcept
{
    if (linked && of_->queue_.front() == this)
        state_ = state::left;
    of_->leave_queue(*this);
}

void semaphore_waiter::unlinked() noexcept
{
    if (state_ == state::left)
        of_->serve();
    give_back();
}

void semaphore_waiter::describe(inspect::task_info& into) const
{
    into.waits_for = "semaphore";
    if (of_->name() != nullptr)
        into.waits_for += " \"" + std::string{of_->name()} + '"';
    into.waits_for += ", " + std::to_string(wanted_) + " of its " + std::to_string(of_->capacity()) +
                      " permits (" + std::to_string(of_->available()) + " free)";
}

}  // namespace leat::detail
