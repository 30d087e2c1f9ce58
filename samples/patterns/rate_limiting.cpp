// Rate limiting: ten calls a second out of bursts of requests, by fixed ticks and by a token bucket
//
// The problem: a service allows ten calls a second. Five requests come at once, then five more a second later.
//
//     ticker             ·  ·  ·  ·  ·   |   ·  ·  ·  ·  ·
//     token bucket    ⁝  ·  ·            | ⁝ ·  ·
//
// A ticker spaces calls evenly. A rate_limiter saves up to its burst, so that who comes after a pause need not wait.
//
// Run it with   ./dev run patterns_rate_limiting
// It prints when each call is made:
//
//     ticker        0.1 0.2 0.3 0.4 0.5 | 1.1 1.2 1.3 1.4 1.5
//     token bucket  0.0 0.0 0.0 0.1 0.2 | 1.0 1.0 1.0 1.1 1.2

#include <leat/flow/rate_limiter.hpp>
#include <leat/leat.hpp>

#include <chrono>
#include <cstdio>

namespace {

using namespace std::chrono_literals;

template <class Pace>
leat::task<> two_bursts(const char* name, Pace next_turn)
{
    const auto begin = leat::clock::now();
    std::printf("%s ", name);
    for (int burst = 0; burst < 2; ++burst) {
        co_await leat::sleep_until(begin + burst * 1s);
        std::printf("%s", burst == 0 ? "" : " |");
        for (int i = 0; i < 5; ++i) {
            co_await next_turn(i);
            std::printf(" %.1f", std::chrono::duration<double>(leat::clock::now() - begin).count());
        }
    }
    std::printf("\n");
}

leat::task<> service()
{
    leat::ticker pace{100ms};
    co_await two_bursts("ticker      ", [&](int i) {
        if (i == 0)
            pace.reset(100ms);
        return pace.tick();
    });
    leat::rate_limiter limiter{10, 3};
    co_await two_bursts("token bucket", [&](int) { return limiter.wait(); });
}

}  // namespace

int main()
{
    leat::run(service());
}
