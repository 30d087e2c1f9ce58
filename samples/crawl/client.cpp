#include "client.hpp"

#include <leat/asio/use_task.hpp>
#include <leat/leat.hpp>

#include <asio/connect.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/write.hpp>

#include <array>
#include <cstddef>
#include <string_view>
#include <system_error>

namespace crawl {

using asio::ip::tcp;

leat::task<response> fetch(url where)
{
    tcp::resolver resolver{leat::this_task::executor()};
    const auto found = co_await resolver.async_resolve(where.host, where.port, leat::use_task);
    tcp::socket server{leat::this_task::executor()};
    co_await asio::async_connect(server, found, leat::use_task);
    const std::string request = "GET " + where.target + " HTTP/1.1\r\nHost: " + where.server() +
                                "\r\nUser-Agent: leat-crawl\r\nAccept: */*\r\nConnection: close\r\n\r\n";
    co_await asio::async_write(server, asio::buffer(request), leat::use_task);
    response_parser answer;
    std::array<char, 16 * 1024> piece;
    while (!answer.complete()) {
        std::size_t count = 0;
        try {
            count = co_await server.async_read_some(asio::buffer(piece), leat::use_task);
        } catch (const std::system_error& problem) {
            if (problem.code() != asio::error::eof)
                throw;
        }
        if (count != 0)
            answer.feed(std::string_view{piece.data(), count});
        else
            answer.end();
    }
    co_return answer.take();
}

}  // namespace crawl
