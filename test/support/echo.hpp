// A service that is served and asked in tests.
#pragma once

#include "net.hpp"

#include <leat/asio/net/stream.hpp>
#include <leat/asio/serve.hpp>

#include <string>
#include <utility>

namespace test {

/// Sends a line and waits for it to come back.
inline leat::task<bool> echoes(leat::net::endpoint at, std::string line)
{
    leat::net::stream<leat::net::socket> peer{co_await dial(at)};
    co_await peer.write(line, "\n");
    auto back = co_await peer.read_line();
    co_return back && *back == line;
}

inline leat::task<> echo_lines(leat::net::socket in)
{
    leat::net::stream<leat::net::socket> peer{std::move(in)};
    while (auto line = co_await leat::unless_draining(peer.read_line()))
        co_await peer.write(*line, "\n");
    co_await peer.close();
}

}  // namespace test
