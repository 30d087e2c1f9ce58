// What happens once, and what is used again: once_value and object_pool
//
// The problem: five bakers work from one recipe, which whoever comes first has to fetch, and on trays: who needs one takes
// one that is clean, and only if there is none a new one.
//
//     baker ──┐                    ┌── tray ◀── pool
//     baker ──┼──▶ recipe (once) ──┼── tray ◀──
//     baker ──┘                    └── tray ◀──
//
// Run it with   ./dev run patterns_once_and_again
// It prints
//
//     0.10 s  the recipe is read
//     0.40 s  15 loaves, on fewer trays

#include "../common/say.hpp"

#include <leat/leat.hpp>

#include <atomic>
#include <string>

namespace {

using namespace std::chrono_literals;

leat::task<> morning()
{
    const auto begin = leat::clock::now();
    std::atomic<int> trays{0}, loaves{0};
    leat::once_value<std::string> recipe{[begin]() -> leat::task<std::string> {
        co_await leat::sleep_for(100ms);
        common::say(begin, "the recipe is read");
        co_return "bread";
    }};
    leat::object_pool<int> clean{[&trays] { return ++trays; }};
    auto bake = [&]() -> leat::task<> {
        for (int i = 0; i < 3; ++i) {
            const std::string& what = co_await recipe.get();
            const auto tray = clean.get();
            co_await leat::sleep_for(what == "bread" ? 100ms : 1h);
            ++loaves;
        }
    };
    leat::wait_group bakers;
    for (int i = 0; i < 5; ++i)
        bakers.spawn(bake);
    co_await bakers.wait();
    common::say(begin,
                std::to_string(loaves) + " loaves, on " + (trays < loaves ? "fewer" : "as many") + " trays");
}

}  // namespace

int main()
{
    leat::run(morning());
}
