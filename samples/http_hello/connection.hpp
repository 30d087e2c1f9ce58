// One client: reads requests, one after the other, and answers them.
//
// A client may take its time between two requests, but not within one: the first wait is long, and is given up when the
// server drains; the rest has a limit as a whole, so that a byte now and then does not keep a connection busy. What a
// client sends ahead waits in the buffer, and in the kernel, until its turn comes.
#pragma once

#include "request.hpp"

#include <leat/asio/net.hpp>
#include <leat/task.hpp>

#include <chrono>
#include <cstddef>
#include <string>
#include <string_view>

namespace http_hello {

struct settings {
    unsigned short port = 8080;
    std::size_t max_connections = 10'000;
    request_limits limits;
    std::chrono::milliseconds idle = std::chrono::seconds{60};     ///< between two requests
    std::chrono::milliseconds request = std::chrono::seconds{10};  ///< for the whole of one
};

/// Where an answer goes.
class response {
public:
    /// An answer of known length. `type` is that of the content; `fields` are whole lines.
    leat::task<> send(unsigned status, std::string_view type, std::string_view content,
                      std::string_view fields = {});
    /// An answer of which nobody knows how long it will be: send_piece() any number of times, then send_end(). To a
    /// client of HTTP/1.0 the end of the connection says the same.
    leat::task<> begin_pieces(std::string_view type);
    leat::task<> send_piece(std::string_view piece);
    leat::task<> send_end();

    using stream = leat::net::stream<leat::net::socket>;
    response(stream& to, const request& of, bool keep_alive) noexcept
        : to_{to}, chunked_{of.may_be_chunked}, without_content_{of.method == "HEAD"},
          keep_alive_{keep_alive && of.keep_alive}
    {
    }
    /// Whether the connection can be used for another request.
    bool keeps_alive() const noexcept
    {
        return keep_alive_;
    }

private:
    std::string head(unsigned status, std::string_view type) const;

    stream& to_;
    const bool chunked_;
    const bool without_content_;
    bool keep_alive_;
};

/// What a server does with a request: has to send an answer.
using handler = leat::task<> (*)(const request&, response&);

/// Serves one client.
leat::task<> serve(leat::net::socket accepted, const settings& how, handler answer);

}  // namespace http_hello
