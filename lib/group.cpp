#include <leat/group.hpp>

#include <algorithm>
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

/// Whether this is how a task ends whose context has.
bool is_stop(const std::exception_ptr& thrown) noexcept
{
    try {
        std::rethrow_exception(thrown);
    } catch (const cancelled_error&) {
        return true;
    } catch (const timed_out_error&) {
        return true;
    } catch (...) {
        return false;
    }
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
    : limit_{limit}, policy_{policy}, owner_{owner}, limits_{scope_context(owner, parent)}
{
}

join_scope::~join_scope() = default;

std::size_t join_scope::live() const noexcept
{
    std::lock_guard hold{lock_};
    return live_;
}

spawn_site join_scope::site(turn* by, std::string_view name, location place,
                            const leat::context* instead) const noexcept
{
    spawn_site site;
    site.sched = &owner_.sched();
    site.context = instead != nullptr ? &instead->node() : &limits_.first.node();
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
    if (limit_ != 0 && places_ >= limit_)
        return false;
    ++places_;
    return true;
}

bool join_scope::try_take_place() noexcept
{
    std::lock_guard hold{lock_};
    return take_place_locked();
}

void join_scope::give_place_back() noexcept
{
    wake_list wakes;
    {
        std::lock_guard hold{lock_};
        if (place_waits_.win_front(wakes) == nullptr)
            --places_;
    }
    wakes.flush(current_turn());
}

void join_scope::count_started(joinable_root& child) noexcept
{
    std::lock_guard hold{lock_};
    ++live_;
    if (policy_ != scope_policy::race && child.index == 0)
        child.index = ++started_;
}

void join_scope::start(joinable_root& child, turn* by, bool with_handle) noexcept
{
    count_started(child);
    child.launch(by, with_handle);
}

void join_scope::fork(joinable_root& child, turn* by) noexcept
{
    count_started(child);
    child.announce(by);
    child.queued = std::exchange(forked_, &child);
}

void join_scope::launch_forked() noexcept
{
    turn* const by = owner_.now;
    while (forked_ != nullptr) {
        auto& child = static_cast<joinable_root&>(*forked_);
        forked_ = child.queued;
        child.fork(by);
    }
}

void join_scope::body_failed(std::exception_ptr thrown) noexcept
{
    // A body that was told to end has failed only if nobody else has.
    const bool stopped = context().cancelled() && is_stop(thrown);
    {
        std::lock_guard hold{lock_};
        if (policy_ == scope_policy::collect_all && !stopped)
            keep_failure(0, thrown);
        else if (policy_ != scope_policy::race ? !first_ : !std::exchange(decided_, true))
            first_ = thrown;
    }
    if (policy_ != scope_policy::collect_all)
        cancel(std::move(thrown));
}

void join_scope::keep_failure(std::uint32_t index, const std::exception_ptr& thrown) noexcept
{
    try {
        failures_.push_back({index, thrown});
    } catch (...) {
        if (!first_)
            first_ = thrown;
    }
}

void join_scope::rethrow()
{
    if (!failures_.empty()) {
        std::sort(failures_.begin(), failures_.end(),
                  [](const failure& a, const failure& b) { return a.index < b.index; });
        std::vector<std::exception_ptr> errors;
        errors.reserve(failures_.size());
        for (failure& each : failures_)
            errors.push_back(std::move(each.thrown));
        throw group_error{std::move(errors)};
    }
    if (first_)
        std::rethrow_exception(first_);
    // Children that were cancelled are a failure only if the caller was cancelled with them; in a race, if there
    // is no winner, whose result would otherwise be lost.
    if (stopped_ && (policy_ == scope_policy::race ? !decided_ : owner_.stop_requested()))
        std::rethrow_exception(stopped_);
}

void join_scope::child_ended(joinable_root& child, std::exception_ptr thrown, bool stopped, turn* by) noexcept
{
    bool end_others = false;
    {
        const bool as_told = thrown && stopped && is_stop(thrown);
        std::lock_guard hold{lock_};
        if (as_told) {
            stopped_ = thrown;
        } else if (policy_ == scope_policy::race) {
            if (!std::exchange(decided_, true)) {
                winner_ = child.index;
                first_ = thrown;
                end_others = true;
            }
        } else if (thrown && policy_ == scope_policy::collect_all) {
            keep_failure(child.index, thrown);
        } else if (thrown && !first_) {
            first_ = thrown;
            end_others = true;
        }
    }
    // Before the child counts as ended: afterwards the scope may be gone.
    if (end_others)
        cancel(std::move(thrown));
    wake_list wakes;
    {
        std::lock_guard hold{lock_};
        if (place_waits_.win_front(wakes) == nullptr)
            --places_;
        if (--live_ == 0)
            static_cast<void>(owner_waits_.win_front(wakes));
    }
    wakes.flush(by);
}

}  // namespace leat::detail
