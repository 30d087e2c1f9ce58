// References in tuples, vectors and variants: std::reference_wrapper.
//
// Officially it is in <functional>, of which libstdc++ makes a large header: searchers, hash maps, placeholders.
// With it <leat/leat.hpp> would cost a tenth more. The wrapper itself has a file of its own there, an internal
// one that every container includes; wherever it is not found, <functional> does.
#pragma once

#include <type_traits>
#include <version>

#if defined(__GLIBCXX__) && __has_include(<bits/refwrap.h>)
#include <bits/refwrap.h>
#else
#include <functional>
#endif

#include <variant>

namespace leat::detail {

/// How a T is kept where neither void nor a reference can be: std::monostate, std::reference_wrapper.
template <class T>
struct storable {
    using type = T;
};
template <class T>
struct storable<T&> {
    using type = std::reference_wrapper<T>;
};
template <class T>
struct storable<T&&> {
    using type = std::reference_wrapper<T>;
};
template <>
struct storable<void> {
    using type = std::monostate;
};
template <class T>
using storable_t = typename storable<T>::type;

}  // namespace leat::detail
