#include <leat/detail/scope_verdict.hpp>

#include <leat/error.hpp>
#include <leat/group.hpp>

#include <algorithm>
#include <mutex>
#include <new>
#include <vector>

namespace leat::detail {

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

// Nothing is allocated, and no exception destroyed, under the lock.
bool scope_verdict::note_child(std::uint32_t index, const std::exception_ptr& thrown, bool stopped) noexcept
{
    const bool as_told = thrown && stopped && is_stop(thrown);
    const bool collected = thrown && !as_told && policy_ == scope_policy::collect_all;
    failure* const made = collected ? make_failure(index, thrown) : nullptr;
    std::lock_guard hold{lock_};
    if (as_told) {
        if (!stopped_)
            stopped_ = thrown;
    } else if (policy_ == scope_policy::race) {
        if (!std::exchange(decided_, true)) {
            winner_ = index;
            first_ = thrown;
            return true;
        }
    } else if (collected) {
        keep_failure(made, thrown);
    } else if (thrown && !first_) {
        first_ = thrown;
        return true;
    }
    return false;
}

bool scope_verdict::note_body(const std::exception_ptr& thrown, bool stopped) noexcept
{
    // A body that was told to end has failed only if nobody else has.
    const bool collected = policy_ == scope_policy::collect_all && !(stopped && is_stop(thrown));
    failure* const made = collected ? make_failure(0, thrown) : nullptr;
    std::lock_guard hold{lock_};
    if (collected)
        keep_failure(made, thrown);
    else if (policy_ != scope_policy::race ? !first_ : !std::exchange(decided_, true))
        first_ = thrown;
    return policy_ != scope_policy::collect_all;
}

scope_verdict::failure* scope_verdict::make_failure(std::uint32_t index,
                                                    const std::exception_ptr& thrown) noexcept
{
    return new (std::nothrow) failure{index, thrown};
}

/// Under the lock. If there was no memory for the failure, it counts as the only one unless there are others.
void scope_verdict::keep_failure(failure* made, const std::exception_ptr& thrown) noexcept
{
    if (made != nullptr)
        made->before = std::exchange(failures_, made);
    else if (!first_)
        first_ = thrown;
}

void scope_verdict::drop_failures() noexcept
{
    while (failures_ != nullptr)
        delete std::exchange(failures_, failures_->before);
}

void scope_verdict::rethrow(bool from_above)
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
    // In a race, children that were cancelled are a failure if there is no winner, whose result would otherwise be
    // lost.
    if (stopped_ && (policy_ == scope_policy::race ? !decided_ : from_above))
        std::rethrow_exception(stopped_);
}

}  // namespace leat::detail
