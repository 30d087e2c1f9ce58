// How much, and how long, a stream bears.
#pragma once

#include <leat/time.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>

namespace leat::net {

/// Limits of a stream. Zero means no limit for the spans, and the default for the sizes.
struct stream_options {
    /// The longest line or delimited piece, and so the most that is ever buffered.
    std::size_t max_buffer = 64 * 1024;
    /// How long one read may take as a whole: a peer that sends a byte now and then does not prolong it.
    std::chrono::nanoseconds read_timeout{};
    /// How long one write may take as a whole, waiting for its turn included.
    std::chrono::nanoseconds write_timeout{};
    /// How long a read or write may wait while no byte moves in either direction.
    std::chrono::nanoseconds idle_timeout{};
};

namespace detail {

/// Spans are cut to this, so that no point in time overflows.
inline constexpr std::chrono::nanoseconds farthest_limit = std::chrono::hours{24 * 365};

/// What is left until a deadline; there may be none.
class time_limit {
public:
    explicit time_limit(std::chrono::nanoseconds span) noexcept
        : bounded_{span > std::chrono::nanoseconds::zero()},
          until_{bounded_ ? clock::now() + std::min(span, farthest_limit) : clock::time_point{}}
    {
    }
    bool bounded() const noexcept
    {
        return bounded_;
    }
    clock::duration left() const noexcept
    {
        return bounded_ ? until_ - clock::now() : clock::duration::max();
    }

private:
    bool bounded_;
    clock::time_point until_;
};

}  // namespace detail
}  // namespace leat::net
