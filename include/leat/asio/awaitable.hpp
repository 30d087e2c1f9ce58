// Coroutines of Asio's, awaited in tasks: including this file is all that is needed.
//
//     asio::awaitable<int> theirs();
//     int n = co_await theirs();
//
// The coroutine runs on the executor of the task that awaits it, as if by asio::co_spawn(). What it returns or throws is
// the result. If the task's context ends it is told so through Asio's cancellation (the terminal type), and the await
// is over when it has ended. On an executor that runs several functions at a time (an io_context with several threads) the
// cancellation of coroutines is not safe, with leat or without: there, run the task on a strand.
#pragma once

#include <leat/asio/spawn.hpp>
#include <leat/asio/use_task.hpp>
#include <leat/task.hpp>

#include <asio/any_io_executor.hpp>
#include <asio/awaitable.hpp>
#include <asio/co_spawn.hpp>

#include <type_traits>
#include <utility>

namespace leat::detail {

template <class T, class E>
struct foreign_awaitable<asio::awaitable<T, E>> {
    static auto adapt(asio::awaitable<T, E>&& theirs)
    {
        static_assert(
            std::is_constructible_v<E, asio::any_io_executor>,
            "leat: the executor of this awaitable can not be made from that of the task; spawn it with "
            "asio::co_spawn(executor, ..., leat::use_task)");
        return asio::co_spawn(E(this_task::asio_executor()), std::move(theirs), use_task_t{});
    }
};

}  // namespace leat::detail
