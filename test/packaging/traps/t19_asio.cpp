// T19 regression: Asio is recent enough, standalone, and knows that the compiler has coroutines
// flags: -O0
#include <asio/version.hpp>

#include <asio/awaitable.hpp>

#if ASIO_VERSION < 102200
#error "leat needs Asio 1.22 or later"
#endif
#if !defined(ASIO_STANDALONE) || !defined(ASIO_HAS_CO_AWAIT)
#error "leat does not export what Asio needs"
#endif

asio::awaitable<int> number()
{
    co_return 1;
}
