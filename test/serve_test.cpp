// Services: the stages of their end, in virtual time; signals, and what systemd passes.
#include <leat/asio/net.hpp>
#include <leat/leat.hpp>

#include <doctest/doctest.h>

#include "support/echo.hpp"
#include "support/in_child.hpp"

#include <array>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <memory>
#include <string>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <vector>

namespace {

using namespace std::chrono_literals;
namespace net = leat::net;
using test::echo_lines;
using test::echoes;
using test::failure_of;

leat::serve_options within(std::chrono::nanoseconds grace, std::chrono::nanoseconds cancel_grace = 1s)
{
    leat::serve_options options;
    options.signals = {SIGUSR1, SIGUSR2};
    options.grace = grace;
    options.cancel_grace = cancel_grace;
    return options;
}

/// A service in virtual time, to which signals are sent by the clock.
struct service_run {
    std::error_code ended;
    std::exception_ptr thrown;
    std::chrono::nanoseconds at{};
    std::size_t left_over = 0;
};
template <class Main>
service_run run_service(Main main, std::vector<std::chrono::nanoseconds> signals, leat::serve_options options,
                        std::uint64_t seed = 1)
{
    leat::sim::world world{seed};
    service_run got;
    auto body = [&]() -> leat::task<> {
        leat::channel<int> ch{leat::unbounded};
        auto sender = leat::spawn([&, times = signals]() -> leat::task<> {
            for (const auto each : times) {
                co_await leat::sleep_until(leat::clock::time_point{} + each);
                co_await ch.send(SIGTERM);
            }
        });
        auto served = co_await leat::as_result(leat::serve_until(ch, main, options));
        got.ended = served.error();
        got.thrown = served.exception();
        got.at = world.now();
        sender.cancel();
        static_cast<void>(co_await leat::as_result(sender));
    };
    world.run(body());
    got.left_over = world.live_tasks();
    return got;
}

}  // namespace

static_assert(std::is_trivially_destructible_v<leat::serve_options>);

// ---- The stages of an end ------------------------------------------------------------------------

