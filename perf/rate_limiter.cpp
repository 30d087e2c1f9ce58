// Asking a token bucket.
#define PERF_COUNT_ALLOCATIONS
#include "measure.hpp"

#include <leat/flow/rate_limiter.hpp>

namespace {

// As fast as it can be asked, of a bucket that always has enough.
leat::task<> allow(perf::repetition& rep)
{
    const std::int64_t times = rep.amount(10'000'000);
    leat::rate_limiter limiter{1e9, 1'000'000};
    std::int64_t allowed = 0;
    rep.start();
    for (std::int64_t i = 0; i < times; ++i)
        allowed += limiter.allow() ? 1 : 0;
    rep.stop(times);
    rep.expect(allowed, times);
    co_return;
}

// The same as a wait: there is always a token, so that nobody waits.
leat::task<> wait(perf::repetition& rep)
{
    const std::int64_t times = rep.amount(10'000'000);
    leat::rate_limiter limiter{1e9, 1'000'000};
    std::int64_t waited = 0;
    rep.start();
    for (std::int64_t i = 0; i < times; ++i) {
        co_await limiter.wait();
        ++waited;
    }
    rep.stop(times);
    rep.expect(waited, times);
}

}  // namespace

int main(int argc, char** argv)
{
    return perf::program(argc, argv, {{"ratelimit_allow", "ns", allow}, {"ratelimit_wait", "ns", wait}});
}
