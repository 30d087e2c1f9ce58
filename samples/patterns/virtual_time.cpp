// Virtual time: an hour of a program in no time, and the deadlock in it
//
// The problem: an alarm clock has a snooze button. Does it ring when it should? Nobody wants to wait for an hour to see.
//
//     world ── one thread, a clock of its own that moves when nobody can run, an order that is drawn from a seed
//       └──▶ sleeper ◀──▶ alarm
//
// leat::clock is the world's. When nothing can happen any more, the world says so.
//
// Run it with   ./dev run patterns_virtual_time
// It prints
//
//     rings after 30 min
//     rings after 39 min
//     awake after 44 min
//     deadlock: somebody waits for a call that nobody will make

#include <leat/leat.hpp>
#include <leat/sim.hpp>

#include <chrono>
#include <cstdio>

namespace {
using namespace std::chrono_literals;

long long minutes()
{
    return leat::clock::now().time_since_epoch() / 1min;
}

leat::task<> sleeper()
{
    const long long begin = minutes();
    leat::timer alarm{30min};
    for (int snoozes = 0; snoozes < 2; ++snoozes) {
        co_await alarm.wait();
        std::printf("rings after %lld min\n", minutes() - begin);
        alarm.reset(9min);
    }
    co_await leat::sleep_for(5min);
    alarm.stop();
    std::printf("awake after %lld min\n", minutes() - begin);
}

void rehearse()
{
    leat::sim::world world{7};
    world.run(sleeper());
    try {
        world.run([]() -> leat::task<> { co_await leat::channel<int>{}.recv(); });
    } catch (const leat::deadlock_error&) {
        std::printf("deadlock: somebody waits for a call that nobody will make\n");
    }
}
}  // namespace

int main()
{
    rehearse();
}
