// A TCP server that sends back what it receives
//
// Asio's sockets live on leat's pool and are awaited like anything else (use_task). Every connection is a task of
// one group, so that none is forgotten. Ctrl-C ends the context, and with it whatever the tasks wait for.
//
// Run it with   ./dev run echo [port]   and talk to it with   nc localhost 7000
#include <leat/asio/use_task.hpp>
#include <leat/leat.hpp>

#include <asio/ip/tcp.hpp>
#include <asio/write.hpp>

#include <array>
#include <csignal>
#include <cstdio>
#include <cstdlib>

using asio::ip::tcp;

namespace {

leat::task<> echo(tcp::socket peer)
{
    std::array<char, 4096> data;
    try {
        for (;;) {
            const std::size_t count = co_await peer.async_read_some(asio::buffer(data), leat::use_task);
            co_await asio::async_write(peer, asio::buffer(data.data(), count), leat::use_task);
        }
    } catch (const std::system_error&) {
        // The peer has gone, or the server ends. Neither is the business of the other connections.
    }
}

leat::task<> serve(tcp::acceptor acceptor)
{
    co_await leat::with_group([&](leat::task_group& connections) -> leat::task<> {
        for (;;) {
            tcp::socket peer = co_await acceptor.async_accept(leat::use_task);
            co_await connections.spawn(echo(std::move(peer)));
        }
    });
}

leat::task<> server(unsigned short port)
{
    auto [until_signal, stop] = leat::with_signals(leat::this_task::context(), {SIGINT, SIGTERM});
    tcp::acceptor acceptor{leat::this_task::executor(), tcp::endpoint{tcp::v4(), port}};
    std::fprintf(stderr, "listening on port %d\n", acceptor.local_endpoint().port());
    const auto ended = co_await leat::as_result(leat::with_context(until_signal, serve(std::move(acceptor))));
    std::fprintf(stderr, "%s\n",
                 ended.error() == leat::errc::cancelled ? "bye" : ended.error().message().c_str());
}

}  // namespace

int main(int argc, char** argv)
{
    try {
        leat::run(server(argc > 1 ? static_cast<unsigned short>(std::atoi(argv[1])) : 7000));
    } catch (const std::system_error& problem) {
        std::fprintf(stderr, "echo: %s\n", problem.what());
        return 1;
    }
}
