// Asio's I/O objects with use_task as the default token: nothing else is different, and they work with every other
// token, too. They live on any executor: a pool's, an io_context's, a strand.
//
//     leat::net::socket peer{leat::this_task::executor()};
//     co_await peer.async_connect(endpoint);
#pragma once

#include <leat/asio/use_task.hpp>

#include <asio/any_io_executor.hpp>
#include <asio/basic_datagram_socket.hpp>
#include <asio/basic_signal_set.hpp>
#include <asio/basic_socket_acceptor.hpp>
#include <asio/basic_stream_socket.hpp>
#include <asio/basic_waitable_timer.hpp>
#include <asio/ip/basic_resolver.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/ip/udp.hpp>
#include <asio/local/datagram_protocol.hpp>
#include <asio/local/stream_protocol.hpp>

#include <chrono>

namespace leat::net {

/// Any executor; what is made on it uses use_task where no token is given.
using executor = use_task_t::executor_with_default<asio::any_io_executor>;

using tcp = asio::ip::tcp;
using udp = asio::ip::udp;
using local_stream = asio::local::stream_protocol;
using endpoint = tcp::endpoint;

using socket = asio::basic_stream_socket<tcp, executor>;
using acceptor = asio::basic_socket_acceptor<tcp, executor>;
/// As Asio's: a name that is being looked up can not be cancelled, and the await would go on until the system
/// gives up. lookup(), in connect.hpp, does not wait for that.
using resolver = asio::ip::basic_resolver<tcp, executor>;

using datagram = asio::basic_datagram_socket<udp, executor>;
using datagram_resolver = asio::ip::basic_resolver<udp, executor>;

using local_socket = asio::basic_stream_socket<local_stream, executor>;
using local_acceptor = asio::basic_socket_acceptor<local_stream, executor>;
using local_datagram = asio::basic_datagram_socket<asio::local::datagram_protocol, executor>;

using signal_set = asio::basic_signal_set<executor>;
/// For programs that need Asio's; tasks sleep with leat::sleep_for().
using steady_timer = asio::basic_waitable_timer<std::chrono::steady_clock,
                                                asio::wait_traits<std::chrono::steady_clock>, executor>;

}  // namespace leat::net
