// Shared state: a mutex, and a condition to wait for
//
// The problem: five bakers share one oven, which has to be hot, and takes one loaf at a time.
//
//     baker ──▶ oven (mutex; condition: hot, and free) ──▶ loaf (wait group)
//
// Channels orchestrate, mutexes serialize. Both suspend the task: no thread waits.
//
// Run it with   ./dev run patterns_shared_state
// It prints
//
//     0.50 s  the oven is hot
//     1.50 s  5 loaves, from one oven

#include "../common/say.hpp"

#include <leat/leat.hpp>

#include <string>

namespace {

using namespace std::chrono_literals;

leat::task<> morning()
{
    const auto begin = leat::clock::now();
    leat::mutex oven;
    leat::condition_variable changed;
    bool hot = false, full = false;
    int loaves = 0;
    auto bake = [&]() -> leat::task<> {
        auto held = co_await oven.lock();
        co_await changed.wait(held, [&] { return hot && !full; });
        full = true;
        held.unlock();
        co_await leat::sleep_for(200ms);
        held = co_await oven.lock();
        full = false;
        ++loaves;
        changed.notify_one();
    };
    leat::wait_group bakers;
    for (int i = 0; i < 5; ++i)
        bakers.spawn(bake);
    co_await leat::sleep_for(500ms);
    common::say(begin, "the oven is hot");
    {
        const auto held = co_await oven.lock();
        hot = true;
        changed.notify_all();
    }
    co_await bakers.wait();
    common::say(begin, std::to_string(loaves) + " loaves, from one oven");
}

}  // namespace

int main()
{
    leat::run(morning());
}
