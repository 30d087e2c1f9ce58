// Services over loopback: the server has one processor, the client another.
#include "served.hpp"

#include <asio/write.hpp>

#include <array>

namespace {

namespace net = leat::net;

leat::task<> echo(net::socket peer)
{
    std::array<char, 4096> data;
    for (;;) {
        const auto got = co_await leat::as_result(peer.async_read_some(asio::buffer(data)));
        if (!got)
            break;
        co_await asio::async_write(peer, asio::buffer(data.data(), *got));
    }
}

/// The same over a stream, which has a place for one writer at a time.
leat::task<> echo_stream(net::socket accepted)
{
    net::stream<net::socket> peer{std::move(accepted)};
    std::array<char, 4096> data;
    for (;;) {
        const std::size_t got = co_await peer.read_some(asio::buffer(data));
        if (got == 0)
            break;
        co_await peer.write(asio::const_buffer{data.data(), got});
    }
}

leat::task<> hang_up([[maybe_unused]] net::socket peer)
{
    co_return;
}

constexpr perf::load one{"echo", 1, 20'000};
constexpr perf::load some{"echo", 64, 400'000};
constexpr perf::load many{"echo", 1000, 400'000};
constexpr perf::load connections{"accept", 16, 20'000};

leat::task<> echo_c1(perf::repetition& rep)
{
    return perf::serve(rep, echo, one);
}
leat::task<> echo_c64(perf::repetition& rep)
{
    return perf::serve(rep, echo, some);
}
leat::task<> echo_c1000(perf::repetition& rep)
{
    return perf::serve(rep, echo, many);
}
leat::task<> echo_stream_c64(perf::repetition& rep)
{
    return perf::serve(rep, echo_stream, some);
}
leat::task<> accept_rate(perf::repetition& rep)
{
    return perf::serve(rep, hang_up, connections);
}

}  // namespace

int main(int argc, char** argv)
{
    return perf::program(argc, argv,
                         {{"echo_c1", "msgs/s", echo_c1},
                          {"echo_c64", "msgs/s", echo_c64},
                          {"echo_c1000", "msgs/s", echo_c1000},
                          {"echo_stream_c64", "msgs/s", echo_stream_c64},
                          {"accept_rate", "connections/s", accept_rate}});
}