TEST_SUITE("serve stages")
{
    TEST_CASE("a service that ends by itself needs no signal")
    {
        auto main = []() -> leat::task<> { co_await leat::sleep_for(10ms); };
        const auto got = run_service(main, {}, within(1s));
        CHECK_FALSE(got.ended);
        CHECK(got.at == 10ms);
        auto failing = []() -> leat::task<> {
            co_await leat::sleep_for(10ms);
            throw std::runtime_error{"no"};
        };
        CHECK_THROWS_AS(std::rethrow_exception(run_service(failing, {}, within(1s)).thrown),
                        std::runtime_error);
    }

    TEST_CASE("the first signal asks to drain, and what is under way is finished")
    {
        bool saw = false;
        bool finished = false;
        auto main = [&]() -> leat::task<> {
            CHECK_FALSE(leat::draining());
            const auto drain = leat::drain_context();
            co_await drain.done();
            saw = true;
            CHECK(leat::draining());
            CHECK_THROWS_AS(std::rethrow_exception(drain.cause()), leat::signal_error);
            CHECK_FALSE(leat::this_task::context().cancelled());
            co_await leat::sleep_for(100ms);
            finished = true;
        };
        const auto got = run_service(main, {1s}, within(1s));
        CHECK(saw);
        CHECK(finished);
        CHECK_FALSE(got.ended);
        CHECK(got.at == 1100ms);
        CHECK(got.left_over == 0);
    }

    TEST_CASE("the end of the grace cancels, to the nanosecond")
    {
        auto main = []() -> leat::task<> { co_await leat::sleep_for(1h); };
        const auto got = run_service(main, {1s}, within(1234567ns));
        CHECK(got.ended == leat::errc::cancelled);
        CHECK(got.at == 1s + 1234567ns);
        int signal = 0;
        try {
            std::rethrow_exception(got.thrown);
        } catch (const leat::cancelled_error& e) {
            try {
                std::rethrow_exception(e.cause());
            } catch (const leat::signal_error& cause) {
                signal = cause.number();
            }
        }
        CHECK(signal == SIGTERM);
    }

    TEST_CASE("the second signal cancels at once")
    {
        auto main = []() -> leat::task<> { co_await leat::sleep_for(1h); };
        const auto got = run_service(main, {1s, 1500ms, 1600ms}, within(10s));
        CHECK(got.ended == leat::errc::cancelled);
        CHECK(got.at == 1500ms);
        CHECK(got.left_over == 0);
    }

    TEST_CASE("what is cancelled may clean up")
    {
        bool clean = false;
        auto main = [&]() -> leat::task<> {
            auto slept = co_await leat::as_result(leat::sleep_for(1h));
            co_await leat::shield(1s, leat::sleep_for(500ms));
            clean = true;
            slept.value();
        };
        const auto got = run_service(main, {1s, 1s}, within(10s));
        CHECK(got.ended == leat::errc::cancelled);
        CHECK(got.at == 1500ms);
        CHECK(clean);
    }

    TEST_CASE("what is stuck is reported by name")
    {
        static std::string report;
        report.clear();
        leat::serve_options options = within(1s, 2s);
        options.on_stuck = [](const std::string& text) { report = text; };
        auto deaf = []() -> leat::task<> { co_await leat::shield(10s, leat::sleep_for(1h)); };
        auto main = [&]() -> leat::task<> {
            co_await leat::with_group([&](leat::task_group& group) -> leat::task<> {
                co_await group.spawn(deaf(), {.name = "the deaf one", .context = {}});
            });
        };
        leat::sim::world world;
        auto body = [&]() -> leat::task<> {
            leat::channel<int> ch{1};
            co_await ch.send(SIGTERM);
            const auto why = co_await failure_of(leat::serve_until(ch, main, options));
            CHECK(why == leat::errc::abandoned);
            CHECK(world.now() == 3s);
            // It ends later; nobody hears of it.
            co_await leat::sleep_for(1min);
        };
        CHECK_THROWS(world.run(body()));
        CHECK(report.find("the deaf one") != std::string::npos);
    }

    TEST_CASE("requests that have begun are finished, the wait for the next is given up")
    {
        std::vector<int> done;
        auto main = [&]() -> leat::task<> {
            leat::channel<int> requests;
            auto client = leat::spawn([&]() -> leat::task<> {
                for (int i = 0;; ++i) {
                    co_await requests.send(i);
                    co_await leat::sleep_for(100ms);
                }
            });
            while (auto next = co_await leat::unless_draining(requests.recv())) {
                co_await leat::sleep_for(30ms);
                done.push_back(*next);
            }
            client.cancel();
            const bool slept = co_await leat::unless_draining(leat::sleep_for(1h));
            CHECK_FALSE(slept);
        };
        const auto got = run_service(main, {210ms}, within(1s));
        CHECK_FALSE(got.ended);
        CHECK(got.at == 230ms);
        CHECK(done == std::vector<int>{0, 1, 2});
    }

    TEST_CASE("without a service nothing drains")
    {
        leat::sim::world world;
        auto body = []() -> leat::task<> {
            CHECK_FALSE(leat::draining());
            const bool slept = co_await leat::unless_draining(leat::sleep_for(1ms));
            CHECK(slept);
            leat::service_ready();
        };
        world.run(body());
    }

    TEST_CASE("a signal at every stage, in every order with the end of main")
    {
        auto main = []() -> leat::task<> {
            co_await leat::sleep_for(2ms);
            static_cast<void>(co_await leat::unless_draining(leat::sleep_for(2ms)));
            co_await leat::sleep_for(2ms);
        };
        for (std::uint64_t seed = 1; seed <= 40; ++seed)
            for (auto first = 0ms; first <= 7ms; first += 1ms)
                for (auto second = first; second <= 7ms; second += 1ms) {
                    const auto got = run_service(main, {first, second}, within(3ms), seed);
                    CHECK((!got.ended || got.ended == leat::errc::cancelled));
                    CHECK(got.at <= 7ms);
                    CHECK(got.left_over == 0);
                }
    }
}

// ---- Real signals --------------------------------------------------------------------------------

