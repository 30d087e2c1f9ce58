#include <leat/asio/executor.hpp>

#include "reactor.hpp"

namespace leat::detail {

asio::io_context& io_context_of(scheduler& sched)
{
    if (reactor* const io = sched.io_reactor())
        return io->context();
    throw usage_error{"leat: I/O on an executor that does none: a simulated world has no sockets"};
}

}  // namespace leat::detail
