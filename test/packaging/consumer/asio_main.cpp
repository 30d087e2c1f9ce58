// The same for a user of the Asio headers: they need Asio's own macros, which leat exports.
#include <leat/leat.hpp>

#include <asio.hpp>

#include <cstdio>

#if !defined(ASIO_STANDALONE) || !defined(ASIO_HAS_CO_AWAIT)
#error "leat does not export what Asio needs"
#endif

asio::awaitable<int> theirs()
{
    co_return 6;
}

leat::task<int> ours(int n)
{
    int result = n * 7;
    co_return result;
}

int main()
{
    asio::io_context io;
    int six = 0;
    asio::co_spawn(io, theirs(), [&](std::exception_ptr, int n) { six = n; });
    io.run();
    const int answer = leat::run(ours(six));
    std::printf("%d\n", answer);
    return answer == 42 ? 0 : 1;
}
