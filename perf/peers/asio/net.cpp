// Callbacks, which is how Asio is fastest: each connection is an object that its handlers keep. As there is one operation
// at a time on each, several threads need no strands.
#include "net.hpp"

#include "../../load.hpp"

#include <asio.hpp>

#include <array>
#include <memory>
#include <thread>

namespace {

using asio::ip::tcp;
using std::error_code;

class echo_connection : public std::enable_shared_from_this<echo_connection> {
public:
    explicit echo_connection(tcp::socket peer) : peer_{std::move(peer)}
    {
    }
    void start()
    {
        read();
    }

private:
    void read()
    {
        peer_.async_read_some(asio::buffer(data_),
                              [self = shared_from_this()](error_code failed, std::size_t got) {
                                  if (!failed)
                                      self->write(got);
                              });
    }
    void write(std::size_t count)
    {
        asio::async_write(peer_, asio::buffer(data_.data(), count),
                          [self = shared_from_this()](error_code failed, std::size_t) {
                              if (!failed)
                                  self->read();
                          });
    }

    tcp::socket peer_;
    std::array<char, 4096> data_;
};

/// Handles each connection that is accepted.
template <class Handle>
class server {
public:
    server(asio::io_context& on, Handle handle)
        : acceptor_{on, tcp::endpoint{asio::ip::address_v4::loopback(), 0}}, handle_{handle}
    {
        accept();
    }
    int port() const
    {
        return acceptor_.local_endpoint().port();
    }

private:
    void accept()
    {
        acceptor_.async_accept([this](error_code failed, tcp::socket peer) {
            if (failed)
                return;
            handle_(std::move(peer));
            accept();
        });
    }

    tcp::acceptor acceptor_;
    Handle handle_;
};

/// Ends it before its threads are joined, also if the load fails.
struct stop_at_end {
    asio::io_context& context;
    ~stop_at_end()
    {
        context.stop();
    }
};

template <class Handle>
void serve(peer::repetition& rep, perf::load wanted, Handle handle)
{
    asio::io_context context{rep.workers()};
    const server<Handle> serving{context, handle};
    wanted.amount = std::max<std::int64_t>(rep.amount(wanted.amount), wanted.connections);
    perf::load_result got{};
    {
        std::vector<std::jthread> threads;
        for (int i = 0; i < rep.workers(); ++i)
            threads.emplace_back([&] { context.run(); });
        const stop_at_end ends{context};
        got = perf::run_load(wanted, serving.port());
    }
    rep.value(got.per_second);
    rep.also("server_us", got.server_us);
}

}  // namespace

void echo(peer::repetition& rep, int connections, std::int64_t messages)
{
    serve(rep, {"echo", connections, messages},
          [](tcp::socket peer) { std::make_shared<echo_connection>(std::move(peer))->start(); });
}

void accept_rate(peer::repetition& rep)
{
    serve(rep, {"accept", 16, 20'000}, [](tcp::socket peer) { peer.close(); });
}
