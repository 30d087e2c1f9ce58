#include <leat/flow/retry.hpp>

#include <algorithm>

namespace leat::detail {

retry_state::retry_state(const retry_policy& policy) noexcept
    : policy_{policy}, began_{clock::now()}, delay_{static_cast<double>(policy.delay.count())}
{
}

bool retry_state::next(const std::exception_ptr& failure, clock::duration& wait)
{
    turn* const here = current_turn();
    if (here != nullptr) {
        here->root->settle();
        if (here->root->stop_requested())
            return false;
    }
    ++made_;
    if (policy_.attempts != 0 && made_ >= policy_.attempts)
        return false;
    if (policy_.when && !policy_.when(failure))
        return false;
    double nanoseconds = std::min(delay_, static_cast<double>(policy_.max_delay.count()));
    delay_ = nanoseconds * std::max(policy_.factor, 1.0);
    if (policy_.jitter > 0 && here != nullptr) {
        constexpr std::uint32_t steps = 1U << 16;
        const double chance = static_cast<double>(here->choose(steps + 1)) / steps;
        nanoseconds *= 1 - std::min(policy_.jitter, 1.0) * chance;
    }
    const clock::duration span{static_cast<std::int64_t>(std::min(nanoseconds, 9e18))};
    if (policy_.budget != clock::duration::max() && clock::now() - began_ + span >= policy_.budget)
        return false;
    wait = std::max(span, clock::duration::zero());
    return true;
}

}  // namespace leat::detail
