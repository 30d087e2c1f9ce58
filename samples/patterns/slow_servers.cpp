// Slow and broken servers: hedge, retry, circuit breaker, bulkhead
//
// The problem: one server answers late now and then, another not at all, a third is asked by too many at once.
//
//     hedge     ask ────────────────╌ cancelled       the answer that comes first
//                   └─ 50 ms ─ ask ──▶ answer
//     retry     ask ─✗─ wait ─ ask ─✗─ wait, longer ─ ask ──▶ answer
//     circuit   ask ─✗  ask ─✗  refused, refused...   until it has had time to recover
//     bulkhead  two at a time, one waits, the rest is refused at once
//
// Run it with   ./dev run patterns_slow_servers
// It prints
//
//     0.06 s  hedge: has an answer from call 2
//     0.36 s  retry: has an answer from call 3
//     0.36 s  circuit breaker: 2 of 10 calls were made
//     0.56 s  bulkhead: 3 were served, 7 refused

#include <leat/flow/bulkhead.hpp>
#include <leat/flow/circuit_breaker.hpp>
#include <leat/flow/hedge.hpp>
#include <leat/flow/retry.hpp>
#include <leat/leat.hpp>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <stdexcept>

namespace {
using namespace std::chrono_literals;

leat::task<int> answers(int number, std::chrono::milliseconds takes)
{
    co_await leat::sleep_for(takes);
    co_return number;
}

leat::task<> day()
{
    const auto begin = leat::clock::now();
    const auto now = [begin] { return std::chrono::duration<double>(leat::clock::now() - begin).count(); };
    int calls = 0;
    auto late = [&] { return ++calls == 1 ? answers(1, 10s) : answers(calls, 10ms); };
    const int first = co_await leat::hedge({.attempts = 3, .after = 50ms}, late);
    std::printf("%.2f s  hedge: has an answer from call %d\n", now(), first);

    calls = 0;
    auto flaky = [&] { return ++calls < 3 ? throw std::runtime_error{"busy"} : calls; };
    const int got = co_await leat::retry({.attempts = 5, .delay = 100ms, .factor = 2}, flaky);
    std::printf("%.2f s  retry: has an answer from call %d\n", now(), got);

    leat::circuit_breaker circuit{{.trip = leat::trip_policy::consecutive(2)}};
    calls = 0;
    auto down = [&] { ++calls, throw std::runtime_error{"down"}; };
    for (int i = 0; i < 10; ++i)
        static_cast<void>(co_await leat::as_result(circuit.run(down)));
    std::printf("%.2f s  circuit breaker: %d of 10 calls were made\n", now(), calls);

    leat::bulkhead places{{.concurrent = 2, .queue = 1}};
    std::atomic<int> served{0};
    auto serve = [&] { return answers(++served, 100ms); };
    co_await leat::with_group([&](leat::task_group& callers) -> leat::task<> {
        for (int i = 0; i < 10; ++i)
            co_await callers.spawn(
                [&]() -> leat::task<> { static_cast<void>(co_await leat::as_result(places.run(serve))); });
    });
    std::printf("%.2f s  bulkhead: %d were served, %d refused\n", now(), served.load(),
                static_cast<int>(places.rejected()));
}
}  // namespace

int main()
{
    leat::run(day());
}
