#include <leat/detail/select_core.hpp>

#include <leat/detail/operation.hpp>
#include <leat/inspect.hpp>

#include <algorithm>
#include <functional>
#include <utility>

namespace leat::detail {

/// Tries the cases whose numbers stand in the first places of `order`, in that order or at random, until one
/// completes.
template <class Try>
bool select_core::try_each(std::size_t candidates, Try attempt) noexcept
{
    turn& here = *root_.now;
    for (std::size_t place = 0; place != candidates; ++place) {
        // Fisher and Yates, as far as it is needed.
        if (!biased_) {
            const std::size_t other = place + here.choose(static_cast<std::uint32_t>(candidates - place));
            std::swap(slots_[place].order, slots_[other].order);
        }
        const std::size_t candidate = slots_[place].order;
        if (attempt(slots_[candidate])) {
            chosen_ = candidate;
            return true;
        }
    }
    return false;
}

void select_core::refuse() noexcept
{
    for (std::size_t i = 0; i < count_; ++i)
        if (slots_[i].what != nullptr && slots_[i].what->ends_with_context()) {
            chosen_ = i;
            state_ = state::complete;
            return;
        }
    state_ = state::refused;
}

bool select_core::start() noexcept
{
    if (root_.stop_requested()) {
        refuse();
        return true;
    }
    if (!try_alone()) {
        if (fallback_ == none)
            return false;
        chosen_ = fallback_;
    }
    state_ = state::complete;
    return --root_.now->budget > 0;
}

bool select_core::start_begun() noexcept
{
    if (!try_alone())
        return false;
    state_ = state::complete;
    return --root_.now->budget > 0;
}

bool select_core::try_alone() noexcept
{
    std::size_t promising = 0;
    for (std::size_t i = 0; i < count_; ++i)
        if (slots_[i].promising)
            slots_[promising++].order = static_cast<std::uint32_t>(i);
    return try_each(promising, [&](select_slot& slot) noexcept {
        wake_list wakes;
        spinlock& source = slot.what->source();
        source.lock();
        const bool done = slot.what->try_complete(wakes);
        source.unlock();
        wakes.flush(root_.now);
        return done;
    });
}

bool select_core::try_locked(wake_list& wakes) noexcept
{
    std::size_t enabled = 0;
    for (std::size_t i = 0; i < count_; ++i)
        if (slots_[i].what != nullptr)
            slots_[enabled++].order = static_cast<std::uint32_t>(i);
    return try_each(enabled, [&](select_slot& slot) noexcept { return slot.what->try_complete(wakes); });
}

std::size_t select_core::lock_all() noexcept
{
    std::size_t locks = 0;
    for (const bool innermost : {false, true}) {
        spinlock** const first = locks_ + locks;
        for (std::size_t i = 0; i < count_; ++i)
            if (slots_[i].what != nullptr && slots_[i].what->source_is_innermost() == innermost)
                locks_[locks++] = slots_[i].source;
        std::sort(first, locks_ + locks, std::less<>{});
        locks = static_cast<std::size_t>(std::unique(first, locks_ + locks) - locks_);
    }
    if (locks == 0)
        locks_[locks++] = &alone_;
    for (std::size_t i = 0; i < locks; ++i)
        locks_[i]->lock();
    return locks;
}

// From the first unlock on, the task may be claimed, and resumed elsewhere; but it can not get past the locks
// that are still held here. After the last one nothing is touched.
void select_core::unlock_all(std::size_t locks) noexcept
{
    while (locks != 0)
        locks_[--locks]->unlock();
}

bool select_core::suspend(std::coroutine_handle<> frame) noexcept
{
    root_.current = frame;
    root_.now->left = true;
    if (state_ == state::complete) {
        yield_turn(root_);
        return true;
    }
    root_.enroll();
    for (std::size_t i = 0; i < count_; ++i)
        if (slots_[i].what != nullptr)
            slots_[i].source = &slots_[i].what->source();
    const std::size_t locks = lock_all();
    wake_list wakes;
    if (try_locked(wakes)) {
        unlock_all(locks);
        wakes.flush(root_.now);
        state_ = state::complete;
        if (--root_.now->budget > 0)
            return false;
        yield_turn(root_);
        return true;
    }
    state_ = state::parked;
    root_.waits_for("select", this);
    switch (root_.prepare_park()) {
    case park_result::parked:
        for (std::size_t i = 0; i < count_; ++i)
            if (slots_[i].what != nullptr) {
                slots_[i].linked = true;
                slots_[i].what->link();
            }
        break;
    case park_result::claimed: break;
    case park_result::refused:
        unlock_all(locks);
        refuse();
        return false;
    }
    unlock_all(locks);
    return true;
}

void select_core::unlink_all() noexcept
{
    bool any_source = false;
    for (std::size_t i = 0; i < count_; ++i) {
        select_slot& slot = slots_[i];
        if (slot.what == nullptr)
            continue;
        any_source = true;
        if (i == chosen_)
            continue;
        slot.source->lock();
        if (slot.linked)
            slot.what->unlink();
        slot.source->unlock();
        if (slot.linked)
            slot.what->unlinked();
    }
    if (!any_source) {
        alone_.lock();
        alone_.unlock();
    }
}

void select_core::leave_park() noexcept
{
    const task_root::word winner = root_.finish_park();
    for (std::size_t i = 0; i < count_; ++i)
        if (slots_[i].what != nullptr && winner == reinterpret_cast<task_root::word>(slots_[i].what))
            chosen_ = i;
    state_ = state::complete;
    unlink_all();
    if (chosen_ == none)
        refuse();
}

// While the task is parked, nobody changes which cases there are. Their words follow those of the select if one of them
// has more to tell than its kind; see name_holders().
void select_core::describe(inspect::task_info& into) const
{
    bool tells = false;
    for (std::size_t i = 0; i < count_; ++i) {
        if (slots_[i].what == nullptr)
            continue;
        inspect::task_info one;
        one.waits_for = slots_[i].what->kind();
        slots_[i].what->describe(one);
        if (into.held_by == 0)
            into.held_by = one.held_by;
        tells = tells || one.held_by != 0 || one.waits_for != slots_[i].what->kind();
        into.cases.push_back({std::move(one.waits_for), one.held_by});
    }
    if (tells)
        into.waits_for += ':';
}

}  // namespace leat::detail
