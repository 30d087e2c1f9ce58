// A million tasks, each the child of another
//
// The problem: a task starts ten children, each of these ten more, and so on until there are a million.
// Those at the bottom return their number; all others return the sum of what their children return (after
// Alexander Temerev's skynet benchmark).
//
//                           0 + 1 + ... + 999999
//                        ┌────────┬───┴─────┬────────┐
//                    0-99999 100000-199999 ...  900000-999999
//                     ┌──┼──┐     ...
//                    ...
//
// when_all() starts the children on the pool and returns their results in the order they were passed in. The
// pool works on the tree depth first, so that few of the tasks are there at any one time.
//
// Run it with   ./dev run skynet
//
// It prints the sum, and how long that took:
//
//     499999500000
//     1111111 tasks in 0.2 s

#include <leat/leat.hpp>

#include <chrono>
#include <cstdio>
#include <utility>
#include <vector>

namespace {

leat::task<long> skynet(long first, long size)
{
    if (size == 1)
        co_return first;
    std::vector<leat::task<long>> children;
    for (long i = 0; i < 10; ++i)
        children.push_back(skynet(first + i * (size / 10), size / 10));
    const std::vector<long> parts = co_await leat::when_all(std::move(children));
    long sum = 0;
    for (const long part : parts)
        sum += part;
    co_return sum;
}

leat::task<> measure(long leaves)
{
    const auto begin = leat::clock::now();
    const long sum = co_await skynet(0, leaves);
    const std::chrono::duration<double> taken = leat::clock::now() - begin;
    std::printf("%ld\n%ld tasks in %.1f s\n", sum, leaves + (leaves - 1) / 9, taken.count());
}

}  // namespace

int main()
{
    leat::run(measure(1'000'000));
}
