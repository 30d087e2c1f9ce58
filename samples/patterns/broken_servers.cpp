// Broken servers: leave in peace what fails, and do not let it take everybody with it
//
// The problem: one server is down, and does not come up sooner if it is asked all the time. Another is asked by more than
// it can serve, and those who wait for it hold up all that they have in their hands.
//
//     circuit   ask ─✗  ask ─✗  refused, refused...   until it has had time to recover
//     bulkhead  two at a time, one waits, the rest is refused at once
//
// Run it with   ./dev run patterns_broken_servers
// It prints
//
//     0.00 s  circuit breaker: 2 of 10 calls were made
//     0.20 s  bulkhead: 3 were served, 7 refused

#include "../common/say.hpp"

#include <leat/leat.hpp>

#include <atomic>
#include <stdexcept>
#include <string>

namespace {

using namespace std::chrono_literals;

leat::task<> day()
{
    const auto begin = leat::clock::now();
    leat::circuit_breaker circuit{{.trip = leat::trip_policy::consecutive(2)}};
    int calls = 0;
    auto down = [&] { ++calls, throw std::runtime_error{"down"}; };
    for (int i = 0; i < 10; ++i)
        static_cast<void>(co_await leat::as_result(circuit.run(down)));
    common::say(begin, "circuit breaker: " + std::to_string(calls) + " of 10 calls were made");

    leat::bulkhead places{{.concurrent = 2, .queue = 1}};
    std::atomic<int> served{0};
    auto serve = [&]() -> leat::task<> {
        ++served;
        co_await leat::sleep_for(100ms);
    };
    auto call = [&]() -> leat::task<> { static_cast<void>(co_await leat::as_result(places.run(serve))); };
    co_await leat::with_group([&](leat::task_group& callers) -> leat::task<> {
        for (int i = 0; i < 10; ++i)
            co_await callers.spawn(call);
    });
    common::say(begin, "bulkhead: " + std::to_string(served) + " were served, " +
                           std::to_string(places.rejected()) + " refused");
}

}  // namespace

int main()
{
    leat::run(day());
}
