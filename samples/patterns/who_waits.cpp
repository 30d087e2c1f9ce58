// Inspect: who waits for what, and who has it
//
// The problem: a program hangs. Two tasks have taken two locks in different orders; which, and where?
//
//     ann: has the knife, waits for the board ──┐
//                       ▲                       ▼
//                       └── waits for the knife, has the board: ben
//
// inspect::tasks() says it of every task, report() as text, with the chain of awaits. A program in which nothing at all can
// run any more ends with deadlock_error, which says the same.
//
// Run it with   ./dev run patterns_who_waits
// It prints
//
//     ann waits for mutex "board", which ben has
//     ben waits for mutex "knife", which ann has

#include <leat/inspect.hpp>
#include <leat/leat.hpp>

#include <chrono>
#include <cstdio>
#include <string>
#include <vector>

namespace {
using namespace std::chrono_literals;

leat::task<> cook(leat::mutex& first, leat::mutex& second)
{
    const auto one = co_await first.lock();
    co_await leat::sleep_for(100ms);
    const auto two = co_await second.lock();
}

leat::task<> kitchen()
{
    leat::mutex knife{"knife"}, board{"board"};
    co_await leat::with_group([&](leat::task_group& cooks) -> leat::task<> {
        co_await cooks.spawn(cook(knife, board), {.name = "ann"});
        co_await cooks.spawn(cook(board, knife), {.name = "ben"});
        co_await leat::sleep_for(1s);
        const std::vector<leat::inspect::task_info> all = leat::inspect::tasks(leat::this_task::executor());
        for (const auto& each : all)
            for (const auto& other : all)
                if (each.held_by == other.id)
                    std::printf("%s waits for %s, which %s has\n", each.name.c_str(),
                                each.waits_for.substr(0, each.waits_for.find(',')).c_str(),
                                other.name.c_str());
        cooks.cancel();
    });
}
}  // namespace

int main()
{
    leat::run(kitchen());
}
