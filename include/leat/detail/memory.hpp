// Of <memory>: std::addressof, std::construct_at, std::destroy_at, std::allocator; and the names of std::unique_ptr and
// std::shared_ptr, for declarations. What the library itself owns it keeps in pointers of pointer.hpp.
//
// libstdc++'s header brings shared pointers, algorithms for ranges and, for the printing of pointers, all of <ostream>:
// a sixth of what <leat/leat.hpp> would cost. What is needed has internal files there, which <string> and <vector>
// include. Whoever has one of those two has included <memory>; all others need no more than their names. Where the library
// is another one, or its names have versions, the header is included.
#pragma once

#include <version>

#if defined(__GLIBCXX__) && defined(_GLIBCXX_INLINE_VERSION) && !_GLIBCXX_INLINE_VERSION && \
    __has_include(<bits/allocator.h>) && __has_include(<bits/stl_construct.h>)
#include <bits/allocator.h>
#include <bits/stl_construct.h>
namespace std __attribute__((__visibility__("default"))) {
    template <class T>
    struct default_delete;
    template <class T, class Deleter>
    class unique_ptr;
    template <class T>
    class shared_ptr;
}  // namespace std
#else
#include <memory>
#endif

namespace leat::detail {

template <class T>
using std_unique_ptr = std::unique_ptr<T, std::default_delete<T>>;

}  // namespace leat::detail
