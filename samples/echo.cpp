// A TCP server that sends back what it receives
//
// Every connection is a task of one group, so that none is forgotten. The first Ctrl-C ends the listening and the
// waits for what clients may still send; what has been received is sent back. The second ends everything at once.
//
// Run it with   ./dev run echo [port]   and talk to it with   nc localhost 7000
#include <leat/asio/net.hpp>
#include <leat/leat.hpp>

#include <array>
#include <cstdio>
#include <cstdlib>

namespace net = leat::net;

namespace {

leat::task<> echo(net::socket accepted)
{
    net::stream<net::socket> peer{std::move(accepted)};
    std::array<char, 4096> data;
    for (;;) {
        const auto count = co_await leat::unless_draining(peer.read_some(asio::buffer(data)));
        if (!count || *count == 0)
            break;
        co_await peer.write(asio::const_buffer{data.data(), *count});
    }
    co_await peer.close();
}

leat::task<> server(unsigned short port)
{
    net::acceptor acceptor = net::listen(leat::this_task::executor(), {net::tcp::v4(), port});
    std::fprintf(stderr, "listening on port %d\n", acceptor.local_endpoint().port());
    co_await leat::listen_and_serve(acceptor, echo);
    std::fputs("bye\n", stderr);
}

}  // namespace

int main(int argc, char** argv)
{
    try {
        leat::serve(server(argc > 1 ? static_cast<unsigned short>(std::atoi(argv[1])) : 7000));
    } catch (const std::exception& problem) {
        std::fprintf(stderr, "echo: %s\n", problem.what());
        return 1;
    }
}
