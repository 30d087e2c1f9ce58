// What the rows that are services have in common: they are measured while the load_client is at work.
#pragma once

#include "load.hpp"
#include "measure.hpp"

#include <leat/asio/net.hpp>

namespace perf {

/// Measures what is listening at a port.
inline leat::task<> under_load(repetition& rep, load wanted, int port)
{
    // The tools want to have something to do for each client.
    wanted.amount = rep.amount(wanted.amount, std::int64_t{2} * wanted.connections * wanted.ahead);
    const load_result got = co_await leat::blocking([=] { return run_load(wanted, port); });
    rep.value(got.per_second);
    rep.also("server_us", got.server_us);
}

/// Measures a handler of connections.
template <class Handler>
leat::task<> serve(repetition& rep, Handler handler, load wanted)
{
    leat::net::acceptor acceptor =
        leat::net::listen(leat::this_task::executor(), {asio::ip::address_v4::loopback(), 0}, 4096);
    auto serving = leat::spawn(leat::listen_and_serve(acceptor, handler));
    const auto measured = co_await leat::as_result(under_load(rep, wanted, acceptor.local_endpoint().port()));
    serving.cancel();
    static_cast<void>(co_await leat::as_result(serving));
    measured.value();
}

}  // namespace perf
