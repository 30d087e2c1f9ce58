// TLS, by OpenSSL, as the lower half of a stream. Not gathered by net.hpp: who includes this links to OpenSSL (leat-tls).
//
//     asio::ssl::context with{asio::ssl::context::tls_client};
//     with.set_default_verify_paths();
//     leat::net::stream peer{co_await leat::net::tls_connect(with, "example.org", "443")};
//
// Asio's ssl::stream does not bear a read beside a write, not even the starting of one. So each operation here is started
// on a strand, and so are its steps; the task that awaits it resumes on its own executor, as always. A signal to cancel
// is emitted on the strand too (use_task asks the handler which that is), behind what starts the operation: so it always
// finds something to cancel.
//
// What a cancelled read had got is kept by OpenSSL, and given to the next. A cancelled write may have left half a record
// behind, although no byte of the caller's is known to be out: `broken_` lets nothing follow it.
#pragma once

#include <leat/asio/net/connect.hpp>
#include <leat/asio/net/error.hpp>
#include <leat/asio/net/types.hpp>
#include <leat/asio/use_task.hpp>
#include <leat/context.hpp>
#include <leat/task.hpp>

#include <asio/associated_allocator.hpp>
#include <asio/associated_cancellation_slot.hpp>
#include <asio/associated_executor.hpp>
#include <asio/async_result.hpp>
#include <asio/dispatch.hpp>
#include <asio/ip/address.hpp>
#include <asio/ssl.hpp>
#include <asio/strand.hpp>

#include <chrono>
#include <cstddef>
#include <new>
#include <string>
#include <system_error>
#include <type_traits>
#include <utility>

namespace leat::net {

using tls_context = asio::ssl::context;
using tls_role = asio::ssl::stream_base::handshake_type;

namespace detail {

/// A handler of one of the steps: on the strand.
template <class Strand, class Handler, class Note>
class tls_handler {
public:
    using executor_type = Strand;
    using allocator_type = asio::associated_allocator_t<Handler>;
    using cancellation_slot_type = asio::associated_cancellation_slot_t<Handler>;

    tls_handler(const Strand& on, Handler&& handler, Note note)
        : strand_{on}, handler_{std::move(handler)}, note_{note}
    {
    }

    template <class... Ts>
    void operator()(std::error_code why, Ts... values)
    {
        // The end of the connection, which nobody has vouched for.
        if (why == asio::ssl::error::stream_truncated)
            why = errc::truncated;
        note_(why);
        std::move(handler_)(why, values...);
    }

    executor_type get_executor() const noexcept
    {
        return strand_;
    }
    allocator_type get_allocator() const noexcept
    {
        return asio::get_associated_allocator(handler_);
    }
    cancellation_slot_type get_cancellation_slot() const noexcept
    {
        return asio::get_associated_cancellation_slot(handler_);
    }

private:
    Strand strand_;
    Handler handler_;
    Note note_;
};

struct no_note {
    void operator()(std::error_code) const noexcept
    {
    }
};

/// Starts an operation on the strand.
template <class Strand, class Handler, class Start>
class tls_start {
public:
    using executor_type = Strand;
    using allocator_type = asio::associated_allocator_t<Handler>;

    tls_start(const Strand& on, Handler&& handler, Start start)
        : strand_{on}, handler_{std::move(handler)}, start_{std::move(start)}
    {
    }
    void operator()()
    {
        start_(std::move(handler_));
    }
    executor_type get_executor() const noexcept
    {
        return strand_;
    }
    allocator_type get_allocator() const noexcept
    {
        return asio::get_associated_allocator(handler_);
    }

private:
    Strand strand_;
    Handler handler_;
    Start start_;
};

}  // namespace detail

/// A socket with TLS around it. Put a stream around it, which has the timeouts and lets several tasks write.
///
/// Its handlers are called on its strand, so the tokens are use_task, and those without an executor of their own.
///
/// Threads  one read and one write at a time, by any tasks. To be moved while nothing is under way.
/// Life     refers to the tls_context until the handshake is over. Has to stay, and where it is, until every operation has
///          ended: one that has begun is queued on the strand with its address.
/// Cost     two buffers of 17 KiB, and what OpenSSL keeps.
template <class Socket = socket>
class tls_socket {
public:
    using next_layer_type = Socket;
    using lowest_layer_type = typename Socket::lowest_layer_type;
    using executor_type = typename Socket::executor_type;

    tls_socket(Socket under, tls_context& with) : strand_{under.get_executor()}, ssl_{std::move(under), with}
    {
    }

    executor_type get_executor() noexcept
    {
        return ssl_.next_layer().get_executor();
    }
    Socket& next_layer() noexcept
    {
        return ssl_.next_layer();
    }
    lowest_layer_type& lowest_layer() noexcept
    {
        return ssl_.lowest_layer();
    }
    const lowest_layer_type& lowest_layer() const noexcept
    {
        return ssl_.lowest_layer();
    }
    /// OpenSSL's SSL*, for what is not here: certificates, versions, ALPN.
    auto native_handle() noexcept
    {
        return ssl_.native_handle();
    }

