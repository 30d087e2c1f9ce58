// A TCP proxy: what arrives on one side goes out on the other, in both directions
//
// Each direction is a task; together they are a group, so that a failure of one ends the other. The end of one
// direction is passed on (a half-close), and the other goes on until it ends too. A connection over which nothing moves
// for a while is closed: a stream counts bytes in both directions, so that a long download is not idle.
//
// Run it with   ./dev run proxy PORT HOST SERVICE [connections [idle milliseconds]]
#include <leat/asio/net.hpp>
#include <leat/leat.hpp>

#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>

namespace net = leat::net;
using namespace std::chrono_literals;

namespace {

struct settings {
    unsigned short port = 0;
    std::string host;
    std::string service;
    std::size_t connections = 1000;
    std::chrono::milliseconds idle = 5min;
};

using stream = net::stream<net::socket>;

leat::task<> forward(stream& from, stream& to)
{
    std::array<char, 16384> data;
    for (;;) {
        const std::size_t count = co_await from.read_some(asio::buffer(data));
        if (count == 0)
            break;
        co_await to.write(asio::const_buffer{data.data(), count});
    }
    co_await to.shutdown_write();
}

leat::task<> connect_both(net::socket accepted, const settings& how)
{
    net::socket reached = co_await leat::timeout(10s, net::connect(how.host, how.service));
    net::stream_options options;
    options.idle_timeout = how.idle;
    stream client{std::move(accepted), options};
    stream server{std::move(reached), options};
    co_await leat::when_all(forward(client, server), forward(server, client));
}

leat::task<> proxy(settings how)
{
    net::acceptor acceptor = net::listen(leat::this_task::executor(), {net::tcp::v4(), how.port});
    std::fprintf(stderr, "listening on port %d\n", acceptor.local_endpoint().port());
    net::listen_options options;
    options.max_connections = how.connections;
    co_await leat::listen_and_serve(
        acceptor, [&](net::socket accepted) { return connect_both(std::move(accepted), how); }, options);
}

}  // namespace

int main(int argc, char** argv)
{
    if (argc < 4) {
        std::fputs("usage: proxy PORT HOST SERVICE [connections [idle milliseconds]]\n", stderr);
        return 2;
    }
    settings how;
    how.port = static_cast<unsigned short>(std::atoi(argv[1]));
    how.host = argv[2];
    how.service = argv[3];
    if (argc > 4)
        how.connections = static_cast<std::size_t>(std::atoi(argv[4]));
    if (argc > 5)
        how.idle = std::chrono::milliseconds{std::atoi(argv[5])};
    try {
        leat::serve(proxy(std::move(how)), {.signals = {SIGINT, SIGTERM}, .grace = 10s});
    } catch (const leat::cancelled_error&) {
        std::fputs("proxy: connections were cut\n", stderr);
    } catch (const std::exception& problem) {
        std::fprintf(stderr, "proxy: %s\n", problem.what());
        return 1;
    }
}
