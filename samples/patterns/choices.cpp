// Select: whatever happens first, and exactly that
//
// The problem: a guard opens the door, answers the phone and hands in reports when somebody wants one; when nothing
// happens he looks around. He can do one thing at a time, and must miss none.
//
//     door    ──▶ ┐                 ┌──▶ reports
//     phone   ──▶ ├──▶ the guard ───┤
//     nothing ──▶ ┘                 └──▶ hooks, at the end
//
// A case receives, sends, or waits for time; on_if switches one off, as a nil channel does in Go; otherwise() is for those
// who will not wait; select_range is for channels that are counted only at run time.
//
// Run it with   ./dev run patterns_choices
// It prints
//
//     0.10 s  lets ann in
//     0.35 s  looks around
//     0.45 s  hands in report 1
//     0.60 s  is told to close the door
//     0.80 s  ben has gone away
//     0.85 s  looks around
//     1.00 s  goes home; nobody is left, on hook 2 there is an umbrella

#include <leat/leat.hpp>

#include <chrono>
#include <cstdio>
#include <string>
#include <vector>

namespace {
using namespace std::chrono_literals;

void say(leat::clock::time_point begin, const std::string& what)
{
    std::printf("%.2f s  %s\n", std::chrono::duration<double>(leat::clock::now() - begin).count(),
                what.c_str());
}

leat::task<> museum()
{
    const auto begin = leat::clock::now();
    leat::channel<std::string> door, phone;
    leat::channel<int> reports;
    std::vector<leat::channel<std::string>> hooks(3, leat::channel<std::string>{});
    hooks[2] = leat::channel<std::string>{1};
    co_await hooks[2].send("an umbrella");
    co_await leat::with_group([&](leat::task_group& group) -> leat::task<> {
        co_await group.spawn([&]() -> leat::task<> {
            co_await leat::sleep_until(begin + 100ms);
            co_await door.send("ann");
            co_await leat::sleep_until(begin + 450ms);
            co_await reports.recv();
            co_await leat::sleep_until(begin + 600ms);
            co_await phone.send("close the door");
            co_await leat::sleep_until(begin + 650ms);
            const auto ben = co_await leat::as_result(leat::timeout(150ms, door.send("ben")));
            say(begin, ben ? "ben is in" : "ben has gone away");
            co_await leat::sleep_until(begin + 1s);
            phone.close();
        });
        bool open = true, working = true;
        for (int report = 1; working;)
            co_await leat::select(
                leat::on_if(open, door.recv(), [&](auto who) { say(begin, "lets " + *who + " in"); }),
                leat::on(phone.recv(),
                         [&](auto call) {
                             working = call.has_value();
                             open = false;
                             if (call)
                                 say(begin, "is told to " + *call);
                         }),
                leat::on(reports.send(report),
                         [&] { say(begin, "hands in report " + std::to_string(report++)); }),
                leat::on(leat::after(250ms), [&] { say(begin, "looks around"); }));
    });
    std::string left = "somebody";
    co_await leat::select(leat::on(door.recv(), [](auto) {}), leat::otherwise([&] { left = "nobody"; }));
    const auto found = co_await leat::select_range(hooks);
    say(begin, "goes home; " + left + " is left, on hook " + std::to_string(found.index) + " there is " +
                   *found.value);
}
}  // namespace

int main()
{
    leat::run(museum());
}
