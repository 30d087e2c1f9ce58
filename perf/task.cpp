// What a call, and a turn on a worker, cost.
#define PERF_COUNT_ALLOCATIONS
#include "measure.hpp"

namespace {

leat::task<std::int64_t> child(std::int64_t number)
{
    co_return number;
}

// A task awaits a child that returns at once.
leat::task<> call_overhead(perf::repetition& rep)
{
    const std::int64_t calls = rep.amount(100'000'000);
    std::int64_t sum = 0;
    rep.start();
    for (std::int64_t i = 0; i < calls; ++i)
        sum += co_await child(i);
    rep.stop(calls);
    rep.expect(sum, calls * (calls - 1) / 2);
}

leat::task<std::int64_t> yield_often(std::int64_t times)
{
    std::int64_t done = 0;
    for (; done < times; ++done)
        co_await leat::this_task::yield();
    co_return done;
}

// Two tasks do nothing but yield.
leat::task<> yield(perf::repetition& rep)
{
    const std::int64_t each = rep.amount(2'000'000);
    rep.start();
    auto first = leat::spawn(yield_often(each));
    auto second = leat::spawn(yield_often(each));
    std::int64_t done = co_await first;
    done += co_await second;
    rep.stop(2 * each);
    rep.expect(done, 2 * each);
}

}  // namespace

int main(int argc, char** argv)
{
    return perf::program(argc, argv, {{"call_overhead", "ns", call_overhead}, {"yield", "ns", yield}});
}
