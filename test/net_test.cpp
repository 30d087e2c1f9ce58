// Sockets, connecting, streams: over loopback. (What needs no system is in connect_test.cpp and stream_test.cpp.)
#include <leat/asio/net.hpp>
#include <leat/leat.hpp>

#include <asio/local/connect_pair.hpp>
#include <asio/posix/stream_descriptor.hpp>
#include <asio/serial_port.hpp>
#include <doctest/doctest.h>

#include "support/net.hpp"
#include "support/scale.hpp"

#include <array>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <string>
#include <type_traits>
#include <unistd.h>
#include <vector>

namespace {

using namespace std::chrono_literals;
namespace net = leat::net;
using test::failure_of;
using test::loopback;
using test::two_workers;

}  // namespace

TEST_SUITE("net loopback")
{
    TEST_CASE("sockets, acceptors and resolvers need no token")
    {
        leat::runtime pool{two_workers()};
        auto body = []() -> leat::task<> {
            const auto here = leat::this_task::executor();
            net::acceptor acceptor = net::listen(here, loopback());
            const auto port = acceptor.local_endpoint().port();
            auto accepting =
                leat::spawn([&]() -> leat::task<net::socket> { co_return co_await acceptor.async_accept(); });
            net::socket near = co_await net::connect("127.0.0.1", std::to_string(port));
            net::socket far = co_await accepting;

            const std::string text = "hello, line\nand more";
            const std::size_t sent = co_await net::write_all(near, asio::buffer(text));
            CHECK(sent == text.size());
            std::string kept;
            const std::size_t line = co_await net::read_until(far, kept, "\n", 100);
            CHECK(kept.substr(0, line) == "hello, line\n");
            kept.erase(0, line);
            std::string rest(text.size() - line - kept.size(), ' ');
            static_cast<void>(co_await net::read_exactly(far, asio::buffer(rest)));
            CHECK(kept + rest == "and more");
            near.close();
            std::array<char, 1> byte;
            const auto end = co_await leat::as_result(far.async_read_some(asio::buffer(byte)));
            CHECK(end.error() == asio::error::eof);

            net::datagram one{here, net::udp::endpoint{asio::ip::address_v4::loopback(), 0}};
            net::datagram two{here, net::udp::endpoint{asio::ip::address_v4::loopback(), 0}};
            static_cast<void>(co_await one.async_send_to(asio::buffer(text), two.local_endpoint()));
            std::array<char, 64> packet;
            net::udp::endpoint from;
            const std::size_t got = co_await two.async_receive_from(asio::buffer(packet), from);
            CHECK(got == text.size());
            CHECK(from == one.local_endpoint());

            net::local_socket a{here};
            net::local_socket b{here};
            asio::local::connect_pair(a, b);
            static_cast<void>(co_await net::write_all(a, asio::buffer(text)));
            static_cast<void>(co_await b.async_read_some(asio::buffer(packet)));
            net::signal_set signals{here, SIGUSR1};
            net::steady_timer timer{here, 1ms};
            co_await timer.async_wait();
            ::raise(SIGUSR1);
            const int signal = co_await signals.async_wait();
            CHECK(signal == SIGUSR1);
        };
        pool.block_on(body());
    }

    TEST_CASE("a refused connection says which address")
    {
        leat::runtime pool{two_workers()};
        auto body = []() -> leat::task<> {
            const auto here = leat::this_task::executor();
            unsigned short port = 0;
            {
                net::acceptor gone = net::listen(here, loopback());
                port = gone.local_endpoint().port();
            }
            std::string what;
            try {
                static_cast<void>(co_await net::connect("127.0.0.1", std::to_string(port)));
            } catch (const net::connect_error& e) {
                what = e.what();
                CHECK(e.code() == asio::error::connection_refused);
            }
            CHECK(what.find("127.0.0.1:" + std::to_string(port)) != std::string::npos);
            // A service that does not exist.
            const auto why = co_await failure_of(net::connect("127.0.0.1", "no-such-service-here"));
            CHECK(why);
        };
        pool.block_on(body());
    }

    TEST_CASE("localhost is connected to, whichever family listens")
    {
        leat::runtime pool{two_workers()};
        auto body = []() -> leat::task<> {
            const auto here = leat::this_task::executor();
            net::acceptor acceptor = net::listen(here, loopback());
            auto accepting =
                leat::spawn([&]() -> leat::task<net::socket> { co_return co_await acceptor.async_accept(); });
            const net::endpoint nobody{asio::ip::address_v6::loopback(), acceptor.local_endpoint().port()};
            std::vector<net::endpoint> both{nobody, acceptor.local_endpoint()};
            net::socket near = co_await net::connect(net::executor{here}, both);
            net::socket far = co_await accepting;
            CHECK(near.remote_endpoint() == acceptor.local_endpoint());
        };
        pool.block_on(body());
    }

    TEST_CASE("streams over sockets: writers of many tasks, a reader of lines, frames both ways")
    {
        leat::runtime pool{two_workers()};
        const int lines = static_cast<int>(test::scaled(2000));
        auto body = [&]() -> leat::task<> {
            const auto here = leat::this_task::executor();
            net::local_socket a{here};
            net::local_socket b{here};
            asio::local::connect_pair(a, b);
            net::stream_options limits;
            limits.max_buffer = 1024;
            limits.read_timeout = limits.write_timeout = limits.idle_timeout = 1h;
            net::stream<net::local_socket> near{std::move(a)};
            net::stream<net::local_socket> far{std::move(b), limits};
            co_await leat::with_group([&](leat::task_group& group) -> leat::task<> {
                co_await group.spawn([&]() -> leat::task<> {
                    co_await leat::with_group([&](leat::task_group& writers) -> leat::task<> {
                        for (int w = 0; w < 4; ++w)
                            co_await writers.spawn([&, w]() -> leat::task<> {
                                for (int i = 0; i < lines; ++i) {
                                    const std::string line =
                                        std::to_string(w) + " " + std::to_string(i) + "\n";
                                    co_await near.write(line);
                                }
                            });
                    });
                    co_await near.write_frame(std::string(100000, 'f'));
                    co_await near.close();
                });
                std::array<int, 4> next{};
                for (int i = 0; i < 4 * lines; ++i) {
                    auto line = co_await far.read_line();
                    const auto w = static_cast<std::size_t>((*line)[0] - '0');
                    if (*line != std::to_string(w) + " " + std::to_string(next[w]++))
                        FAIL("mixed: " << *line);
                }
                auto frame = co_await far.read_frame();
                CHECK(frame->size() == 100000);
                auto end = co_await far.read_line();
                CHECK_FALSE(end.has_value());
                co_await far.close();
            });
        };
        pool.block_on(body());
    }

    TEST_CASE("a local socket's name can be used again after its server has gone")
    {
        leat::runtime pool{two_workers()};
        const std::string path =
            (std::filesystem::temp_directory_path() / ("leat-net-test-" + std::to_string(::getpid())))
                .string();
        auto body = [&]() -> leat::task<> {
            const auto here = leat::this_task::executor();
            {
                const net::local_acceptor first = net::listen(here, net::local_stream::endpoint{path});
                // While somebody answers there, it is his.
                CHECK_THROWS_AS(net::listen(here, net::local_stream::endpoint{path}), std::system_error);
            }
            const net::local_acceptor second = net::listen(here, net::local_stream::endpoint{path});
            CHECK(second.is_open());
            co_return;
        };
        pool.block_on(body());
        std::filesystem::remove(path);
    }

    TEST_CASE("listening at the path of a file does not remove the file")
    {
        leat::runtime pool{two_workers()};
        const std::string path =
            (std::filesystem::temp_directory_path() / ("leat-net-file-" + std::to_string(::getpid())))
                .string();
        const std::string link = path + "-link";
        std::ofstream{path} << "precious";
        std::filesystem::create_symlink(path, link);
        auto body = [&]() -> leat::task<> {
            const auto here = leat::this_task::executor();
            CHECK_THROWS_AS(net::listen(here, net::local_stream::endpoint{path}), std::system_error);
            CHECK_THROWS_AS(net::listen(here, net::local_stream::endpoint{link}), std::system_error);
            co_return;
        };
        pool.block_on(body());
        CHECK(std::filesystem::file_size(path) == 8);
        CHECK(std::filesystem::is_symlink(link));
        std::filesystem::remove(link);
        std::filesystem::remove(path);
    }

    TEST_CASE("streams over what can not be shut down: pipes, serial ports")
    {
        // That they can be made, read, written and closed at all.
        static_assert(std::is_constructible_v<net::stream<asio::serial_port>, asio::serial_port>);
        [[maybe_unused]] auto serial = [](net::stream<asio::serial_port>& of) -> leat::task<> {
            co_await of.write("x");
            co_await of.shutdown_write();
            co_await of.close();
            of.abort();
        };
        leat::runtime pool{two_workers()};
        auto body = []() -> leat::task<> {
            const auto here = leat::this_task::executor();
            std::array<int, 2> pipe{};
            REQUIRE(::pipe(pipe.data()) == 0);
            net::stream<asio::posix::stream_descriptor> out{asio::posix::stream_descriptor{here, pipe[1]}};
            net::stream<asio::posix::stream_descriptor> in{asio::posix::stream_descriptor{here, pipe[0]}};
            co_await out.write("through a pipe\n");
            auto line = co_await in.read_line();
            CHECK(*line == "through a pipe");
            co_await out.close();
            CHECK_FALSE(out.next_layer().is_open());
            line = co_await in.read_line();
            CHECK_FALSE(line.has_value());
            in.abort();
            CHECK_FALSE(in.next_layer().is_open());
        };
        pool.block_on(body());
    }
}
