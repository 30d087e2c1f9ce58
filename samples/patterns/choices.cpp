// Select: whatever happens first, and exactly that
//
// The problem: a guard opens the door, answers the phone and hands in reports when somebody wants one; when nothing
// happens he looks around. He can do one thing at a time, and must miss none.
//
//     door, phone ──▶ ┐
//     reports     ◀── ├── the guard
//     nothing     ──▶ ┘
//
// A case receives, sends, or waits for time; on_if switches one off, as a nil channel does in Go.
//
// Run it with   ./dev run patterns_choices
// It prints
//
//     0.10 s  lets ann in
//     0.35 s  looks around
//     0.45 s  hands in report 1
//     0.60 s  is told to close the door
//     0.85 s  looks around
//     1.00 s  goes home

#include "../common/say.hpp"

#include <leat/leat.hpp>

#include <string>

namespace {

using namespace std::chrono_literals;

leat::task<> museum()
{
    const auto begin = leat::clock::now();
    leat::channel<std::string> door, phone;
    leat::channel<int> reports;
    auto day = leat::spawn([&]() -> leat::task<> {
        co_await leat::sleep_until(begin + 100ms);
        co_await door.send("ann");
        co_await leat::sleep_until(begin + 450ms);
        co_await reports.recv();
        co_await leat::sleep_until(begin + 600ms);
        co_await phone.send("close the door");
        co_await leat::sleep_until(begin + 1s);
        phone.close();
    });
    bool open = true, working = true;
    auto let_in = [&](auto who) { common::say(begin, "lets " + *who + " in"); };
    auto answer = [&](auto call) {
        common::say(begin, call ? "is told to " + *call : "goes home");
        open = false;
        working = call.has_value();
    };
    auto look = [&] { common::say(begin, "looks around"); };
    int report = 1;
    while (working) {
        auto hand_in = [&] { common::say(begin, "hands in report " + std::to_string(report++)); };
        co_await leat::select(leat::on_if(open, door.recv(), let_in), leat::on(phone.recv(), answer),
                              leat::on(reports.send(report), hand_in), leat::on(leat::after(250ms), look));
    }
    co_await day;
}

}  // namespace

int main()
{
    leat::run(museum());
}
