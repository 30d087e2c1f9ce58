// The cases of what waits for connections: over bytes that arrive by hand, and, for a pool, over sockets.
#pragma once

#include "awaitable_case.hpp"
#include "fake_stream.hpp"

#include <leat/asio/net/connect.hpp>
#include <leat/asio/net/listen.hpp>
#include <leat/asio/net/stream.hpp>
#include <leat/asio/net/types.hpp>
#include <leat/asio/serve.hpp>
#include <leat/asio/use_task.hpp>
#include <leat/channel.hpp>
#include <leat/sync/event.hpp>
#include <leat/this_task.hpp>

#include <array>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <optional>
#include <poll.h>
#include <string>
#include <string_view>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>
#include <utility>
#include <vector>

namespace test::cases {

namespace net = leat::net;

/// What is made is a byte.
class fake_read : public awaitable_case {
public:
    leat::task<> wait() override
    {
        const std::size_t got = co_await near.async_read_some(asio::buffer(into), leat::use_task);
        expect(got == 1 && into[0] == 'x', "another byte");
    }
    bool make() override
    {
        wire.arrive("x");
        return true;
    }
    int left() const override
    {
        return static_cast<int>(wire.to_near->size());
    }
    fake_connection wire;
    fake_stream near = wire.near();
    std::array<char, 16> into{};
};

/// A stream over bytes by hand. What is made is one message.
class stream_case : public awaitable_case {
public:
    explicit stream_case(std::string_view message, const net::stream_options& limits = {})
        : message_{message}, peer{wire.near(), limits}
    {
    }
    bool make() override
    {
        wire.arrive(message_);
        return true;
    }
    int left() const override
    {
        return static_cast<int>((wire.to_near->size() + peer.buffered()) / message_.size());
    }

private:
    std::string_view message_;

protected:
    fake_connection wire;
    net::stream<fake_stream> peer;
};

class stream_line : public stream_case {
public:
    explicit stream_line(const net::stream_options& limits = {}) : stream_case{"line\r\n", limits}
    {
    }
    leat::task<> wait() override
    {
        const std::optional<std::string> got = co_await peer.read_line();
        expect(got && *got == "line", "another line");
    }
};

class stream_with_limits final : public stream_line {
public:
    stream_with_limits() : stream_line{limits()}
    {
    }

private:
    static net::stream_options limits()
    {
        net::stream_options options;
        options.read_timeout = 24h;
        options.idle_timeout = 24h;
        return options;
    }
};

class stream_frame final : public stream_case {
public:
    stream_frame() : stream_case{std::string_view{"\0\0\0\2xy", 6}}
    {
    }
    leat::task<> wait() override
    {
        const std::optional<std::string> got = co_await peer.read_frame();
        expect(got && *got == "xy", "another frame");
    }
};

class stream_exact final : public stream_case {
public:
    stream_exact() : stream_case{"four"}
    {
    }
    leat::task<> wait() override
    {
        const std::string got = co_await peer.read_exactly(4);
        expect(got == "four", "other bytes");
    }
};

/// What is made is room for one byte.
class stream_write final : public awaitable_case {
public:
    stream_write()
    {
        wire.from_near->room = 1;
        wire.from_near->put("0");
    }
    leat::task<> wait() override
    {
        co_await peer.write("1");
    }
    bool make() override
    {
        return wire.from_near->take(1) == "0";
    }
    int left() const override
    {
        return static_cast<int>(1 - wire.from_near->size());
    }
    fake_connection wire;
    net::stream<fake_stream> peer{wire.near()};
};

class signal_case : public awaitable_case {
public:
    bool make() override
    {
        return ch.try_send(7).has_value();
    }
    int left() const override
    {
        return static_cast<int>(ch.size());
    }
    leat::channel<int> ch{1};
};

class while_connected final : public signal_case {
public:
    leat::task<> wait() override
    {
        const std::optional<int> got = co_await peer.while_connected(ch.recv());
        expect(got == 7, "the work gave something else");
    }
    fake_connection wire;
    net::stream<fake_stream> peer{wire.near()};
};

class not_draining final : public signal_case {
public:
    leat::task<> wait() override
    {
        const std::optional<int> got = co_await leat::unless_draining(ch.recv());
        expect(got == 7, "recv gave something else");
    }
};

/// What is made is a byte.
class socket_read final : public awaitable_case {
public:
    leat::task<> set_up() override
    {
        std::array<int, 2> ends{};
        expect(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) == 0, "socketpair failed");
        far_ = ends[1];
        near_.emplace(leat::this_task::executor(), net::local_stream{}, ends[0]);
        co_return;
    }
    ~socket_read() override
    {
        ::close(far_);
    }
    leat::task<> wait() override
    {
        const std::size_t got = co_await near_->async_read_some(asio::buffer(into_));
        expect(got == 1 && into_[0] == 'x', "another byte");
    }
    bool make() override
    {
        return ::send(far_, "x", 1, MSG_NOSIGNAL) == 1;
    }
    int left() const override
    {
        int unread = 0;
        ::ioctl(const_cast<net::local_socket&>(*near_).native_handle(), FIONREAD, &unread);
        return unread;
    }

private:
    std::optional<net::local_socket> near_;
    int far_ = -1;
    std::array<char, 16> into_{};
};

