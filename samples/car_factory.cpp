// A pipeline whose stages all work at once, and all stop when one of them fails
//
// The problem: a car passes from station to station; each works on one car while the others work on theirs.
// When a car fails the safety test the whole line stops, however much is still on it.
//
//     chassis ──▶ engine ──▶ paint ──▶ tires ──▶ safety test ──▶ out
//        ▲          ▲          ▲         ▲            ╎
//        └╌╌╌╌╌╌╌╌╌╌┴╌╌╌╌╌╌╌╌╌╌┴╌╌╌╌╌╌╌╌╌┴╌╌╌ cancel ╌┘
//
// The first station would go on for ever, all others wait for the one before. Nobody has to tell them to
// stop: the exception of the safety test ends the group, which cancels the rest, waits for them, and throws
// it again.
//
// Run it with   ./dev run car_factory
// It prints each car as it leaves. The slowest station, the engine, sets the pace:
//
//     0.85 s  car 1: chassis, engine, paint, tires
//     1.15 s  car 2: chassis, engine, paint, tires
//     ...
//     2.05 s  the line has stopped: car 5: chassis, engine, paint, tires, but no brakes

#include <leat/leat.hpp>

#include <chrono>
#include <cstdio>
#include <stdexcept>
#include <string>
#include <utility>

namespace {

using namespace std::chrono_literals;
using car = std::string;  // what it is made of

double seconds_since(leat::clock::time_point begin)
{
    return std::chrono::duration<double>(leat::clock::now() - begin).count();
}

leat::task<> lay_chassis(leat::sender<car> out)
{
    for (int number = 1;; ++number) {
        co_await leat::sleep_for(100ms);
        car next = "car " + std::to_string(number) + ": chassis";
        co_await out.send(std::move(next));
    }
}

leat::task<> station(std::string part, std::chrono::milliseconds takes, leat::receiver<car> in,
                     leat::sender<car> out)
{
    while (auto next = co_await in.recv()) {
        co_await leat::sleep_for(takes);
        *next += ", " + part;
        co_await out.send(std::move(*next));
    }
}

leat::task<> test_safety(leat::receiver<car> in, leat::clock::time_point begin)
{
    for (int tested = 1; auto next = co_await in.recv(); ++tested) {
        co_await leat::sleep_for(100ms);
        if (tested == 5)
            throw std::domain_error{*next + ", but no brakes"};
        std::printf("%.2f s  %s\n", seconds_since(begin), next->c_str());
    }
}

leat::task<> factory()
{
    const auto begin = leat::clock::now();
    leat::channel<car> bare, driven, painted, complete;
    try {
        co_await leat::with_group([&](leat::task_group& line) -> leat::task<> {
            co_await line.spawn(lay_chassis(bare));
            co_await line.spawn(station("engine", 300ms, bare, driven));
            co_await line.spawn(station("paint", 200ms, driven, painted));
            co_await line.spawn(station("tires", 150ms, painted, complete));
            co_await line.spawn(test_safety(complete, begin));
        });
    } catch (const std::domain_error& defect) {
        std::printf("%.2f s  the line has stopped: %s\n", seconds_since(begin), defect.what());
    }
}

}  // namespace

int main()
{
    leat::run(factory());
}
