// Watch: not every value, but the latest
//
// The problem: a river rises. The sign at the bridge shows its level, but is slow; the gate closes when it is too high.
//
//     gauge ── level ──▶ ┌──▶ sign    the latest, when it has time
//                        └──▶ gate    waits for a value
//
// Nobody has a queue: there is one value, and whoever comes late finds only what has become of it.
//
// Run it with   ./dev run patterns_levels
// It prints
//
//     0.50 s  the gate closes at 150
//     0.78 s  the sign has shown 110 120 140 160

#include "../common/say.hpp"

#include <leat/leat.hpp>

#include <string>

namespace {

using namespace std::chrono_literals;

leat::task<> show(leat::watcher<int> level, leat::clock::time_point begin)
{
    std::string shown;
    while (const auto now = co_await level.changed()) {
        shown += " " + std::to_string(*now);
        co_await leat::sleep_for(170ms);
    }
    common::say(begin, "the sign has shown" + shown);
}

leat::task<> close_gate(leat::watcher<int> level, leat::clock::time_point begin)
{
    const auto high = co_await level.wait_for([](int now) { return now >= 150; });
    common::say(begin, "the gate closes at " + std::to_string(*high));
}

leat::task<> river()
{
    const auto begin = leat::clock::now();
    leat::watch<int> level{100};
    auto showing = leat::spawn(show(level.subscribe(), begin));
    auto closing = leat::spawn(close_gate(level.subscribe(), begin));
    for (int now = 110; now <= 160; now += 10) {
        co_await leat::sleep_for(100ms);
        level.set(now);
    }
    level.close();
    co_await closing;
    co_await showing;
}

}  // namespace

int main()
{
    leat::run(river());
}
