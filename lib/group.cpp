#include <leat/group.hpp>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <mutex>
#include <new>
#include <thread>
#include <utility>
#include <vector>

namespace leat::detail {
namespace {

constexpr std::chrono::seconds between_reports{5};

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
    : limit_{limit}, policy_{policy}, owner_{owner}, home_{owner.sched()},
      limits_{scope_context(owner, parent)}
{
}

join_scope::~join_scope()
{
    if (live() != 0) [[unlikely]]
        wait_for_the_absent();
    while (failures_ != nullptr)
        delete std::exchange(failures_, failures_->before);
}

// The owner has been destroyed, and so can neither park nor be woken; this is the thread that ends the runtime.
void join_scope::wait_for_the_absent() noexcept
{
    cancel();
    auto next_report = std::chrono::steady_clock::now() + between_reports;
    while (const std::size_t absent = live()) {
        std::this_thread::sleep_for(std::chrono::microseconds{50});
        if (std::chrono::steady_clock::now() >= next_report) {
            next_report += between_reports;
            std::fprintf(stderr,
                         "leat: the end of a runtime waits for %zu task(s) of a group that have moved to "
                         "another executor\n",
                         absent);
        }
    }
}

std::size_t join_scope::live() const noexcept
{
    std::lock_guard hold{lock_};
    return live_;
}

spawn_site join_scope::site(turn* by, std::string_view name, location place,
                            const leat::context* instead) const noexcept
{
    spawn_site site;
    site.sched = by != nullptr ? by->sched : &home_;
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

/// Under the lock, or before the first child of an owner that forks: until then it is alone.
void join_scope::count_started(joinable_root& child) noexcept
{
    ++live_;
    if (policy_ != scope_policy::race && child.index == 0)
        child.index = ++started_;
}

void join_scope::start(joinable_root& child, turn* by, bool with_handle) noexcept
{
    {
        std::lock_guard hold{lock_};
        count_started(child);
    }
    child.launch(by, with_handle);
}

void join_scope::fork(joinable_root& child, turn* by) noexcept
{
    ++places_;
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
    const bool collected = policy_ == scope_policy::collect_all && !stopped;
    failure* const made = collected ? make_failure(0, thrown) : nullptr;
    {
        std::lock_guard hold{lock_};
        if (collected)
            keep_failure(made, thrown);
        else if (policy_ != scope_policy::race ? !first_ : !std::exchange(decided_, true))
            first_ = thrown;
    }
    if (policy_ != scope_policy::collect_all)
        cancel(std::move(thrown));
}

join_scope::failure* join_scope::make_failure(std::uint32_t index,
                                              const std::exception_ptr& thrown) const noexcept
{
    return new (std::nothrow) failure{index, thrown};
}

/// Under the lock. If there was no memory for the failure, it counts as the only one unless there are others.
void join_scope::keep_failure(failure* made, const std::exception_ptr& thrown) noexcept
{
    if (made != nullptr)
        made->before = std::exchange(failures_, made);
    else if (!first_)
        first_ = thrown;
}

void join_scope::rethrow()
{
    if (failures_ != nullptr) {
        std::vector<failure*> in_order;
        for (failure* each = failures_; each != nullptr; each = each->before)
            in_order.push_back(each);
        std::sort(in_order.begin(), in_order.end(),
                  [](const failure* a, const failure* b) { return a->index < b->index; });
        std::vector<std::exception_ptr> errors;
        errors.reserve(in_order.size());
        for (failure* const each : in_order)
            errors.push_back(std::move(each->thrown));
        throw group_error{std::move(errors)};
    }
    if (first_)
        std::rethrow_exception(first_);
    if (!stopped_)
        return;
    // Children that were cancelled are a failure only if somebody else than the group wanted it: the context of
    // the caller, or the one in the options. The scope's own may notice their deadline before they do. In a race
    // they are a failure if there is no winner, whose result would otherwise be lost.
    const bool from_above =
        owner_.stop_requested() || (context().cancelled() && !ended_itself_.load(std::memory_order_relaxed));
    if (policy_ == scope_policy::race ? !decided_ : from_above)
        std::rethrow_exception(stopped_);
}

// Nothing is allocated, and no exception destroyed, under the lock.
void join_scope::child_ended(joinable_root& child, std::exception_ptr thrown, bool stopped, turn* by) noexcept
{
    if (!thrown && policy_ != scope_policy::race) [[likely]] {
        leave(by);
        return;
    }
    const bool as_told = thrown && stopped && is_stop(thrown);
    const bool collected = thrown && !as_told && policy_ == scope_policy::collect_all;
    failure* const made = collected ? make_failure(child.index, thrown) : nullptr;
    bool end_others = false;
    {
        std::lock_guard hold{lock_};
        if (as_told) {
            if (!stopped_)
                stopped_ = thrown;
        } else if (policy_ == scope_policy::race) {
            if (!std::exchange(decided_, true)) {
                winner_ = child.index;
                first_ = thrown;
                end_others = true;
            }
        } else if (collected) {
            keep_failure(made, thrown);
        } else if (thrown && !first_) {
            first_ = thrown;
            end_others = true;
        }
    }
    // Before the child counts as ended: afterwards the scope may be gone.
    if (end_others)
        cancel(thrown);
    // Nor may this be the last to hold what the owner throws: libstdc++ counts the holders where
    // ThreadSanitizer does not see it.
    thrown = nullptr;
    leave(by);
}

void join_scope::leave(turn* by) noexcept
{
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
