// Producers and consumers: several of each, a buffer between them, and an end that reaches everybody
//
// The problem: bakers bake, customers buy, the shelf holds four loaves. No loaf is sold twice; a baker waits when the shelf
// is full; when the last baker has gone home and the shelf is empty, the shop closes.
//
//     baker ──┐                      ┌──▶ customer
//     baker ──┼──▶ shelf, 4 places ──┼──▶ customer
//     baker ──┘                      └──▶ customer
//
// The group of the bakers has ended when the last of them has: that is the moment to close the shelf.
//
// Run it with   ./dev run patterns_producers_consumers
// It prints
//
//     12 loaves were sold, each once

#include <leat/leat.hpp>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <vector>

namespace {

using namespace std::chrono_literals;

leat::task<> shop()
{
    leat::channel<int> shelf{4};
    std::vector<std::atomic<int>> sold(12);
    co_await leat::with_group([&](leat::task_group& group) -> leat::task<> {
        for (int customer = 0; customer < 3; ++customer)
            co_await group.spawn([&]() -> leat::task<> {
                for (; auto loaf = co_await shelf.recv(); co_await leat::sleep_for(175ms))
                    ++sold[static_cast<std::size_t>(*loaf)];
            });
        co_await leat::with_group([&](leat::task_group& bakers) -> leat::task<> {
            for (int baker = 0; baker < 3; ++baker)
                co_await bakers.spawn([&, baker]() -> leat::task<> {
                    for (int loaf = 0; loaf < 4; ++loaf) {
                        co_await leat::sleep_for(100ms);
                        co_await shelf.send(baker * 4 + loaf);
                    }
                });
        });
        shelf.close();  // the last baker has gone home
    });
    int once = 0;
    for (const std::atomic<int>& each : sold)
        once += each == 1;
    std::printf("%d loaves were sold, each once\n", once);
}

}  // namespace

int main()
{
    leat::run(shop());
}
