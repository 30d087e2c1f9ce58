// A pipeline whose stages all work at once, and all stop when one of them fails
//
// The problem: a car passes from station to station; each works on one car while the others work on theirs. When a car
// fails the safety test the whole line stops, however much is still on it.
//
//     chassis ──▶ engine ──▶ paint ──▶ tires ──▶ safety test ──▶ out
//        ▲          ▲          ▲         ▲            ╎
//        └╌╌╌╌╌╌╌╌╌╌┴╌╌╌╌╌╌╌╌╌╌┴╌╌╌╌╌╌╌╌╌┴╌╌╌ cancel ╌┘
//
// Nobody has to tell the stations to stop: the exception of the safety test ends the pipeline's group, which cancels the
// rest, waits for them, and throws it again.
//
// Run it with   ./dev run car_factory
// It prints each car as it leaves. The slowest station, the engine, sets the pace:
//
//     0.85 s  car 1: chassis, engine, paint, tires
//     1.15 s  car 2: chassis, engine, paint, tires
//     ...
//     2.05 s  the line has stopped: car 5: chassis, engine, paint, tires, but no brakes

#include "common/say.hpp"

#include <leat/leat.hpp>

#include <stdexcept>
#include <string>

namespace {

using namespace std::chrono_literals;
using car = std::string;  // what it is made of

auto station(std::string part, std::chrono::milliseconds takes)
{
    auto work = [part, takes](car next) -> leat::task<car> {
        co_await leat::sleep_for(takes);
        co_return next + ", " + part;
    };
    return leat::map(work, {.workers = 1});
}

leat::task<> factory()
{
    const auto begin = leat::clock::now();
    auto lay_chassis = [number = 0]() mutable -> leat::task<car> {
        co_await leat::sleep_for(100ms);
        co_return "car " + std::to_string(++number) + ": chassis";
    };
    auto test_safety = [begin, tested = 0](car next) mutable -> leat::task<> {
        co_await leat::sleep_for(100ms);
        if (++tested == 5)
            throw std::domain_error{next + ", but no brakes"};
        common::say(begin, next);
    };
    auto line = leat::from(lay_chassis) | station("engine", 300ms) | station("paint", 200ms) |
                station("tires", 150ms) | leat::for_each(test_safety, {.workers = 1});
    try {
        co_await std::move(line);
    } catch (const std::domain_error& defect) {
        common::say(begin, std::string{"the line has stopped: "} + defect.what());
    }
}

}  // namespace

int main()
{
    leat::run(factory());
}
