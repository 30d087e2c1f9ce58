// Shared state: a condition, something that happens once, and things that are used again
//
// The problem: five bakers share one oven, which has to be hot; one recipe, which is read once by whoever comes first; and
// trays, of which there are no more than are in use at a time.
//
//     baker ──▶ recipe (once) ──▶ tray (pool) ──▶ oven (mutex, condition: hot, and free) ──▶ loaf (wait group)
//
// Channels orchestrate, mutexes serialize. Both suspend the task: no thread waits.
//
// Run it with   ./dev run patterns_shared_state
// It prints
//
//     the recipe is read
//     0.50 s  the oven is hot
//     1.50 s  5 loaves, from one oven, on no more than 5 trays

#include <leat/leat.hpp>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <string>

namespace {
using namespace std::chrono_literals;

struct tray {
    int loaves = 0;
};

class bakery {
public:
    leat::task<> bake()
    {
        const std::string& recipe = co_await recipe_.get();
        auto mine = trays_.get();
        auto held = co_await oven_.lock();
        co_await changed_.wait(held, [this] { return hot_ && !full_; });
        full_ = true;
        held.unlock();
        co_await leat::sleep_for(recipe == "bread" ? 200ms : 1h);
        held = co_await oven_.lock();
        full_ = false;
        mine->loaves = 1;
        loaves += mine->loaves;
        changed_.notify_one();
    }
    leat::task<> heat()
    {
        co_await leat::sleep_for(500ms);
        const auto held = co_await oven_.lock();
        hot_ = true;
        changed_.notify_all();
    }
    std::atomic<int> loaves{0};

private:
    leat::once_value<std::string> recipe_{[] {
        std::printf("the recipe is read\n");
        return std::string{"bread"};
    }};
    leat::object_pool<tray> trays_;
    leat::mutex oven_;
    leat::condition_variable changed_;
    bool hot_ = false, full_ = false;
};

leat::task<> morning()
{
    const auto begin = leat::clock::now();
    const auto now = [begin] { return std::chrono::duration<double>(leat::clock::now() - begin).count(); };
    bakery shop;
    leat::wait_group bakers;
    for (int i = 0; i < 5; ++i)
        bakers.spawn([&shop] { return shop.bake(); });
    co_await shop.heat();
    std::printf("%.2f s  the oven is hot\n", now());
    co_await bakers.wait();
    std::printf("%.2f s  %d loaves, from one oven, on no more than 5 trays\n", now(), shop.loaves.load());
}
}  // namespace

int main()
{
    leat::run(morning());
}
