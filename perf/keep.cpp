// Doing once, and keeping, what many need.
#define PERF_COUNT_ALLOCATIONS
#include "measure.hpp"

#include <array>
#include <atomic>
#include <string>

namespace {

leat::task<> once(perf::repetition& rep)
{
    const std::int64_t times = rep.amount(10'000'000);
    leat::once first;
    std::int64_t runs = 0;
    std::int64_t calls = 0;
    rep.start();
    for (std::int64_t i = 0; i < times; ++i) {
        co_await first.call([&] { ++runs; });
        calls += runs;
    }
    rep.stop(times);
    rep.expect(runs, 1);
    rep.expect(calls, times);
}

// 64 tasks ask for 16 keys; whoever comes while the answer is on its way gets the same.
leat::task<int> answer(int key)
{
    co_await leat::this_task::yield();
    co_return key;
}

leat::task<> single_flight(perf::repetition& rep)
{
    const std::int64_t times = rep.amount(20'000);
    std::array<std::string, 16> keys;
    for (std::size_t i = 0; i < keys.size(); ++i)
        keys[i] = std::to_string(i);
    leat::single_flight<std::string, int> flights;
    std::atomic<std::int64_t> total{0};
    std::int64_t wanted = 0;
    for (int task = 0; task < 64; ++task)
        for (std::int64_t i = 0; i < times; ++i)
            wanted += (task + i) % 16;
    leat::wait_group group;
    rep.start();
    for (int task = 0; task < 64; ++task) {
        auto asks = [&, task]() -> leat::task<> {
            std::int64_t sum = 0;
            for (std::int64_t i = 0; i < times; ++i) {
                const auto key = static_cast<int>((task + i) % 16);
                auto ask = [key] { return answer(key); };
                const auto got = co_await flights.run(keys[static_cast<std::size_t>(key)], ask);
                sum += got.value;
            }
            total += sum;
        };
        group.spawn(asks);
    }
    co_await group.wait();
    rep.stop(64 * times);
    rep.expect(total, wanted);
}

std::uint64_t next(std::uint64_t random) noexcept
{
    return random * 6364136223846793005U + 1442695040888963407U;
}

// Of a hundred operations `loads` load, one deletes, and the rest stores; all load if that is a hundred.
leat::task<> map_row(perf::repetition& rep, std::uint64_t loads)
{
    constexpr std::int64_t keys = 100'000;
    const std::int64_t times = rep.amount(10'000'000 / 8);
    leat::concurrent_map<std::int64_t, std::int64_t> entries;
    for (std::int64_t key = 0; key < keys; ++key)
        entries.store(key, key);
    std::atomic<std::int64_t> found{0};
    std::atomic<std::int64_t> wrong{0};
    leat::wait_group group;
    rep.start();
    for (std::uint64_t task = 0; task < 8; ++task) {
        auto works = [&, task] {
            std::uint64_t random = task;
            std::int64_t found_here = 0;
            std::int64_t wrong_here = 0;
            for (std::int64_t i = 0; i < times; ++i) {
                random = next(random);
                const auto key = static_cast<std::int64_t>((random >> 33) % keys);
                const std::uint64_t what = (random >> 13) % 100;
                if (what < loads) {
                    const auto value = entries.load(key);
                    found_here += value.has_value() ? 1 : 0;
                    wrong_here += value && *value != key ? 1 : 0;
                } else if (what < 99) {
                    entries.store(key, key);
                } else {
                    entries.erase(key);
                }
            }
            found += found_here;
            wrong += wrong_here;
        };
        group.spawn(works);
    }
    co_await group.wait();
    rep.stop(8 * times);
    rep.expect(wrong, 0);
    if (loads == 100)
        rep.expect(found, 8 * times);
}

leat::task<> map_load(perf::repetition& rep)
{
    return map_row(rep, 100);
}
leat::task<> map_mixed(perf::repetition& rep)
{
    return map_row(rep, 90);
}

leat::task<> pool_get(perf::repetition& rep)
{
    const std::int64_t times = rep.amount(10'000'000);
    leat::object_pool<std::array<char, 64>> pool;
    std::int64_t sum = 0;
    rep.start();
    for (std::int64_t i = 0; i < times; ++i) {
        const auto object = pool.get();
        (*object)[0] = 1;
        sum += (*object)[0];
    }
    rep.stop(times);
    rep.expect(sum, times);
    co_return;
}

}  // namespace

int main(int argc, char** argv)
{
    return perf::program(argc, argv,
                         {{"once", "ns/op", once},
                          {"single_flight", "ns/op", single_flight},
                          {"map_load", "ns/op", map_load},
                          {"map_mixed", "ns/op", map_mixed},
                          {"pool_get", "ns/op", pool_get}});
}
