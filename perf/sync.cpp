// Guarding what tasks share.
#define PERF_COUNT_ALLOCATIONS
#include "measure.hpp"

#include <atomic>

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

leat::task<> read_shared(leat::shared_mutex& mutex, const std::int64_t& value,
                         std::atomic<std::int64_t>& total, std::int64_t times)
{
    std::int64_t sum = 0;
    for (std::int64_t i = 0; i < times; ++i) {
        const auto held = co_await mutex.lock_shared();
        sum += value;
    }
    total.fetch_add(sum);
}

leat::task<> rw_read(perf::repetition& rep)
{
    const std::int64_t times = rep.amount(500'000);
    leat::shared_mutex mutex;
    const std::int64_t value = 1;
    std::atomic<std::int64_t> total{0};
    rep.start();
    co_await in_tasks(8, [&] { return read_shared(mutex, value, total, times); });
    rep.stop(8 * times);
    rep.expect(total.load(), 8 * times);
}

// Of a hundred operations, one writes.
leat::task<> read_and_write(leat::shared_mutex& mutex, std::int64_t& value, std::atomic<std::int64_t>& read,
                            std::int64_t times)
{
    std::int64_t sum = 0;
    for (std::int64_t i = 0; i < times; ++i) {
        if (i % 100 == 0) {
            const auto held = co_await mutex.lock();
            ++value;
        } else {
            const auto held = co_await mutex.lock_shared();
            sum += value >= 0;
        }
    }
    read.fetch_add(sum);
}

leat::task<> rw_mixed(perf::repetition& rep)
{
    const std::int64_t times = rep.amount(500'000);
    const std::int64_t writes = (times + 99) / 100;
    leat::shared_mutex mutex;
    std::int64_t value = 0;
    std::atomic<std::int64_t> read{0};
    rep.start();
    co_await in_tasks(8, [&] { return read_and_write(mutex, value, read, times); });
    rep.stop(8 * times);
    rep.expect(value, 8 * writes);
    rep.expect(read.load(), 8 * (times - writes));
}

leat::task<> come_and_go(leat::semaphore& permits, std::atomic<std::int64_t>& total, std::int64_t times)
{
    for (std::int64_t i = 0; i < times; ++i) {
        const auto held = co_await permits.acquire();
        co_await leat::this_task::yield();
    }
    total.fetch_add(times);
}

leat::task<> semaphore(perf::repetition& rep)
{
    const std::int64_t times = rep.amount(20'000);
    leat::semaphore permits{4};
    std::atomic<std::int64_t> total{0};
    rep.start();
    co_await in_tasks(64, [&] { return come_and_go(permits, total, times); });
    rep.stop(64 * times);
    rep.expect(total.load(), 64 * times);
}

}  // namespace

int main(int argc, char** argv)
{
    return perf::program(argc, argv,
                         {{"mutex_uncontended", "ns", mutex_uncontended},
                          {"mutex_contended", "ns/op", mutex_contended},
                          {"rw_read", "ns/op", rw_read},
                          {"rw_mixed", "ns/op", rw_mixed},
                          {"semaphore", "ns/op", semaphore}});
}
