// listen_and_serve: the accept loop that everybody writes, with what is forgotten.
//
//     leat::net::acceptor acceptor = leat::net::listen(leat::this_task::executor(), endpoint);
//     co_await leat::listen_and_serve(acceptor, [](leat::net::socket peer) -> leat::task<> { ... });
//
// One group holds all connections, and the accept loop is its body, so that none is forgotten and an end of the
// caller's context ends all of them. The loop itself runs under a context that ends when the service drains,
// too; the connections do not. `places` is a channel with as many places as there may be connections: taken before a
// connection is accepted, and given back by its task, so that what is too much waits in the kernel's backlog.
#pragma once

#include <leat/asio/net/error.hpp>
#include <leat/asio/net/reset_watch.hpp>
#include <leat/asio/net/types.hpp>
#include <leat/asio/serve.hpp>
#include <leat/channel.hpp>
#include <leat/context.hpp>
#include <leat/detail/callback.hpp>
#include <leat/group.hpp>
#include <leat/result.hpp>
#include <leat/select.hpp>
#include <leat/task.hpp>
#include <leat/time.hpp>

#include <asio/socket_base.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <exception>
#include <new>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

namespace leat::net {

/// Something that went wrong in a server that goes on.
class connection_failure {
public:
    connection_failure(std::string_view with, std::exception_ptr what, bool before) noexcept
        : peer{with}, thrown{std::move(what)}, accepting{before}
    {
    }

    std::string_view peer;      ///< "192.0.2.1:53412"; empty if it was not accepted, and for local sockets
    std::exception_ptr thrown;  ///< what the handler threw, or why nothing could be accepted
    bool accepting;             ///< there is no connection: the server waits before it accepts the next
};

/// How listen_and_serve() serves. Trivial to destroy, so that it may be written where it is used.
struct listen_options {
    /// Connections at a time; more wait in the backlog. Zero: any number.
    std::size_t max_connections = 10'000;
    /// Told of what handlers throw, unless that is only that the peer or the server's context has gone, and of
    /// failures to accept, once in a row. The default prints a line on standard error. Called by the tasks of
    /// connections, several at a time. What it throws is ignored.
    leat::detail::trivial_callback<void(const connection_failure&)> on_error{};
    /// When it ends, no more connections are accepted, those that are there are served, and listen_and_serve()
    /// returns. Otherwise that of the serve() it runs in. Referred to while listen_and_serve() is called, and no longer.
    context_ref drain{};
    /// How long to wait when there are no descriptors or no memory for a connection: doubled from the first to the
    /// second. When a connection ends meanwhile, the wait is over.
    std::chrono::nanoseconds min_backoff = std::chrono::milliseconds{5};
    std::chrono::nanoseconds max_backoff = std::chrono::seconds{1};
    /// Whether to end the context of a connection whose peer has reset it, even while the handler waits for something
    /// else. That a peer has only closed can not be told from a half-close; see stream::while_connected().
    bool notice_reset = true;
};

namespace detail {

void report_failure(const listen_options& options, const connection_failure& what) noexcept;
/// Reports what a handler has thrown, unless nobody is to blame: the server or the peer has gone. A mistake of the
/// handler's is one even then.
void report_end(const listen_options& options, std::string_view peer, const std::exception_ptr& thrown,
                bool told) noexcept;
/// Whether the accept loop can go on, and how: errors that are the connection's own are skipped.
enum class [[nodiscard]] after_accept_error { accept_next, back_off, give_up };
after_accept_error judge_accept_error(const std::error_code& why) noexcept;

std::string describe(const asio::ip::tcp::endpoint& of);
template <class Endpoint>
std::string describe(const Endpoint&)
{
    return {};
}

template <class Socket>
std::string name_of_peer(const Socket& of)
{
    std::error_code gone;
    const auto peer = of.remote_endpoint(gone);
    return gone ? std::string{} : describe(peer);
}

/// What the connections of one server share. Outlives them: it is in the frame that holds their group.
template <class Handler>
class connections {
public:
    connections(Handler& h, const listen_options& o, reset_watch* r)
        : handler{h}, options{o}, resets{r}, places{o.max_connections == 0 ? 1 : o.max_connections}
    {
    }
    Handler& handler;
    const listen_options& options;
    reset_watch* resets;     ///< null if nobody is to watch
    channel<void> places;    ///< as many signals as there are connections
    channel<void> ended{1};  ///< told when a connection ends; full is as good as told

