// How the function of a stage is called: what pipelines, fans and loops are told about their workers.
#pragma once

#include <concepts>
#include <cstddef>
#include <utility>

namespace leat {
namespace detail {

[[noreturn]] void throw_bad_amount();

/// A number in options: any integer; negative ones are refused when they are used.
class stage_amount {
public:
    constexpr stage_amount() noexcept = default;
    template <std::integral N>
    constexpr stage_amount(N n) : value_{std::cmp_less(n, 0) ? invalid() : static_cast<std::size_t>(n)}
    {
    }
    constexpr std::size_t get() const noexcept
    {
        return value_;
    }

private:
    static std::size_t invalid()
    {
        throw_bad_amount();
    }
    std::size_t value_ = 0;
};

}  // namespace detail

/// How the function of a stage is called. A stage that is given options has tasks of its own, one for each worker.
struct stage_options {
    detail::stage_amount workers = 1;  ///< how many calls may be under way at a time
    bool ordered = false;  ///< give on in the order of the items, not in that in which they are done
    detail::stage_amount buffer = 0;  ///< how many items may wait for the workers
};

namespace detail {

std::size_t checked_workers(const stage_options& options);

}  // namespace detail
}  // namespace leat
