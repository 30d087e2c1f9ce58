// Names of std::stop_token and std::stop_source, for declarations.
//
// libstdc++'s header makes semaphores, threads and timed waits of them: a twentieth of what <leat/leat.hpp> costs. Whoever
// has a token has included <stop_token>; all others need no more than its name. Where the library is another one, or
// its names have versions, the header is included.
#pragma once

#include <version>

#if defined(__GLIBCXX__) && defined(_GLIBCXX_INLINE_VERSION) && !_GLIBCXX_INLINE_VERSION
namespace std __attribute__((__visibility__("default"))) {
    class stop_source;
    class stop_token;
}  // namespace std
#else
#include <stop_token>
#endif
