// Guarding what tasks share.
#define PERF_COUNT_ALLOCATIONS
#include "measure.hpp"

namespace {

leat::task<> mutex_uncontended(perf::repetition& rep)
{
    const std::int64_t times = rep.amount(10'000'000);
    leat::mutex mutex;
    std::int64_t count = 0;
    rep.start();
    for (std::int64_t i = 0; i < times; ++i) {
        const auto held = co_await mutex.lock();
        ++count;
    }
    rep.stop(times);
    rep.expect(count, times);
}

/// Runs `tasks` of the same kind and waits for them.
template <class Make>
leat::task<> in_tasks(int tasks, Make make)
{
    std::vector<leat::join_handle<>> all;
    for (int i = 0; i < tasks; ++i)
        all.push_back(leat::spawn(make()));
    for (auto& each : all)
        co_await each;
}

leat::task<> add_under(leat::mutex& mutex, std::int64_t& count, std::int64_t times)
{
    for (std::int64_t i = 0; i < times; ++i) {
        const auto held = co_await mutex.lock();
        ++count;
    }
}

leat::task<> mutex_contended(perf::repetition& rep)
{
    const std::int64_t times = rep.amount(500'000);
    leat::mutex mutex;
    std::int64_t count = 0;
    rep.start();
    co_await in_tasks(8, [&] { return add_under(mutex, count, times); });
    rep.stop(8 * times);
    rep.expect(count, 8 * times);
}

}  // namespace

int main(int argc, char** argv)
{
    return perf::program(
        argc, argv,
        {{"mutex_uncontended", "ns", mutex_uncontended}, {"mutex_contended", "ns/op", mutex_contended}});
}
