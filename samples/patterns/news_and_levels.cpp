// Broadcast and watch: every message for everybody, or just the latest
//
// The problem: a river rises. The log must have every measurement; the sign at the bridge only the latest, and it is slow;
// the gate closes when the level is too high.
//
//                        ┌──▶ log           broadcast: each one, in order
//     gauge ── level ──▶ ├──▶ second log    broadcast: a queue of two, which drops the oldest
//                        ├──▶ sign          watch: the latest, when it has time
//                        └──▶ gate          watch: waits for a value
//
// Run it with   ./dev run patterns_news_and_levels
// It prints
//
//     0.50 s  the gate closes at 150
//     the log has 110 120 130 140 150 160
//     the second log has 150 160, and lost 4
//     the sign has shown 110 120 140 160

#include <leat/flow/broadcast.hpp>
#include <leat/flow/watch.hpp>
#include <leat/leat.hpp>

#include <chrono>
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

leat::task<std::string> show(leat::watcher<int> level)
{
    std::string shown;
    while (const auto now = co_await level.changed()) {
        shown += " " + std::to_string(*now);
        co_await leat::sleep_for(170ms);
    }
    co_return shown;
}

leat::task<> close_gate(leat::watcher<int> level, leat::clock::time_point begin)
{
    const auto high = co_await level.wait_for([](int now) { return now >= 150; });
    std::printf("%.2f s  the gate closes at %d\n",
                std::chrono::duration<double>(leat::clock::now() - begin).count(), *high);
}

leat::task<> river()
{
    leat::broadcast<int> measured;
    leat::watch<int> level{100};
    const auto log = measured.subscribe();
    const auto second = measured.subscribe({.capacity = 2, .overflow = leat::overflow_policy::drop_oldest});
    auto reading = leat::spawn(read_all(log));
    auto showing = leat::spawn(show(level.subscribe()));
    auto gate = leat::spawn(close_gate(level.subscribe(), leat::clock::now()));
    for (int now = 110; now <= 160; now += 10) {
        co_await leat::sleep_for(100ms);
        level.set(now);
        co_await measured.send(now);
    }
    measured.close();
    level.close();
    co_await gate;
    const std::string logged = co_await reading;
    const std::string late = co_await read_all(second);
    const std::string shown = co_await showing;
    std::printf("the log has%s\nthe second log has%s, and lost %d\nthe sign has shown%s\n", logged.c_str(),
                late.c_str(), static_cast<int>(second.dropped()), shown.c_str());
}
}  // namespace

int main()
{
    leat::run(river());
}
