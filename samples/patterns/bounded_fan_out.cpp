// Bounded fan out: few begin at a time, so that memory is bounded too
//
// The problem: a hundred thousand pages are to be looked at. With a task for each, all of them take up memory at once.
//
//     100,000 pages ──▶ 4 at a time ──▶ sum
//
// for_each starts an element only when another has ended. However long the range is, so few are under way.
//
// Run it with   ./dev run patterns_bounded_fan_out
// It prints
//
//     100000 pages, 4999950000 words, at most 4 pages in memory

#include <leat/flow/for_each.hpp>
#include <leat/leat.hpp>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <numeric>
#include <vector>

namespace {

std::atomic<int> in_memory{0};
std::atomic<int> most{0};

leat::task<long> load(int page)
{
    const int now = ++in_memory;
    int before = most.load();
    while (before < now && !most.compare_exchange_weak(before, now))
        ;
    co_await leat::this_task::yield();  // here it would wait for a disk
    --in_memory;
    co_return page;
}

leat::task<> library()
{
    std::vector<int> pages(100'000);
    std::iota(pages.begin(), pages.end(), 0);
    most = 0;
    std::atomic<long> words{0};
    co_await leat::for_each(pages, {.workers = 4},
                            [&](int page) -> leat::task<> { words += co_await load(page); });
    std::printf("%zu pages, %ld words, at most %d pages in memory\n", pages.size(), words.load(),
                most.load());
}

}  // namespace

int main()
{
    leat::run(library());
}
