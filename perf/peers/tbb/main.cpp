// The rows of ../../ in oneTBB: fork and join with task groups, a concurrent map, and its mutexes and bounded queues,
// which block threads.
#include "../peer.hpp"

#include <oneapi/tbb/concurrent_hash_map.h>
#include <oneapi/tbb/concurrent_queue.h>
#include <oneapi/tbb/global_control.h>
#include <oneapi/tbb/rw_mutex.h>
#include <oneapi/tbb/spin_mutex.h>
#include <oneapi/tbb/task_arena.h>
#include <oneapi/tbb/task_group.h>

#include <array>
#include <atomic>
#include <thread>
#include <utility>

namespace {

using peer::repetition;

/// Runs work on as many threads as there are workers, of which this is one.
template <class Work>
void run(const repetition& rep, Work work)
{
    const auto threads = static_cast<std::size_t>(rep.workers());
    const tbb::global_control limit{tbb::global_control::max_allowed_parallelism, threads};
    tbb::task_arena arena{rep.workers()};
    arena.execute(work);
}

/// Runs work(0), work(1), ..., each as a task, and waits for all.
template <class Work>
void in_tasks(int tasks, Work work)
{
    tbb::task_group group;
    for (int i = 0; i < tasks; ++i)
        group.run([&work, i] { work(i); });
    group.wait();
}

// ---- Fork and join -------------------------------------------------------------------------------

void spawn_join(repetition& rep)
{
    run(rep, [&] {
        const std::int64_t tasks = rep.amount(1'000'000);
        std::vector<char> marks(static_cast<std::size_t>(tasks));
        rep.start();
        tbb::task_group group;
        for (char& place : marks)
            group.run([&place] { place = 1; });
        group.wait();
        rep.stop(tasks);
        rep.expect(std::count(marks.begin(), marks.end(), 1), tasks);
    });
}

std::int64_t fibonacci(std::int64_t n)
{
    if (n < 2)
        return n;
    std::int64_t first = 0, second = 0;
    tbb::task_group group;
    group.run([&first, n] { first = fibonacci(n - 1); });
    group.run_and_wait([&second, n] { second = fibonacci(n - 2); });
    return first + second;
}

void fib(repetition& rep)
{
    run(rep, [&] {
        const std::int64_t n = rep.depth(30, 20, 12);
        std::int64_t wanted = 0, next = 1;
        for (std::int64_t i = 0; i < n; ++i)
            wanted = std::exchange(next, wanted + next);
        rep.start();
        const std::int64_t got = fibonacci(n);
        rep.stop(1);
        rep.expect(got, wanted);
    });
}

std::int64_t skynet(std::int64_t number, std::int64_t size)
{
    if (size == 1)
        return number;
    std::array<std::int64_t, 10> sums{};
    size /= 10;
    tbb::task_group group;
    for (std::int64_t& sum : sums) {
        group.run([&sum, number, size] { sum = skynet(number, size); });
        number += size;
    }
    group.wait();
    std::int64_t sum = 0;
    for (const std::int64_t part : sums)
        sum += part;
    return sum;
}

void skynet_join(repetition& rep)
{
    run(rep, [&] {
        const std::int64_t leaves = rep.depth(1'000'000, 100'000, 1000);
        rep.start();
        const std::int64_t sum = skynet(0, leaves);
        rep.stop(1);
        rep.expect(sum, leaves * (leaves - 1) / 2);
    });
}

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

std::int64_t place(board columns, int row, int queens)
{
    if (row == queens)
        return 1;
    std::array<std::int64_t, most_queens> found{};
    tbb::task_group group;
    for (int column = 0; column < queens; ++column) {
        if (!can_stand(columns, row, column))
            continue;
        columns[static_cast<std::size_t>(row)] = static_cast<std::int8_t>(column);
        std::int64_t& solutions = found[static_cast<std::size_t>(column)];
        group.run([&solutions, columns, row, queens] { solutions = place(columns, row + 1, queens); });
    }
    group.wait();
    std::int64_t sum = 0;
    for (const std::int64_t each : found)
        sum += each;
    return sum;
}

void nqueens(repetition& rep)
{
    run(rep, [&] {
        const auto queens = static_cast<int>(rep.depth(14, 10, 8));
        rep.start();
        const std::int64_t found = place(board{}, 0, queens);
        rep.stop(1);
        rep.expect(found, queens == 14 ? 365596 : queens == 10 ? 724 : 92);
    });
}

// ---- Queues, which block threads -----------------------------------------------------------------

constexpr std::int64_t no_more = -1;

void pass(repetition& rep, std::int64_t full, std::ptrdiff_t capacity, int producers, int consumers)
{
    const std::int64_t share = rep.amount(full / producers);
    const std::int64_t items = share * producers;
    tbb::concurrent_bounded_queue<std::int64_t> through;
    through.set_capacity(capacity);
    std::atomic<std::int64_t> sum = 0;
    peer::use_processors(rep.workers());
    rep.start();
    {
        std::vector<std::jthread> consuming, producing;
        for (int i = 0; i < consumers; ++i)
            consuming.emplace_back([&] {
                std::int64_t here = 0;
                for (std::int64_t item = 0;;) {
                    through.pop(item);
                    if (item == no_more)
                        break;
                    here += item;
                }
                sum += here;
            });
        for (int i = 0; i < producers; ++i)
            producing.emplace_back([&, first = i * share] {
                for (std::int64_t item = first; item < first + share; ++item)
                    through.push(item);
            });
        producing.clear();
        for (int i = 0; i < consumers; ++i)
            through.push(no_more);
    }
    rep.stop(items);
    rep.expect(sum, items * (items - 1) / 2);
}

// ---- Locks ---------------------------------------------------------------------------------------

void mutex_uncontended(repetition& rep)
{
    const std::int64_t times = rep.amount(10'000'000);
    tbb::spin_mutex mutex;
    // Memory that others could see, or the compiler would leave the locks nothing to protect.
    volatile std::int64_t count = 0;
    rep.start();
    for (std::int64_t i = 0; i < times; ++i) {
        const tbb::spin_mutex::scoped_lock lock{mutex};
        count = count + 1;
    }
    rep.stop(times);
    rep.expect(count, times);
}

void mutex_contended(repetition& rep)
{
    run(rep, [&] {
        const std::int64_t times = rep.amount(500'000);
        tbb::spin_mutex mutex;
        std::int64_t count = 0;
        rep.start();
        in_tasks(8, [&](int) {
            for (std::int64_t i = 0; i < times; ++i) {
                const tbb::spin_mutex::scoped_lock lock{mutex};
                ++count;
            }
        });
        rep.stop(8 * times);
        rep.expect(count, 8 * times);
    });
}

// Of `every` operations, one writes; none does if that is zero.
void rw_lock(repetition& rep, std::int64_t every)
{
    run(rep, [&] {
        const std::int64_t times = rep.amount(500'000);
        const std::int64_t writes = every ? (times + every - 1) / every : 0;
        tbb::rw_mutex mutex;
        std::int64_t value = 0;
        std::atomic<std::int64_t> read = 0;
        rep.start();
        in_tasks(8, [&](int) {
            std::int64_t here = 0;
            for (std::int64_t i = 0; i < times; ++i) {
                const bool write = every && i % every == 0;
                const tbb::rw_mutex::scoped_lock lock{mutex, write};
                if (write)
                    ++value;
                else
                    here += value >= 0;
            }
            read += here;
        });
        rep.stop(8 * times);
        rep.expect(value, 8 * writes);
        rep.expect(read, 8 * (times - writes));
    });
}

// ---- Maps ----------------------------------------------------------------------------------------

using map = tbb::concurrent_hash_map<std::int64_t, std::int64_t>;
constexpr std::int64_t map_keys = 100'000;

void fill(map& entries)
{
    for (std::int64_t key = 0; key < map_keys; ++key)
        entries.insert({key, key});
}

std::uint64_t next(std::uint64_t random)
{
    return random * 6364136223846793005u + 1442695040888963407u;
}

// Of a hundred operations `loads` load, one deletes, and the rest stores; all load if that is a hundred.
void map_row(repetition& rep, std::uint64_t loads)
{
    run(rep, [&] {
        const std::int64_t times = rep.amount(10'000'000 / 8);
        map entries;
        fill(entries);
        std::atomic<std::int64_t> found = 0, wrong = 0;
        rep.start();
        in_tasks(8, [&](int task) {
            auto random = static_cast<std::uint64_t>(task);
            std::int64_t found_here = 0, wrong_here = 0;
            for (std::int64_t i = 0; i < times; ++i) {
                random = next(random);
                const auto key = static_cast<std::int64_t>((random >> 33) % map_keys);
                const std::uint64_t what = (random >> 13) % 100;
                if (what < loads) {
                    map::const_accessor entry;
                    if (entries.find(entry, key)) {
                        ++found_here;
                        wrong_here += entry->second != key;
                    }
                } else if (what < 99) {
                    map::accessor entry;
                    entries.insert(entry, key);
                    entry->second = key;
                } else {
                    entries.erase(key);
                }
            }
            found += found_here;
            wrong += wrong_here;
        });
        rep.stop(8 * times);
        rep.expect(wrong, 0);
        if (loads == 100)
            rep.expect(found, 8 * times);
    });
}

}  // namespace

int main(int argc, char** argv)
{
    return peer::program(
        argc, argv, "tbb",
        {{"spawn_join", "ns/task", spawn_join},
         {"skynet_join", "ms", skynet_join},
         {"fib", "ms", fib},
         {"nqueens", "ms", nqueens},
         {"chan_spsc.cap128", "ns/item", [](repetition& rep) { pass(rep, 10'000'000, 128, 1, 1); }},
         {"chan_mpmc", "ns/item", [](repetition& rep) { pass(rep, 4'000'000, 64, 4, 4); }},
         {"mutex_uncontended", "ns", mutex_uncontended},
         {"mutex_contended", "ns/op", mutex_contended},
         {"rw_read", "ns/op", [](repetition& rep) { rw_lock(rep, 0); }},
         {"rw_mixed", "ns/op", [](repetition& rep) { rw_lock(rep, 100); }},
         {"map_load", "ns/op", [](repetition& rep) { map_row(rep, 100); }},
         {"map_mixed", "ns/op", [](repetition& rep) { map_row(rep, 90); }}});
}
