// leat in a program of callbacks: a session that was a chain of handlers becomes one function
//
// The program has its io_context, its acceptor and its callbacks, as ever. Only the conversation with a client, which
// as callbacks would be a state machine, is a task, started with leat::spawn() on the same io_context: no
// other thread, no runtime. What it finds out it sends to a channel, from which a callback receives.
//
// Run it with   ./dev run embed_callbacks
#include <leat/asio/channel.hpp>
#include <leat/asio/spawn.hpp>
#include <leat/asio/use_task.hpp>
#include <leat/leat.hpp>

#include <asio/bind_executor.hpp>
#include <asio/buffer.hpp>
#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/read_until.hpp>
#include <asio/write.hpp>

#include <chrono>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>

using asio::ip::tcp;
using namespace std::chrono_literals;

namespace {

/// Asks for a name, and greets; gives up on a client who says nothing for long.
leat::task<std::string> greet(tcp::socket client)
{
    std::string line;
    co_await asio::async_write(client, asio::buffer("who is there?\n", 14), leat::use_task);
    auto asked = asio::async_read_until(client, asio::dynamic_buffer(line, 80), '\n', leat::use_task);
    const std::size_t length = co_await leat::timeout(10s, std::move(asked));
    const std::string name = line.substr(0, length - 1);
    const std::string answer = "hello " + name + '\n';
    co_await asio::async_write(client, asio::buffer(answer), leat::use_task);
    co_return name;
}

class server {
public:
    server(asio::io_context& io, leat::sender<std::string> guests)
        : io_{io}, guests_{guests}, acceptor_{io, {asio::ip::address_v4::loopback(), 0}}
    {
    }
    tcp::endpoint endpoint() const
    {
        return acceptor_.local_endpoint();
    }
    /// Accepts so many clients.
    void accept(int left)
    {
        if (left == 0)
            return;
        acceptor_.async_accept([this, left](std::error_code failed, tcp::socket client) {
            if (failed)
                return;
            leat::spawn(io_, greet(std::move(client)), [this](std::exception_ptr thrown, std::string name) {
                if (!thrown)
                    static_cast<void>(guests_.try_send(std::move(name)));
            });
            accept(left - 1);
        });
    }

private:
    asio::io_context& io_;
    leat::sender<std::string> guests_;
    tcp::acceptor acceptor_;
};

/// A client made of callbacks.
class client : public std::enable_shared_from_this<client> {
public:
    client(asio::io_context& io, std::string name) : socket_{io}, name_{std::move(name) + '\n'}
    {
    }
    void start(const tcp::endpoint& to)
    {
        socket_.async_connect(to, [self = shared_from_this()](std::error_code failed) {
            if (!failed)
                self->read([self] { self->answer(); });
        });
    }

private:
    template <class Then>
    void read(Then then)
    {
        asio::async_read_until(socket_, asio::dynamic_buffer(text_), '\n',
                               [self = shared_from_this(), then](std::error_code failed, std::size_t length) {
                                   if (failed)
                                       return;
                                   self->text_.erase(0, length);
                                   then();
                               });
    }
    void answer()
    {
        asio::async_write(socket_, asio::buffer(name_),
                          [self = shared_from_this()](std::error_code failed, std::size_t) {
                              if (!failed)
                                  self->read([] {});
                          });
    }

    tcp::socket socket_;
    std::string name_;
    std::string text_;
};

}  // namespace

int main()
{
    asio::io_context io;
    leat::channel<std::string> guests{leat::unbounded};
    server doorman{io, guests};
    doorman.accept(2);
    std::make_shared<client>(io, "Ada")->start(doorman.endpoint());
    std::make_shared<client>(io, "Grace")->start(doorman.endpoint());
    int seen = 0;
    for (int i = 0; i < 2; ++i)
        guests.async_recv(
            asio::bind_executor(io, [&](std::error_code failed, std::optional<std::string> name) {
                if (!failed && name)
                    std::printf("guest %d has come in\n", ++seen);
            }));
    io.run();
    std::printf("%d guests\n", seen);
    return seen == 2 ? 0 : 1;
}
