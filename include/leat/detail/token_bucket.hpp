// The arithmetic of a token bucket, exact in integers.
//
// A rate is N tokens in each P nanoseconds, in lowest terms. The level is counted in tokens times P: one token is
// P units, one nanosecond adds N. So to fill, to take and to compare need one multiplication and no division, there
// is no remainder that could get lost, and nothing drifts. With N, P and the size below 2^62 no sum reaches 2^127.
//
// The level may be negative: reservations are taken before they are there. It is never above the size, so of
// tokens that have been given out there are, in any span of time, at most `size` more than the rate allows.
//
// Only a change of the rate rounds, once, by less than one unit and downwards.
#pragma once

#include <leat/detail/chrono.hpp>

#include <cstdint>
#include <limits>

namespace leat::detail {

__extension__ typedef __int128 wide_int;

/// How many tokens in how much time.
struct token_flow {
    std::int64_t tokens = 0;
    std::int64_t period = 1;  ///< nanoseconds; zero: there is no limit

    constexpr bool unlimited() const noexcept
    {
        return period == 0;
    }
};

class token_bucket {
public:
    static constexpr std::int64_t never = std::numeric_limits<std::int64_t>::max();
    static constexpr std::int64_t largest = std::int64_t{1} << 62;

    token_bucket(token_flow flow, std::int64_t size) noexcept
        : flow_{flow}, size_{size}, level_{wide_int{size} * flow.period}
    {
    }

    bool unlimited() const noexcept
    {
        return flow_.unlimited();
    }
    std::int64_t size() const noexcept
    {
        return size_;
    }
    token_flow flow() const noexcept
    {
        return flow_;
    }

    /// What has flowed in until now. A clock that goes backwards adds nothing, until it has caught up.
    void refill(std::int64_t now) noexcept
    {
        if (now <= last_)
            return;
        const std::uint64_t passed = static_cast<std::uint64_t>(now) - static_cast<std::uint64_t>(last_);
        last_ = now;
        level_ += static_cast<wide_int>(passed) * flow_.tokens;
        if (const wide_int full = wide_int{size_} * flow_.period; level_ > full)
            level_ = full;
    }

    bool has(std::int64_t tokens) const noexcept
    {
        return unlimited() || level_ >= wide_int{tokens} * flow_.period;
    }
    bool full() const noexcept
    {
        return unlimited() || level_ >= wide_int{size_} * flow_.period;
    }
    void take(std::int64_t tokens) noexcept
    {
        level_ -= wide_int{tokens} * flow_.period;
    }
    /// Gives back tokens, less what flows in during a span.
    void give_back(std::int64_t tokens, std::int64_t less_span) noexcept;
    /// From now until `when` nothing flows in that anybody could have before then.
    void bar_until(std::int64_t when) noexcept
    {
        if (unlimited() || when <= last_)
            return;
        const auto span = static_cast<std::uint64_t>(when) - static_cast<std::uint64_t>(last_);
        if (const wide_int debt = -static_cast<wide_int>(span) * flow_.tokens; level_ > debt)
            level_ = debt;
    }

    /// When there will be so many, if nobody takes any; never, if that is beyond the end of time.
    std::int64_t when(wide_int tokens) const noexcept;

    /// Tokens, rounded down; negative if they are owed.
    double tokens() const noexcept
    {
        return unlimited() ? static_cast<double>(size_)
                           : static_cast<double>(level_) / static_cast<double>(flow_.period);
    }

    void change_flow(token_flow to) noexcept;
    void change_size(std::int64_t to) noexcept
    {
        size_ = to;
        if (const wide_int full = wide_int{size_} * flow_.period; level_ > full)
            level_ = full;
    }

private:
    token_flow flow_;
    std::int64_t size_;
    std::int64_t last_ = std::numeric_limits<std::int64_t>::min();  ///< it was full since ever
    wide_int level_;
};

}  // namespace leat::detail
