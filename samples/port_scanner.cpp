// Which TCP ports of a host are open?
//
// At most so many connections are tried at a time (the limit of the group), and at most so many are begun in a second
// (a ticker). Ctrl-C ends it: what has been found is printed.
//
// Run it with   ./dev run port_scanner HOST FIRST LAST [at a time [per second]]
#include <leat/asio/net.hpp>
#include <leat/leat.hpp>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

namespace net = leat::net;
using namespace std::chrono_literals;

namespace {

struct settings {
    std::string host;
    unsigned first = 0;
    unsigned last = 0;
    std::ptrdiff_t at_a_time = 100;
    int per_second = 1000;
};

leat::task<> try_port(const net::endpoint& at, leat::sender<unsigned> found)
{
    net::socket trying{leat::this_task::executor()};
    const auto connected = co_await leat::as_result(leat::timeout(1s, trying.async_connect(at)));
    if (connected)
        co_await found.send(at.port());
}

leat::task<> try_all(const settings& how, leat::sender<unsigned> found)
{
    const auto addresses =
        co_await net::lookup(leat::this_task::executor(), how.host, std::to_string(how.first));
    const asio::ip::address host = addresses.front().address();
    co_await leat::with_group({.limit = how.at_a_time}, [&](leat::task_group& tries) -> leat::task<> {
        leat::ticker pace{std::chrono::nanoseconds{1s} / how.per_second};
        for (unsigned port = how.first; port <= how.last; ++port) {
            co_await pace.tick();
            co_await tries.spawn([&, at = net::endpoint{host, static_cast<unsigned short>(port)}] {
                return try_port(at, found);
            });
        }
    });
}

leat::task<> scan(settings how)
{
    leat::channel<unsigned> found{leat::unbounded};
    auto trying = leat::spawn([&]() -> leat::task<> {
        const auto ended = co_await leat::as_result(leat::unless_draining(try_all(how, found)));
        found.close();
        static_cast<void>(ended.value());
    });
    std::vector<unsigned> open;
    while (const auto port = co_await found.recv())
        open.push_back(*port);
    std::sort(open.begin(), open.end());
    for (const unsigned port : open)
        std::printf("%u\n", port);
    co_await trying;
}

}  // namespace

int main(int argc, char** argv)
{
    settings how;
    if (argc >= 4) {
        how.host = argv[1];
        how.first = static_cast<unsigned>(std::atoi(argv[2]));
        how.last = static_cast<unsigned>(std::atoi(argv[3]));
    }
    if (argc > 4)
        how.at_a_time = std::atoi(argv[4]);
    if (argc > 5)
        how.per_second = std::atoi(argv[5]);
    if (argc < 4 || how.first == 0 || how.last > 65535 || how.at_a_time < 1 || how.per_second < 1) {
        std::fputs("usage: port_scanner HOST FIRST LAST [at a time [per second]]\n", stderr);
        return 2;
    }
    try {
        leat::serve(scan(std::move(how)));
    } catch (const std::exception& problem) {
        std::fprintf(stderr, "port_scanner: %s\n", problem.what());
        return 1;
    }
}
