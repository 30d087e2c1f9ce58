// Trees of tasks.
#define PERF_COUNT_ALLOCATIONS
#include "measure.hpp"

#include <array>

namespace {

// ---- Skynet: a tree with ten branches at each fork; the leaves return their number -----------------

leat::task<> skynet_chan(std::int64_t first, std::int64_t size, leat::sender<std::int64_t> out)
{
    if (size == 1) {
        co_await out.send(first);
        co_return;
    }
    leat::channel<std::int64_t> parts{10};
    for (std::int64_t i = 0; i < 10; ++i)
        leat::spawn(skynet_chan(first + i * (size / 10), size / 10, parts));
    std::int64_t sum = 0;
    for (int i = 0; i < 10; ++i) {
        const auto part = co_await parts.recv();
        sum += *part;
    }
    co_await out.send(sum);
}

leat::task<> measure_skynet_chan(perf::repetition& rep)
{
    const std::int64_t leaves = rep.depth(1'000'000, 100'000, 1000);
    leat::channel<std::int64_t> result{1};
    rep.start();
    leat::spawn(skynet_chan(0, leaves, result));
    const auto sum = co_await result.recv();
    rep.stop(1);
    rep.expect(*sum, leaves * (leaves - 1) / 2);
}

leat::task<std::int64_t> skynet_join(std::int64_t first, std::int64_t size)
{
    if (size == 1)
        co_return first;
    std::vector<leat::task<std::int64_t>> children;
    children.reserve(10);
    for (std::int64_t i = 0; i < 10; ++i)
        children.push_back(skynet_join(first + i * (size / 10), size / 10));
    const std::vector<std::int64_t> parts = co_await leat::when_all(std::move(children));
    std::int64_t sum = 0;
    for (const std::int64_t part : parts)
        sum += part;
    co_return sum;
}

leat::task<> measure_skynet_join(perf::repetition& rep)
{
    const std::int64_t leaves = rep.depth(1'000'000, 100'000, 1000);
    rep.start();
    const std::int64_t sum = co_await skynet_join(0, leaves);
    rep.stop(1);
    rep.expect(sum, leaves * (leaves - 1) / 2);
}

// ---- Fibonacci: two children per call, nothing else to do ------------------------------------------

leat::task<std::int64_t> fib(int n)
{
    if (n < 2)
        co_return n;
    const auto [a, b] = co_await leat::when_all(fib(n - 1), fib(n - 2));
    co_return a + b;
}

leat::task<> measure_fib(perf::repetition& rep)
{
    const int n = rep.depth(30, 20, 16);
    std::int64_t wanted = 0, next = 1;
    for (int i = 0; i < n; ++i)
        wanted = std::exchange(next, wanted + next);
    rep.start();
    const std::int64_t got = co_await fib(n);
    rep.stop(1);
    rep.expect(got, wanted);
}

// ---- Queens: a task for each queen that can be placed ----------------------------------------------

constexpr std::size_t most_queens = 14;

/// The column of the queen in each row so far.
using board = std::array<std::int8_t, most_queens>;

bool can_stand(const board& columns, int row, int column) noexcept
{
    for (int above = 0; above < row; ++above) {
        const int there = columns[static_cast<std::size_t>(above)];
        if (there == column || there - column == row - above || column - there == row - above)
            return false;
    }
    return true;
}

leat::task<std::int64_t> place(board columns, int row, int queens)
{
    if (row == queens)
        co_return 1;
    std::vector<leat::task<std::int64_t>> placements;
    placements.reserve(static_cast<std::size_t>(queens));
    for (int column = 0; column < queens; ++column) {
        if (!can_stand(columns, row, column))
            continue;
        columns[static_cast<std::size_t>(row)] = static_cast<std::int8_t>(column);
        placements.push_back(place(columns, row + 1, queens));
    }
    const std::vector<std::int64_t> found = co_await leat::when_all(std::move(placements));
    std::int64_t sum = 0;
    for (const std::int64_t each : found)
        sum += each;
    co_return sum;
}

leat::task<> measure_queens(perf::repetition& rep)
{
    constexpr std::array<std::int64_t, most_queens + 1> solutions{1,  1,   0,   0,    2,     10,    4,     40,
                                                                  92, 352, 724, 2680, 14200, 73712, 365596};
    const int queens = rep.depth(14, 10, 8);
    rep.start();
    const std::int64_t found = co_await place(board{}, 0, queens);
    rep.stop(1);
    rep.expect(found, solutions[static_cast<std::size_t>(queens)]);
}

}  // namespace

int main(int argc, char** argv)
{
    return perf::program(argc, argv,
                         {{"skynet_chan", "ms", measure_skynet_chan},
                          {"skynet_join", "ms", measure_skynet_join},
                          {"fib", "ms", measure_fib},
                          {"nqueens", "ms", measure_queens}});
}
