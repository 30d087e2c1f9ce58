// HTTP as it is done on Asio: Boost.Beast, with callbacks. As there is one operation at a time on each connection, several
// threads need no strands.
#include "../peer.hpp"

#include "../../load.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http.hpp>

#include <memory>
#include <optional>
#include <thread>

namespace {

namespace beast = boost::beast;
namespace http = beast::http;
using boost::asio::ip::tcp;
using boost::system::error_code;

class connection : public std::enable_shared_from_this<connection> {
public:
    explicit connection(tcp::socket peer) : peer_{std::move(peer)}
    {
    }
    void read()
    {
        request_ = {};
        peer_.expires_after(std::chrono::seconds{60});
        http::async_read(peer_, buffer_, request_,
                         [self = shared_from_this()](error_code failed, std::size_t) {
                             if (!failed)
                                 self->answer();
                         });
    }

private:
    void answer()
    {
        answer_.emplace(http::status::ok, request_.version());
        answer_->set(http::field::content_type, "text/plain");
        answer_->keep_alive(request_.keep_alive());
        answer_->body() = "Hello, world!\n";
        answer_->prepare_payload();
        http::async_write(peer_, *answer_, [self = shared_from_this()](error_code failed, std::size_t) {
            if (!failed && self->request_.keep_alive())
                self->read();
        });
    }

    beast::tcp_stream peer_;
    beast::flat_buffer buffer_;
    http::request<http::string_body> request_;
    std::optional<http::response<http::string_body>> answer_;
};

void accept(tcp::acceptor& from)
{
    from.async_accept([&from](error_code failed, tcp::socket peer) {
        if (failed)
            return;
        std::make_shared<connection>(std::move(peer))->read();
        accept(from);
    });
}

/// Ends it before its threads are joined, also if the load fails.
struct stop_at_end {
    boost::asio::io_context& context;
    ~stop_at_end()
    {
        context.stop();
    }
};

void hello(peer::repetition& rep)
{
    boost::asio::io_context context{rep.workers()};
    tcp::acceptor acceptor{context, tcp::endpoint{boost::asio::ip::address_v4::loopback(), 0}};
    accept(acceptor);
    perf::load_result got{};
    {
        std::vector<std::jthread> threads;
        for (int i = 0; i < rep.workers(); ++i)
            threads.emplace_back([&] { context.run(); });
        const stop_at_end ends{context};
        const std::int64_t amount = std::max<std::int64_t>(64, rep.amount(150'000));
        got = perf::run_load({"http", 64, amount}, acceptor.local_endpoint().port());
    }
    rep.value(got.per_second);
    rep.also("server_us", got.server_us);
}

}  // namespace

int main(int argc, char** argv)
{
    return peer::program(argc, argv, "beast", {{"http_hello", "requests/s", hello}});
}
