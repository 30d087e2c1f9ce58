// An HTTP server: keep-alive, chunked bodies, limits and time limits
//
// The problem: what every service has that speaks HTTP. Clients that keep their connection, send several requests ahead,
// send bodies in chunks, or ask for a word before they send one; and those that send half a request and wait, or a
// header without an end. The parsing is left to a library (Boost.Beast); leat does the rest: a task for each client, time
// limits around whole requests, and an end that lets everybody finish.
//
//     GET /           a greeting
//     POST /echo      the body that was sent
//     GET /count/N    N lines, in chunks
//
// Run it with   ./dev run http_hello [port [connections [idle ms [request ms]]]]
// and talk to it with   curl -v localhost:8080   or   wrk -c 64 http://localhost:8080/

#include "connection.hpp"

#include <leat/asio/net.hpp>
#include <leat/leat.hpp>

#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string>
#include <string_view>

namespace net = leat::net;

namespace {

leat::task<> count_to(std::size_t last, http_hello::response& to)
{
    co_await to.begin_pieces("text/plain");
    for (std::size_t i = 1; i <= last; ++i)
        co_await to.send_piece(std::to_string(i) + "\n");
    co_await to.send_end();
}

leat::task<> answer(const http_hello::request& asked, http_hello::response& to)
{
    constexpr std::string_view plain = "text/plain";
    const std::string_view target = std::string_view{asked.target}.substr(0, asked.target.find('?'));
    const bool reads = asked.method == "GET" || asked.method == "HEAD";
    if (target == "/echo") {
        if (asked.method != "POST")
            return to.send(405, plain, "POST something\n", "Allow: POST\r\n");
        return to.send(200, "application/octet-stream", asked.body);
    }
    std::size_t last = 0;
    const bool counts = target.starts_with("/count/") &&
                        std::from_chars(target.data() + 7, target.data() + target.size(), last).ptr ==
                            target.data() + target.size() &&
                        last <= 1'000'000;
    if (target != "/" && !counts)
        return to.send(404, plain, "there is nothing\n");
    if (!reads)
        return to.send(405, plain, "GET it\n", "Allow: GET, HEAD\r\n");
    return counts ? count_to(last, to) : to.send(200, plain, "Hello, world!\n");
}

leat::task<> server(const http_hello::settings& how)
{
    net::acceptor acceptor = net::listen(leat::this_task::executor(), {net::tcp::v4(), how.port});
    std::fprintf(stderr, "listening on port %d\n", acceptor.local_endpoint().port());
    net::listen_options options;
    options.max_connections = how.max_connections;
    auto handler = [&](net::socket accepted) { return http_hello::serve(std::move(accepted), how, answer); };
    co_await leat::listen_and_serve(acceptor, handler, options);
    std::fputs("bye\n", stderr);
}

}  // namespace

int main(int argc, char** argv)
{
    const auto number = [&](int index, long otherwise) {
        return argc > index ? std::atol(argv[index]) : otherwise;
    };
    http_hello::settings how;
    how.port = static_cast<unsigned short>(number(1, how.port));
    how.max_connections = static_cast<std::size_t>(number(2, 10'000));
    how.idle = std::chrono::milliseconds{number(3, how.idle.count())};
    how.request = std::chrono::milliseconds{number(4, how.request.count())};
    try {
        leat::serve(server(how), {.grace = std::chrono::seconds{10}});
    } catch (const leat::cancelled_error&) {
        std::fputs("http_hello: clients were cut off\n", stderr);
        return 1;
    } catch (const std::exception& problem) {
        std::fprintf(stderr, "http_hello: %s\n", problem.what());
        return 1;
    }
}
