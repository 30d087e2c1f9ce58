// Happy eyeballs in virtual time: which attempts begin when, and which one counts.
#include <leat/asio/net/connect.hpp>
#include <leat/leat.hpp>

#include <doctest/doctest.h>

#include "support/net.hpp"

#include <chrono>
#include <string>
#include <vector>

namespace {

using namespace std::chrono_literals;
namespace net = leat::net;
using test::failure_of;

net::endpoint address(const char* text, unsigned short port = 1)
{
    return {asio::ip::make_address(text), port};
}

/// An attempt to connect that ends after a while, well or badly.
struct plan {
    std::chrono::nanoseconds takes;
    std::error_code why{};
};

struct attempts_made {
    std::vector<std::chrono::nanoseconds> begun;
    std::size_t cancelled = 0;
};

leat::task<int> attempt(const std::vector<plan>& plans, attempts_made& made, leat::sim::world& world,
                        int which)
{
    made.begun.push_back(world.now());
    const plan& mine = plans[static_cast<std::size_t>(which)];
    auto slept = co_await leat::as_result(leat::sleep_for(mine.takes));
    if (!slept) {
        ++made.cancelled;
        slept.value();
    }
    if (mine.why)
        throw std::system_error{mine.why};
    co_return which;
}

leat::task<int> race(const std::vector<plan>& plans, attempts_made& made, leat::sim::world& world,
                     net::connect_options options)
{
    std::vector<int> addresses;
    for (std::size_t i = 0; i < plans.size(); ++i)
        addresses.push_back(static_cast<int>(i));
    auto one = [&](int which) { return attempt(plans, made, world, which); };
    auto name = [](int which) { return "address " + std::to_string(which); };
    co_return co_await net::race_to_connect(std::move(addresses), one, name, options);
}

}  // namespace

TEST_SUITE("net connect")
{
    const std::error_code refused = std::make_error_code(std::errc::connection_refused);

    TEST_CASE("the families take turns, the first address's first")
    {
        const auto a6 = address("::1");
        const auto b6 = address("::2");
        const auto c6 = address("::3");
        const auto a4 = address("127.0.0.1");
        const auto b4 = address("127.0.0.2");
        using list = std::vector<net::endpoint>;
        CHECK(net::interleave({}) == list{});
        CHECK(net::interleave({a6, b6, c6, a4, b4}) == list{a6, a4, b6, b4, c6});
        CHECK(net::interleave({a4, b4, a6}) == list{a4, a6, b4});
        CHECK(net::interleave({a4, a6, b6, c6}) == list{a4, a6, b6, c6});
        CHECK(net::interleave({b6, a6}) == list{b6, a6});
    }

    TEST_CASE("an attempt begins when the one before has been slow, or has failed")
    {
        leat::sim::world world;
        attempts_made made;
        const std::vector<plan> plans{{10s}, {20ms, refused}, {100ms}};
        CHECK(world.run(race(plans, made, world, {})) == 2);
        CHECK(made.begun == std::vector<std::chrono::nanoseconds>{0ms, 250ms, 270ms});
        CHECK(world.now() == 370ms);
        CHECK(made.cancelled == 1);
        CHECK(world.live_tasks() == 0);
    }

    TEST_CASE("failures do not wait for the delay")
    {
        leat::sim::world world;
        attempts_made made;
        const std::vector<plan> plans{{10ms, refused}, {10ms, refused}, {5ms}};
        CHECK(world.run(race(plans, made, world, {})) == 2);
        CHECK(made.begun == std::vector<std::chrono::nanoseconds>{0ms, 10ms, 20ms});
        CHECK(world.now() == 25ms);
    }

    TEST_CASE("the first attempt wins although others have begun")
    {
        leat::sim::world world;
        attempts_made made;
        const std::vector<plan> plans{{600ms}, {10s}, {10s}, {10s}};
        CHECK(world.run(race(plans, made, world, {})) == 0);
        CHECK(world.now() == 600ms);
        CHECK(made.cancelled == 2);
    }

    TEST_CASE("when all fail, the error is the first one's and tells of each")
    {
        leat::sim::world world;
        attempts_made made;
        const std::vector<plan> plans{{10ms, std::make_error_code(std::errc::network_unreachable)},
                                      {1ms, refused}};
        std::string what;
        std::error_code code;
        try {
            world.run(race(plans, made, world, {}));
        } catch (const net::connect_error& e) {
            what = e.what();
            code = e.code();
        }
        CHECK(code == std::errc::network_unreachable);
        CHECK(what.find("address 0") != std::string::npos);
        CHECK(what.find("address 1: " + refused.message()) != std::string::npos);
    }

    TEST_CASE("limits: of each attempt, of their number, of all by timeout()")
    {
        attempts_made made;
        net::connect_options options;
        options.attempt_timeout = 100ms;
        {
            leat::sim::world world;
            CHECK(world.run(race({{10s}, {10s}, {10ms}}, made, world, options)) == 2);
            CHECK(world.now() == 210ms);
        }
        options.attempt_timeout = {};
        options.max_attempts = 2;
        {
            leat::sim::world world;
            CHECK_THROWS_AS(world.run(race({{1ms, refused}, {1ms, refused}, {1ms}}, made, world, options)),
                            net::connect_error);
        }
        {
            leat::sim::world world;
            made = {};
            auto limited = [&]() -> leat::task<> {
                const std::vector<plan> plans{{10s}, {10s}};
                const auto why = co_await failure_of(leat::timeout(1s, race(plans, made, world, {})));
                CHECK(why == leat::errc::deadline_exceeded);
                CHECK(made.cancelled == 2);
            };
            world.run(limited());
            CHECK(world.now() == 1s);
            CHECK(world.live_tasks() == 0);
        }
    }

    TEST_CASE("no address is an error of its own")
    {
        leat::sim::world world;
        attempts_made made;
        auto body = [&]() -> leat::task<> {
            const std::vector<plan> none;
            const auto why = co_await failure_of(race(none, made, world, {}));
            CHECK(why == net::errc::no_address);
            CHECK(why == std::errc::address_not_available);
        };
        world.run(body());
    }

    TEST_CASE("every schedule of two that succeed at the same time gives one")
    {
        const auto explored =
            leat::sim::explore({.schedules = 500, .random_from = 0}, [](leat::sim::world& world) {
                attempts_made made;
                const std::vector<plan> plans{
                    {250ms}, {0ms}, {250ms, std::make_error_code(std::errc::timed_out)}};
                const int got = world.run(race(plans, made, world, {}));
                if (got != 0 && got != 1)
                    throw std::logic_error{"another"};
                if (world.live_tasks() != 0)
                    throw std::logic_error{"left over"};
            });
        CHECK(explored.schedules > 1);
    }
}
