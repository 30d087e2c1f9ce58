// Broadcast: every message for everybody who listens
//
// The problem: a river rises. The log must have every measurement; a second log has little room, and shall hold nobody up.
//
//     gauge ──▶ ┌──▶ log           each one, in order
//               └──▶ second log    a queue of two, which drops the oldest
//
// Each subscription has a queue of its own, and says what happens when that is full.
//
// Run it with   ./dev run patterns_news
// It prints
//
//     the log has 110 120 130 140 150 160
//     the second log has 150 160, and lost 4

#include <leat/leat.hpp>

#include <cstdio>
#include <string>

namespace {

using namespace std::chrono_literals;

leat::task<std::string> read_all(const leat::broadcast_subscription<int>& from)
{
    std::string all;
    while (const auto level = co_await from.recv())
        all += " " + std::to_string(*level);
    co_return all;
}

leat::task<> river()
{
    leat::broadcast<int> measured;
    const auto log = measured.subscribe();
    const auto second = measured.subscribe({.capacity = 2, .overflow = leat::overflow_policy::drop_oldest});
    auto reading = leat::spawn(read_all(log));
    for (int now = 110; now <= 160; now += 10) {
        co_await leat::sleep_for(100ms);
        co_await measured.send(now);
    }
    measured.close();
    const std::string logged = co_await reading;
    const std::string late = co_await read_all(second);
    std::printf("the log has%s\n", logged.c_str());
    std::printf("the second log has%s, and lost %d\n", late.c_str(), static_cast<int>(second.dropped()));
}

}  // namespace

int main()
{
    leat::run(river());
}
