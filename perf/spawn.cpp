// Starting tasks and waiting for their end.
#define PERF_COUNT_ALLOCATIONS
#include "measure.hpp"

namespace {

leat::task<> mark(char& place)
{
    place = 1;
    co_return;
}

// One task starts many and waits for all of them; each leaves a mark.
leat::task<> spawn_join(perf::repetition& rep)
{
    const std::int64_t tasks = rep.amount(1'000'000);
    std::vector<char> marks(static_cast<std::size_t>(tasks));
    rep.start();
    co_await leat::with_group([&](leat::task_group& group) -> leat::task<> {
        for (char& place : marks)
            co_await group.spawn(mark(place));
    });
    rep.stop(tasks);
    rep.expect(std::count(marks.begin(), marks.end(), 1), tasks);
}

leat::task<std::int64_t> echo(std::int64_t number)
{
    co_return number;
}

// The same with a handle for each, all of them kept and then awaited in order.
leat::task<> spawn_handles(perf::repetition& rep)
{
    const std::int64_t tasks = rep.amount(1'000'000);
    std::int64_t sum = 0;
    rep.start();
    std::vector<leat::join_handle<std::int64_t>> handles;
    handles.reserve(static_cast<std::size_t>(tasks));
    for (std::int64_t i = 0; i < tasks; ++i)
        handles.push_back(leat::spawn(echo(i)));
    for (auto& handle : handles)
        sum += co_await handle;
    handles.clear();
    rep.stop(tasks);
    rep.expect(sum, tasks * (tasks - 1) / 2);
}

}  // namespace

int main(int argc, char** argv)
{
    return perf::program(
        argc, argv, {{"spawn_join", "ns/task", spawn_join}, {"spawn_handles", "ns/task", spawn_handles}});
}
