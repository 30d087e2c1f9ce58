// Fan in: many sources, one reader
//
// The problem: several sensors report, each at its own pace, and one display shows whatever comes.
//
//     thermometer ──┐
//     barometer ────┼──▶ display
//     hygrometer ───┘
//
// fan_in gives one receiver for all. It ends when every source has ended.
//
// Run it with   ./dev run patterns_fan_in
// It prints the readings as they come:
//
//     0.20 s  thermometer 1
//     0.35 s  barometer 1
//     ...
//     1.50 s  hygrometer 3
//     all is quiet

#include <leat/flow/fan.hpp>
#include <leat/flow/generate.hpp>
#include <leat/leat.hpp>

#include <chrono>
#include <cstdio>
#include <string>

namespace {

using namespace std::chrono_literals;

leat::receiver<std::string> sensor(leat::task_group& group, const char* name, std::chrono::milliseconds every)
{
    return leat::generate<std::string>(group, [=](leat::outlet<std::string>& out) -> leat::task<> {
        for (int i = 1; i <= 3; ++i) {
            co_await leat::sleep_for(every);
            co_await out.send(name + (" " + std::to_string(i)));
        }
    });
}

leat::task<> weather()
{
    const auto begin = leat::clock::now();
    co_await leat::with_group([&](leat::task_group& group) -> leat::task<> {
        auto all = leat::fan_in(group, sensor(group, "thermometer", 200ms), sensor(group, "barometer", 350ms),
                                sensor(group, "hygrometer", 500ms));
        while (auto reading = co_await all.recv())
            std::printf("%.2f s  %s\n", std::chrono::duration<double>(leat::clock::now() - begin).count(),
                        reading->c_str());
    });
    std::printf("all is quiet\n");
}

}  // namespace

int main()
{
    leat::run(weather());
}