    task<> take_place()
    {
        if (options.max_connections != 0)
            co_await places.send();
    }
    void give_place_back() noexcept
    {
        if (options.max_connections != 0)
            static_cast<void>(places.try_recv());
    }
    void connection_ended() noexcept
    {
        give_place_back();
        static_cast<void>(ended.try_send());
    }
};

template <class Socket, class Handler>
task<> serve_connection(connections<Handler>& of, Socket peer, std::string name)
{
    std::optional<cancellable_context> own;
    try {
        own.emplace(with_cancel());
        std::optional<watched_for_reset> watched;
        // Acceptors that are nobody's we know may have no descriptors.
        if constexpr (requires { watched.emplace(of.resets, peer.native_handle(), own->first); })
            watched.emplace(of.resets, peer.native_handle(), own->first);
        co_await with_context(own->first, of.handler(std::move(peer)));
    } catch (...) {
        report_end(of.options, name, std::current_exception(), own && own->first.cancelled());
    }
    of.connection_ended();
}

/// Without waiting: nothing comes between a connection and its task.
template <class Socket, class Handler>
void start_connection(connections<Handler>& of, task_group& in, Socket&& peer)
{
    std::string name = name_of_peer(peer);
    const std::string task_name = "connection " + name;
    in.try_spawn(serve_connection(of, std::move(peer), std::move(name)), spawn_options{task_name, {}});
}

template <class Acceptor, class Handler>
task<> accept_loop(Acceptor& from, connections<Handler>& into, task_group& group)
{
    const listen_options& options = into.options;
    std::chrono::nanoseconds wait = options.min_backoff;
    bool reported = false;
    for (;;) {
        std::exception_ptr why;
        bool has_place = false;
        // Every step may run out of memory, the awaits themselves, too.
        try {
            co_await into.take_place();
            has_place = true;
            auto got = co_await as_result(from.async_accept(use_task));
            if (got) {
                // The place goes with it.
                start_connection(into, group, std::move(*got));
                wait = options.min_backoff;
                reported = false;
                continue;
            }
            const after_accept_error next = judge_accept_error(got.error());
            if (next == after_accept_error::give_up)
                got.value();
            if (next == after_accept_error::back_off)
                why = std::make_exception_ptr(std::system_error{got.error()});
        } catch (const std::bad_alloc&) {
            why = std::current_exception();
        }
        if (has_place)
            into.give_place_back();
        if (!why)
            continue;
        if (!std::exchange(reported, true))
            report_failure(options, connection_failure{{}, std::move(why), true});
        static_cast<void>(into.ended.try_recv());
        co_await select(on(after(wait), [] {}), on(into.ended.recv(), [](bool) {}));
        wait = std::min(wait * 2, options.max_backoff);
    }
}

template <class A, class Handler>
task<> run_listener(A acceptor, Handler handler, listen_options options, std::optional<context> until)
{
    std::optional<reset_watch> resets;
    if constexpr (requires { resets.emplace(acceptor.get_executor()); })
        if (options.notice_reset)
            resets.emplace(acceptor.get_executor());
    connections<Handler> all{handler, options, resets ? &*resets : nullptr};
    const context drain = until ? *until : drain_context();
    auto body = [&](task_group& group) -> task<> {
        const cancellable_context accepting = merge(group.context(), drain);
        service_ready();
        auto ended = co_await as_result(with_context(accepting.first, accept_loop(acceptor, all, group)));
        std::error_code ignored;
        acceptor.close(ignored);
        if (group.context().cancelled() || !drain.cancelled())
            ended.value();
    };
    co_await with_group([&](task_group& group) { return body(group); });
}

}  // namespace detail
}  // namespace leat::net

namespace leat {

/// Accepts connections and serves each in a task of its own, under a context of its own, with
/// `handler(socket)`, a coroutine; several run at a time. The acceptor may be anybody's, of any protocol; one
/// that is given as an lvalue has to stay. It is closed at the end.
///
/// Result   returns when the server has drained: `options.drain`, or the serve() around it, has asked, and the last
///          connection has ended.
/// Throws   cancelled_error, timed_out_error: the task's context ended first, and all connections have ended;
///          std::system_error, if the acceptor itself is of no use (not listening, closed). What a connection throws
///          ends that connection alone, and is told to `on_error`.
/// Cancel   closes the acceptor, cancels the connections, and waits for them.
/// Threads  handlers run on the task's executor, many at a time.
/// Cost     a task, a context and a name for each connection.
template <class Acceptor, class Handler>
[[nodiscard]] task<> listen_and_serve(Acceptor&& acceptor, Handler handler, net::listen_options options = {})
{
    const context* const given = options.drain.get();
    return net::detail::run_listener<Acceptor, Handler>(
        std::forward<Acceptor>(acceptor), std::move(handler), options,
        given != nullptr ? std::optional<context>{*given} : std::nullopt);
}

namespace net {

using leat::listen_and_serve;

/// An acceptor that listens: SO_REUSEADDR is set, and for IPv6 both families are accepted where the address is any.
///
/// Throws  std::system_error.
acceptor listen(executor on, const endpoint& at, int backlog = asio::socket_base::max_listen_connections);
/// The same for a path. A socket that a server which has gone has left there is removed, nothing else is; the one that
/// is made here stays at the end.
local_acceptor listen(executor on, const local_stream::endpoint& at,
                      int backlog = asio::socket_base::max_listen_connections);

/// The listening TCP sockets that the service manager has passed (LISTEN_FDS, LISTEN_PID), in its order, those of
/// other kinds left out. Empty if there are none, and from the second call on: they can be had once.
///
/// Throws  std::system_error.
std::vector<acceptor> inherited_acceptors(executor on);
/// The same for listening local sockets; each call takes those of its kind.
std::vector<local_acceptor> inherited_local_acceptors(executor on);

}  // namespace net
}  // namespace leat