/// What is made is a connection.
class socket_accept final : public awaitable_case {
public:
    leat::task<> set_up() override
    {
        // The system chooses an abstract name for who binds to none.
        acceptor_.emplace(leat::this_task::executor(), net::local_stream{});
        ::sockaddr none{};
        none.sa_family = AF_UNIX;
        expect(::bind(acceptor_->native_handle(), &none, sizeof none.sa_family) == 0, "bind failed");
        acceptor_->listen();
        co_return;
    }
    leat::task<> wait() override
    {
        static_cast<void>(co_await acceptor_->async_accept());
    }
    bool make() override
    {
        ::sockaddr_storage where{};
        ::socklen_t length = sizeof where;
        ::getsockname(acceptor_->native_handle(), reinterpret_cast<::sockaddr*>(&where), &length);
        const int client = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        const bool connected = ::connect(client, reinterpret_cast<const ::sockaddr*>(&where), length) == 0;
        ::close(client);
        return connected;
    }
    int left() const override
    {
        ::pollfd of{const_cast<net::local_acceptor&>(*acceptor_).native_handle(), POLLIN, 0};
        return ::poll(&of, 1, 0);
    }

private:
    std::optional<net::local_acceptor> acceptor_;
};

/// What is made is room; a wait writes a byte.
class socket_write final : public awaitable_case {
public:
    leat::task<> set_up() override
    {
        std::array<int, 2> ends{};
        expect(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) == 0, "socketpair failed");
        far_ = ends[1];
        near_.emplace(leat::this_task::executor(), net::local_stream{}, ends[0]);
        const int small = 1;  // the system makes it as much as there has to be
        ::setsockopt(ends[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
        const std::array<char, 512> some{};
        for (const std::size_t size : {some.size(), std::size_t{1}})
            for (::ssize_t sent = 0; sent >= 0;) {
                sent = ::send(ends[0], some.data(), size, MSG_DONTWAIT | MSG_NOSIGNAL);
                filled_ += sent > 0 ? sent : 0;
            }
        co_return;
    }
    ~socket_write() override
    {
        ::close(far_);
    }
    leat::task<> wait() override
    {
        const std::size_t sent = co_await near_->async_write_some(asio::buffer("x", 1));
        expect(sent == 1, "no byte was written");
        ++written_;
    }
    bool make() override
    {
        std::array<char, 4096> some{};
        for (::ssize_t got = 1; got > 0; drained_ += got > 0 ? got : 0)
            got = ::recv(far_, some.data(), some.size(), MSG_DONTWAIT);
        return true;
    }
    bool intact() const override
    {
        int unread = 0;
        ::ioctl(far_, FIONREAD, &unread);
        return drained_ + unread == filled_ + written_;
    }

private:
    std::optional<net::local_socket> near_;
    int far_ = -1;
    ::ssize_t filled_ = 0;
    ::ssize_t drained_ = 0;
    ::ssize_t written_ = 0;
};

/// Every wait connects anew.
class socket_connect final : public awaitable_case {
public:
    leat::task<> set_up() override
    {
        acceptor_ = net::listen(leat::this_task::executor(), {asio::ip::address_v4::loopback(), 0});
        acceptor_->non_blocking(true);
        co_return;
    }
    leat::task<> wait() override
    {
        net::socket client{leat::this_task::executor(), net::tcp::v4()};
        // No port is kept for those that are gone.
        client.set_option(asio::socket_base::linger{true, 0});
        co_await client.async_connect(acceptor_->local_endpoint());
        // All of them, also those whose wait was cancelled when the system had connected them.
        std::error_code none;
        while (!none)
            static_cast<void>(acceptor_->accept(none));
    }

private:
    std::optional<net::acceptor> acceptor_;
};

/// Every wait asks anew, for what needs no server.
class resolve final : public awaitable_case {
public:
    leat::task<> wait() override
    {
        net::resolver from{leat::this_task::executor()};
        const auto found =
            co_await from.async_resolve("127.0.0.1", "80", asio::ip::resolver_base::numeric_host);
        expect(found.size() == 1, "not one address");
    }
};

/// What is made is a signal, which no other case of the time has.
class asio_signal final : public awaitable_case {
public:
    leat::task<> set_up() override
    {
        signals_.emplace(leat::this_task::executor(), number_);
        co_return;
    }
    leat::task<> wait() override
    {
        const int got = co_await signals_->async_wait();
        expect(got == number_, "another signal");
    }
    bool make() override
    {
        // On this thread, so that it has been handled when this returns.
        return ::raise(number_) == 0;
    }

private:
    static int next() noexcept
    {
        static std::atomic<int> count{0};
        const int first = SIGRTMIN + 2;  // some tools use the first ones
        return first + count.fetch_add(1) % (SIGRTMAX - first);
    }

    const int number_ = next();
    std::optional<net::signal_set> signals_;
};

/// Two attempts, which succeed at the same time.
class connect_race final : public awaitable_case {
public:
    leat::task<> wait() override
    {
        auto attempt = [this](int which) { return succeed(which); };
        auto name = [](int which) { return std::to_string(which); };
        const std::vector<int> addresses{7, 8};
        net::connect_options at_once;
        at_once.attempt_delay = {};
        const int got = co_await net::race_to_connect(addresses, attempt, name, at_once);
        expect(got == 7 || got == 8, "the race gave something else");
    }
    bool make() override
    {
        reachable.set();
        return true;
    }
    leat::event reachable;

private:
    leat::task<int> succeed(int which)
    {
        co_await reachable.wait();
        co_return which;
    }
};

class asio_timer final : public awaitable_case {
public:
    leat::task<> wait() override
    {
        net::steady_timer timer{leat::this_task::executor(), time_until_happening()};
        co_await timer.async_wait();
    }
};

}  // namespace test::cases