    /// Agrees on keys with the other side. Put timeout() around it: a peer may be silent.
    ///
    /// Throws  as use_task; errors of category asio.ssl, certificates that are not trusted among them.
    /// Cancel  the connection is of no use afterwards.
    template <class Token = use_task_t>
    auto async_handshake(tls_role role, Token&& token = {})
    {
        return run<void(std::error_code)>(
            [this, role](auto handler) { ssl_.async_handshake(role, std::move(handler)); },
            std::forward<Token>(token));
    }

    /// Says that no more will be written, and waits until the other side has said the same. What it has sent and nobody
    /// has read is an error then. stream::close() does this, within its limit.
    template <class Token = use_task_t>
    auto async_shutdown(Token&& token = {})
    {
        return run<void(std::error_code)>([this](auto handler) { ssl_.async_shutdown(std::move(handler)); },
                                          std::forward<Token>(token));
    }

    /// As a socket's. An end that the other side has not announced is errc::truncated: it may be an attack.
    ///
    /// Cancel  safe: what had arrived is given to the next read.
    template <class Buffers, class Token = use_task_t>
    auto async_read_some(const Buffers& into, Token&& token = {})
    {
        return run<void(std::error_code, std::size_t)>(
            [this, into](auto handler) { ssl_.async_read_some(into, std::move(handler)); },
            std::forward<Token>(token));
    }

    /// As a socket's.
    ///
    /// Cancel  the connection can not be written to any more (errc::broken), as if it had failed.
    template <class Buffers, class Token = use_task_t>
    auto async_write_some(const Buffers& from, Token&& token = {})
    {
        return asio::async_initiate<Token, void(std::error_code, std::size_t)>(
            [this, from](auto handler) {
                this->start(std::move(handler), [this, from](auto given) {
                    auto note = [this](std::error_code why) { broken_ = broken_ || static_cast<bool>(why); };
                    auto noting = this->on_strand(std::move(given), note);
                    if (broken_)
                        std::move(noting)(errc::broken, std::size_t{0});
                    else
                        ssl_.async_write_some(from, std::move(noting));
                });
            },
            token);
    }

private:
    using strand_type = asio::strand<executor_type>;

    template <class Handler, class Note>
    auto on_strand(Handler&& handler, Note note)
    {
        return detail::tls_handler<strand_type, std::decay_t<Handler>, Note>{
            strand_, std::forward<Handler>(handler), note};
    }
    template <class Handler, class Start>
    void start(Handler&& handler, Start how)
    {
        // So it learns where to emit signals.
        static_cast<void>(asio::get_associated_executor(handler, strand_));
        asio::dispatch(detail::tls_start<strand_type, std::decay_t<Handler>, Start>{
            strand_, std::forward<Handler>(handler), std::move(how)});
    }
    template <class Signature, class Step, class Token>
    auto run(Step step, Token&& token)
    {
        return asio::async_initiate<Token, Signature>(
            [this, step](auto handler) {
                this->start(std::move(handler), [this, step](auto given) {
                    step(this->on_strand(std::move(given), detail::no_note{}));
                });
            },
            token);
    }

    strand_type strand_;
    asio::ssl::stream<Socket> ssl_;
    bool broken_ = false;  ///< for writing; on the strand
};

/// What a handshake is given at most, if nothing else is said.
inline constexpr std::chrono::seconds tls_handshake_limit{10};

/// The server's side of a connection that has been accepted.
///
/// Result  with the handshake done.
/// Throws  timed_out_error after `limit`; as tls_socket::async_handshake(); cancelled_error, timed_out_error: the task's
///         context ended first. The connection is closed then.
/// Cancel  closes the connection.
/// Life    refers to the context until it has been awaited.
template <class Socket>
[[nodiscard]] task<tls_socket<Socket>> tls_accept(tls_context& with, Socket accepted,
                                                  std::chrono::nanoseconds limit = tls_handshake_limit)
{
    tls_socket<Socket> made{std::move(accepted), with};
    co_await timeout(limit, made.async_handshake(tls_role::server));
    co_return made;
}

/// The client's side of a connection that has been made. The certificate has to be one for `host`, if `with` verifies
/// at all (set_verify_mode()); it is also the name that the server is told, unless it is a number.
///
/// Result, Throws, Cancel, Life  as tls_accept().
template <class Socket>
[[nodiscard]] task<tls_socket<Socket>> tls_over(tls_context& with, Socket connected, std::string host,
                                                std::chrono::nanoseconds limit = tls_handshake_limit)
{
    tls_socket<Socket> made{std::move(connected), with};
    std::error_code no_number;
    static_cast<void>(asio::ip::make_address(host, no_number));
    if (no_number)
        SSL_set_tlsext_host_name(made.native_handle(), host.c_str());
    SSL* const handle = made.native_handle();
    const bool named = no_number ? SSL_set1_host(handle, host.c_str()) == 1
                                 : X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(handle), host.c_str()) == 1;
    if (!named)
        throw std::bad_alloc{};
    co_await timeout(limit, made.async_handshake(tls_role::client));
    co_return made;
}

/// Connects to the first of the host's addresses that answers, and does the handshake: connect() and tls_over().
///
/// Throws  as these. Put timeout() around it for a limit of the whole.
[[nodiscard]] inline task<tls_socket<socket>> tls_connect(
    tls_context& with, std::string host, std::string service,
    std::chrono::nanoseconds limit = tls_handshake_limit)
{
    socket made = co_await connect(host, std::move(service));
    co_return co_await tls_over(with, std::move(made), std::move(host), limit);
}

}  // namespace leat::net
