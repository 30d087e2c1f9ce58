// Cancellation: stop waiting, and stop the work itself
//
// The problem: three divers search for a ring. When one has found it the others need not go on, and none must be left
// under water.
//
//     boat ──┬──▶ diver ─── found it!
//            ├──▶ diver ─╌ recalled ╌─┐
//            └──▶ diver ─╌ recalled ╌─┴──▶ all are back on board
//
// Cancelling reaches every task below, at whatever it waits for; unwinding runs its destructors; and the group returns when
// the last has ended.
//
// Run it with   ./dev run patterns_cancellation
// It prints
//
//     diver 2 has found it
//     all are back on board: 3

#include <leat/leat.hpp>

#include <atomic>
#include <chrono>
#include <cstdio>

namespace {

using namespace std::chrono_literals;

struct lifeline {
    ~lifeline()
    {
        ++back;
    }
    std::atomic<int>& back;
};

leat::task<> search()
{
    std::atomic<int> back{0};
    co_await leat::with_group([&](leat::task_group& divers) -> leat::task<> {
        for (int number = 1; number <= 3; ++number)
            co_await divers.spawn([&, number]() -> leat::task<> {
                const lifeline line{back};
                co_await leat::sleep_for(number == 2 ? 300ms : 3600s);
                std::printf("diver %d has found it\n", number);
                divers.cancel();
            });
    });
    std::printf("all are back on board: %d\n", back.load());
}

}  // namespace

int main()
{
    leat::run(search());
}
