#pragma once

#include <string_view>  // std::begin, std::end, std::size
#include <type_traits>
#include <utility>
#include <vector>

namespace leat::detail {

/// Something that a range-based for loop can walk. <ranges> would say the same at a price.
template <class R>
concept range = requires(R& r) {
    std::begin(r);
    std::end(r);
};

template <class R>
using range_value = std::remove_cvref_t<decltype(*std::begin(std::declval<R&>()))>;

/// Whether a range that is const has const elements: it owns them. A view's are somebody else's.
template <class R>
constexpr bool owns_elements = false;
template <class R>
    requires requires(const R& r) { std::begin(r); }
constexpr bool owns_elements<R> =
    std::is_const_v<std::remove_reference_t<decltype(*std::begin(std::declval<const R&>()))>> &&
    std::is_same_v<decltype(*std::begin(std::declval<R&>())), range_value<R>&>;

/// Whether a range makes its elements as one looks, so that they are nobody else's either.
template <class R>
constexpr bool makes_elements = !std::is_lvalue_reference_v<decltype(*std::begin(std::declval<R&>()))>;

/// An element of a range that is not needed any more: moved, if the range owns it or has made it, else copied.
template <class R, class E>
range_value<R> take_out(E& element)
{
    if constexpr (owns_elements<R> || makes_elements<R>)
        return range_value<R>(std::move(element));
    else
        return range_value<R>(element);
}

/// A copy of a range, or what is left of one that is moved, to be kept. What is in an array, as a vector.
template <class R>
auto keep_range(R&& items)
{
    using plain = std::remove_reference_t<R>;
    if constexpr (std::is_array_v<plain>)
        return std::vector<std::remove_cv_t<std::remove_extent_t<plain>>>(std::begin(items), std::end(items));
    else
        return std::decay_t<R>(std::forward<R>(items));
}
template <class R>
using kept_range = decltype(keep_range(std::declval<R>()));

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