TEST_SUITE("serve in a process")
{
    TEST_CASE("serve returns what main returns")
    {
        auto main = []() -> leat::task<int> {
            co_await leat::this_task::yield();
            co_return 7;
        };
        CHECK(leat::serve(main, {.signals = {SIGUSR1}, .grace = 1s}) == 7);
        CHECK(leat::serve(main()) == 7);
        CHECK(leat::serve([] { return 8; }, {{SIGUSR1, SIGUSR2}, 1s}) == 8);
    }

    TEST_CASE("signals drain, then cancel, and then are what they were")
    {
        static volatile std::sig_atomic_t heard = 0;
        std::signal(SIGUSR1, [](int) { heard = 1; });
        bool drained = false;
        auto main = [&]() -> leat::task<> {
            ::raise(SIGUSR1);
            co_await leat::drain_context().done();
            drained = true;
        };
        leat::serve(main, within(1min));
        CHECK(drained);
        CHECK(heard == 0);
        ::raise(SIGUSR1);
        CHECK(heard == 1);
        std::signal(SIGUSR1, SIG_DFL);

        bool cancelled = false;
        auto twice = [&]() -> leat::task<> {
            ::raise(SIGUSR1);
            co_await leat::drain_context().done();
            ::raise(SIGUSR2);
            try {
                co_await leat::sleep_for(1h);
            } catch (const leat::cancelled_error&) {
                cancelled = true;
                throw;
            }
        };
        CHECK_THROWS_AS(leat::serve(twice, within(1min)), leat::cancelled_error);
        CHECK(cancelled);
    }

    TEST_CASE("what is stuck at the end is reported and destroyed")
    {
        static std::string report;
        report.clear();
        leat::serve_options options = within(1ms, 1ms);
        options.on_stuck = [](const std::string& text) { report = text; };
        const auto kept = std::make_shared<int>(0);
        auto deaf = [kept]() -> leat::task<> {
            ::raise(SIGUSR1);
            co_await leat::shield(1h, leat::sleep_for(1h));
        };
        std::error_code why;
        try {
            leat::serve(deaf, options);
        } catch (const std::system_error& e) {
            why = e.code();
        }
        CHECK(why == leat::errc::abandoned);
        CHECK(report.find("main") != std::string::npos);
        CHECK(kept.use_count() == 2);
    }

    TEST_CASE("systemd is told: ready once, then stopping")
    {
        const int listener = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
        const std::string name = "@leat-serve-test-" + std::to_string(::getpid());
        ::sockaddr_un address{};
        address.sun_family = AF_UNIX;
        std::memcpy(address.sun_path + 1, name.data() + 1, name.size() - 1);
        REQUIRE(::bind(listener, reinterpret_cast<::sockaddr*>(&address),
                       static_cast<::socklen_t>(offsetof(::sockaddr_un, sun_path) + name.size())) == 0);
        ::setenv("NOTIFY_SOCKET", name.c_str(), 1);
        auto main = []() -> leat::task<> {
            leat::service_ready();
            leat::service_ready();
            CHECK(leat::notify_service_manager("STATUS=testing"));
            ::raise(SIGUSR1);
            co_await leat::drain_context().done();
        };
        leat::serve(main, within(1min));
        ::unsetenv("NOTIFY_SOCKET");
        CHECK_FALSE(leat::notify_service_manager("READY=1"));
        std::string all;
        std::array<char, 256> packet;
        for (;;) {
            const auto got = ::recv(listener, packet.data(), packet.size(), 0);
            if (got <= 0)
                break;
            all.append(packet.data(), static_cast<std::size_t>(got)).append("\n");
        }
        ::close(listener);
        CHECK(all == "READY=1\nSTATUS=testing\nSTOPPING=1\n");
    }

    TEST_CASE("sockets that are passed are taken, once, and only by the process they are for")
    {
        const auto serve_inherited = [](bool mine) {
            const int descriptor = ::socket(AF_INET, SOCK_STREAM, 0);
            ::sockaddr_in at{};
            at.sin_family = AF_INET;
            at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
            if (::bind(descriptor, reinterpret_cast<::sockaddr*>(&at), sizeof at) != 0 ||
                ::listen(descriptor, 5) != 0)
                return 1;
            if (descriptor != 3) {
                ::dup2(descriptor, 3);
                ::close(descriptor);
            }
            ::dup2(::open("/dev/null", O_RDONLY), 4);
            ::setenv("LISTEN_FDS", "2", 1);
            ::setenv("LISTEN_PID", std::to_string(::getpid() + (mine ? 0 : 1)).c_str(), 1);
            return leat::run([&]() -> leat::task<int> {
                const auto here = leat::this_task::executor();
                std::vector<net::acceptor> all = net::inherited_acceptors(here);
                if (!mine)
                    co_return all.empty() ? 0 : 2;
                if (all.size() != 1 || !net::inherited_acceptors(here).empty() ||
                    !net::inherited_local_acceptors(here).empty())
                    co_return 3;
                const net::endpoint at_port = all.front().local_endpoint();
                auto serving = leat::spawn(leat::listen_and_serve(std::move(all.front()), echo_lines));
                const bool good = co_await echoes(at_port, "hello");
                serving.cancel();
                static_cast<void>(co_await leat::as_result(serving));
                co_return good ? 0 : 4;
            });
        };
        CHECK(test::in_child([&] { return serve_inherited(true); }).status == 0);
        CHECK(test::in_child([&] { return serve_inherited(false); }).status == 0);
    }
}
