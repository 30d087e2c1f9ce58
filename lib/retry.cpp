#include <leat/flow/retry.hpp>

#include <algorithm>

namespace leat::detail {

retry_state::retry_state(const retry_policy& policy) noexcept
    : policy_{policy}, began_{clock::now()}, delay_{static_cast<double>(policy.delay.count())}
{
}

std::optional<clock::duration> retry_state::next(const std::exception_ptr& failure)
{
    turn* const here = current_turn();
    if (here != nullptr) {
        here->root->settle();
        if (here->root->stop_requested())
            return std::nullopt;
    }
    ++made_;
    if (policy_.attempts != 0 && made_ >= policy_.attempts)
        return std::nullopt;
    if (policy_.when != nullptr && !policy_.when(failure))
        return std::nullopt;
    double wait = std::min(delay_, static_cast<double>(policy_.max_delay.count()));
    delay_ = wait * std::max(policy_.factor, 1.0);
    if (policy_.jitter > 0 && here != nullptr) {
        constexpr std::uint32_t steps = 1U << 16;
        const double chance = static_cast<double>(here->choose(steps + 1)) / steps;
        wait *= 1 - std::min(policy_.jitter, 1.0) * chance;
    }
    const clock::duration span{static_cast<std::int64_t>(std::min(wait, 9e18))};
    if (policy_.budget != clock::duration::max() && clock::now() - began_ + span >= policy_.budget)
        return std::nullopt;
    return std::max(span, clock::duration::zero());
}

}  // namespace leat::detail
