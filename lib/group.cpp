#include <leat/group.hpp>

#include "absent_children.hpp"

#include <mutex>
#include <utility>

namespace leat::detail {
namespace {

cancellable_context scope_context(task_root& owner, const leat::context* parent)
{
    // In any case: once the scope's context stands in for the owner's, it is too late for one of its own.
    owner.own_context();
    if (parent != nullptr)
        return with_cancel(*parent);
    owner.context().ref();
    return with_cancel(make_context(&owner.context()));
}

}  // namespace

std::size_t checked_limit(std::ptrdiff_t limit)
{
    if (limit < 0)
        throw usage_error{"leat: the limit of a group is the number of children that may run at a time, or "
                          "zero for any number; it is not negative"};
    return static_cast<std::size_t>(limit);
}

join_scope::join_scope(task_root& owner, scope_policy policy, std::size_t limit, const leat::context* parent)
    : join_scope{owner, policy, limit, scope_context(owner, parent)}
{
}

join_scope::join_scope(task_root& owner, scope_policy policy, std::size_t limit, cancellable_context own)
    : scope_verdict{policy}, state_{limit != 0 ? watched : 0}, limit_{limit}, owner_{owner},
      home_{owner.sched()}, below_{std::move(own.first)}, cancel_{std::move(own.second)}
{
}

join_scope::~join_scope()
{
    if (!left_alone() && live() != 0) [[unlikely]]
        wait_for_the_absent();
}

void join_scope::wait_for_the_absent() noexcept
{
    cancel();
    wait_for_absent_children([this] { return live(); });
}

std::size_t join_scope::live() const noexcept
{
    std::lock_guard hold{lock_};
    return state_.load(std::memory_order_acquire) / one;
}

std::size_t join_scope::watch() noexcept
{
    std::size_t seen = state_.load(std::memory_order_acquire);
    if ((seen & watched) == 0)
        seen = state_.fetch_add(watched, std::memory_order_acquire);
    return seen / one;
}

spawn_site join_scope::site(turn* by, std::string_view name, location place,
                            const leat::context* instead) const noexcept
{
    spawn_site site;
    site.sched = by != nullptr ? by->sched : &home_;
    site.context = instead != nullptr ? &instead->node() : &below_.node();
    site.context_outlives = instead == nullptr;
    site.scope = const_cast<join_scope*>(this);
    site.by = by;
    site.younger_than = owner_.id();
    site.name = name;
    site.place = place;
    return site;
}

bool join_scope::take_place_locked() noexcept
{
    if (limit_ == 0)
        return true;
    if (places_ >= limit_)
        return false;
    ++places_;
    return true;
}

bool join_scope::try_take_place() noexcept
{
    if (limit_ == 0)
        return true;
    std::lock_guard hold{lock_};
    return take_place_locked();
}

void join_scope::give_place_back() noexcept
{
    if (limit_ == 0)
        return;
    wake_list wakes;
    {
        std::lock_guard hold{lock_};
        if (place_waits_.win_front(wakes) == nullptr)
            --places_;
    }
    wakes.flush(current_turn());
}

void join_scope::start(joinable_root& child, turn* by, bool with_handle) noexcept
{
    if (policy_ == scope_policy::collect_all)
        child.index = started_.fetch_add(1, std::memory_order_relaxed) + 1;
    state_.fetch_add(one, std::memory_order_relaxed);
    child.launch(by, with_handle);
}

void join_scope::body_failed(std::exception_ptr thrown) noexcept
{
    if (note_body(thrown, context().cancelled()))
        cancel(std::move(thrown));
}

void join_scope::rethrow()
{
    // Children that were cancelled are a failure only if somebody else than the group wanted it: the context of
    // the caller, or the one in the options. The scope's own may notice their deadline before they do.
    if (!all_well())
        scope_verdict::rethrow(owner_.stop_requested() ||
                               (context().cancelled() && !ended_itself_.load(std::memory_order_relaxed)));
}

void join_scope::child_ended(joinable_root& child, std::exception_ptr thrown, bool stopped, turn* by) noexcept
{
    if (matters(thrown)) [[unlikely]] {
        if (note_child(child.index, thrown, stopped))
            cancel(thrown);
        // This may not be the last to hold what the owner throws: libstdc++ counts the holders where
        // ThreadSanitizer does not see it.
        thrown = nullptr;
    }
    leave(by);
}

void join_scope::leave(turn* by) noexcept
{
    std::size_t seen = state_.load(std::memory_order_relaxed);
    while (limit_ == 0 && seen != (one | watched))
        if (state_.compare_exchange_weak(seen, seen - one, std::memory_order_release,
                                         std::memory_order_relaxed))
            return;
    wake_list wakes;
    {
        std::lock_guard hold{lock_};
        if (limit_ != 0 && place_waits_.win_front(wakes) == nullptr)
            --places_;
        if (state_.fetch_sub(one, std::memory_order_acq_rel) == (one | watched))
            static_cast<void>(owner_waits_.win_front(wakes));
    }
    wakes.flush(by);
}

}  // namespace leat::detail
