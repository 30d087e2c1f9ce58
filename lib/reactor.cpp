#include "reactor.hpp"

#include <asio/executor_work_guard.hpp>
#include <asio/post.hpp>

#include <chrono>

namespace leat::detail {

// One handler at a time: io_context::poll() would not return while handlers go on posting others.
std::size_t reactor::poll()
{
    std::size_t ran = 0;
    while (ran < handlers_per_poll && io_.poll_one() != 0)
        ++ran;
    if (io_.stopped())
        io_.restart();
    return ran;
}

bool reactor::wait(std::int64_t nanoseconds)
{
    // Without work the context would not wait; but a thread that is no worker may start some.
    const auto work = asio::make_work_guard(io_);
    // The guard of the last time has stopped the context when it went.
    if (io_.stopped())
        io_.restart();
    const std::size_t ran =
        nanoseconds < 0 ? io_.run_one() : io_.run_one_for(std::chrono::nanoseconds{nanoseconds});
    if (io_.stopped())
        io_.restart();
    return ran != 0;
}

bool reactor::quiet()
{
    for (std::size_t ran = 0; ran < handlers_per_poll && io_.poll_one() != 0; ++ran) {}
    const bool none = io_.stopped();
    if (none)
        io_.restart();
    return none;
}

void reactor::interrupt()
{
    asio::post(io_, [] {});
}

}  // namespace leat::detail
