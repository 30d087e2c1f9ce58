// leat::executor as an executor of Asio's: including this file is all that is needed.
//
//     asio::ip::tcp::acceptor acceptor{pool.get_executor(), endpoint};
//     asio::post(pool.get_executor(), [] { ... });
//     auto strand = asio::make_strand(pool.get_executor());
//
// The pool's execution context is the io_context that its workers wait in. At most one of them runs its
// handlers at a time, with the role (lib/reactor.hpp). So functions that are posted to a pool run one after
// the other, on changing threads, as under a strand: fine for completion handlers, not for heavy work, which
// belongs in tasks. use_task relies on it, too: a request to cancel never runs beside a step of the operation.
//
// Properties are those of the io_context's own executor: require() and prefer() lead to it. Work that is
// tracked counts as pending I/O: while there is some, the pool does not report a deadlock.
//
// The road not taken, yet: functions could be queue entries of the pool's, to be stolen and run at once by
// several workers. Whatever counts on the order of the io_context (cancellation, above all) would then have to
// go on posting there.
#pragma once

#include <leat/this_task.hpp>

#include <asio/execution/context.hpp>
#include <asio/execution_context.hpp>
#include <asio/io_context.hpp>
#include <asio/query.hpp>
#include <asio/require.hpp>
#include <asio/version.hpp>
#if __has_include(<asio/execution/execute.hpp>) && (ASIO_VERSION < 102300 || !defined(ASIO_NO_DEPRECATED))
#include <asio/execution/execute.hpp>
#endif

#include <type_traits>
#include <utility>

namespace leat::detail {

/// The context that carries the services of a scheduler. Throws usage_error if it has none: a simulated world
/// does no I/O.
asio::io_context& io_context_of(scheduler& sched);

template <class Dependent>
struct asio_bridge {
    using inner = asio::io_context::executor_type;

    static inner executor_of(const executor& of)
    {
        return io_context_of(of.sched()).get_executor();
    }

    template <class F>
    static void execute(const executor& on, F&& f)
    {
        // Old releases keep the member to themselves; new ones have nothing else.
        const inner to = executor_of(on);
        if constexpr (requires { to.execute(std::forward<F>(f)); })
            to.execute(std::forward<F>(f));
#if __has_include(<asio/execution/execute.hpp>) && (ASIO_VERSION < 102300 || !defined(ASIO_NO_DEPRECATED))
        else
            asio::execution::execute(to, std::forward<F>(f));
#endif
    }

    template <class P>
        requires asio::can_query<const inner&, P>::value
    static decltype(auto) query(const executor& of, const P& property)
    {
        if constexpr (std::is_same_v<P, asio::execution::context_t>)
            return static_cast<asio::execution_context&>(io_context_of(of.sched()));
        else
            return asio::query(executor_of(of), property);
    }

    template <class P>
        requires asio::can_require<const inner&, P>::value
    static auto require(const executor& of, const P& property)
    {
        return asio::require(executor_of(of), property);
    }
};

}  // namespace leat::detail
