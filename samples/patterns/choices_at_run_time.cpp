// Select without waiting, and over channels that are counted only when the program runs
//
// The problem: a museum closes. The guard looks whether anybody is still at the door, and does not wait for that; then he
// waits at the hooks, however many there are today, for who fetches what he has left.
//
//     door          ──▶ otherwise ──▶ nobody is left
//     hook 0 ... n  ──▶ select_range ──▶ the first, and which it was
//
// Run it with   ./dev run patterns_choices_at_run_time
// It prints
//
//     0.00 s  nobody is left
//     0.20 s  an umbrella was on hook 2
//     0.30 s  a hat was on hook 0

#include "../common/say.hpp"

#include <leat/leat.hpp>

#include <string>
#include <vector>

namespace {

using namespace std::chrono_literals;

leat::task<> fetch(leat::clock::duration later, leat::sender<std::string> hook, std::string what)
{
    co_await leat::sleep_for(later);
    co_await hook.send(std::move(what));
}

leat::task<> museum()
{
    const auto begin = leat::clock::now();
    leat::channel<std::string> door;
    std::string left = "somebody";
    co_await leat::select(leat::on(door.recv(), [](auto) {}), leat::otherwise([&] { left = "nobody"; }));
    common::say(begin, left + " is left");

    std::vector<leat::channel<std::string>> hooks;
    for (int i = 0; i < 3; ++i)
        hooks.emplace_back();
    co_await leat::with_group([&](leat::task_group& visitors) -> leat::task<> {
        co_await visitors.spawn(fetch(300ms, hooks[0], "a hat"));
        co_await visitors.spawn(fetch(200ms, hooks[2], "an umbrella"));
        for (int fetched = 0; fetched < 2; ++fetched) {
            const auto found = co_await leat::select_range(hooks);
            common::say(begin, *found.value + " was on hook " + std::to_string(found.index));
        }
    });
}

}  // namespace

int main()
{
    leat::run(museum());
}
