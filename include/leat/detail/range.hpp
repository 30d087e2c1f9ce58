#pragma once

#include <string_view>  // std::begin, std::end, std::size
#include <type_traits>
#include <utility>

namespace leat::detail {

/// Something that a range-based for loop can walk. <ranges> would say the same at a price.
template <class R>
concept range = requires(R& r) {
    std::begin(r);
    std::end(r);
};

template <class R>
using range_value = std::remove_cvref_t<decltype(*std::begin(std::declval<R&>()))>;

/// The size of a range, if it is known; else zero.
template <class R>
constexpr auto size_hint(R& r)
{
    if constexpr (requires { std::size(r); })
        return std::size(r);
    else
        return 0U;
}

}  // namespace leat::detail
