// Slow servers: ask a second one, or ask again
//
// The problem: one server answers late now and then; another is busy, and has to be asked until it is not.
//
//     hedge     ask ────────────────╌ cancelled       the answer that comes first
//                   └─ 50 ms ─ ask ──▶ answer
//     retry     ask ─✗─ wait ─ ask ─✗─ wait, longer ─ ask ──▶ answer
//
// Run it with   ./dev run patterns_slow_servers
// It prints
//
//     0.06 s  hedge: has an answer from call 2
//     0.36 s  retry: has an answer from call 3

#include "../common/say.hpp"

#include <leat/leat.hpp>

#include <stdexcept>
#include <string>

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
    int calls = 0;
    auto late = [&] { return ++calls == 1 ? answers(1, 10s) : answers(calls, 10ms); };
    const int first = co_await leat::hedge({.attempts = 3, .after = 50ms}, late);
    common::say(begin, "hedge: has an answer from call " + std::to_string(first));

    calls = 0;
    auto busy = [&] { return ++calls < 3 ? throw std::runtime_error{"busy"} : calls; };
    const int got = co_await leat::retry({.attempts = 5, .delay = 100ms, .factor = 2}, busy);
    common::say(begin, "retry: has an answer from call " + std::to_string(got));
}

}  // namespace

int main()
{
    leat::run(day());
}
