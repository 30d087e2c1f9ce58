// Fan out to three cooks, fan in to one waiter, and closing time
//
// The problem: one cook can not keep up with the orders. Several take from one queue, each as soon as he is free, and a
// waiter serves whatever comes out first. At closing time all go home in turn, and no order is lost or served twice.
//
//                           ┌──▶ cook ──┐
//     order taker ── orders ┼──▶ cook ──┼ counter ──▶ waiter
//                           └──▶ cook ──┘
//
// Both channels are unbuffered: an order is handed over. generate() closes the first when all have been taken, fan_out()
// the second when the last cook has gone; that lets the waiter go.
//
// Run it with   ./dev run pizza_kitchen
// It prints each pizza as it is served, out of order, since baking takes 0.1 to 1 s:
//
//     0.41 s  pizza 3, baked for 0.11 s
//     ...
//     everybody has gone home; 8 pizzas were served

#include <leat/leat.hpp>

#include <chrono>
#include <cstdio>
#include <random>

namespace {

using namespace std::chrono_literals;
using seconds = std::chrono::duration<double>;

struct pizza {
    int number;
    std::chrono::milliseconds baking;
};

leat::task<> take_orders(leat::sender<pizza> orders)
{
    std::mt19937 dice{2153};
    for (int number = 1; number <= 8; ++number) {
        const pizza ordered{number, 100ms + dice() % 91 * 10ms};
        co_await leat::sleep_for(100ms);
        co_await orders.send(ordered);
    }
}

leat::task<pizza> bake(pizza ordered)
{
    co_await leat::sleep_for(ordered.baking);
    co_return ordered;
}

leat::task<> kitchen()
{
    const auto opened = leat::clock::now();
    int served = 0;
    co_await leat::with_group([&](leat::task_group& staff) -> leat::task<> {
        const auto orders = leat::generate<pizza>(staff, take_orders);
        const auto counter = leat::fan_out(staff, orders, 3, bake);
        for (; auto done = co_await counter.recv(); ++served)
            std::printf("%.2f s  pizza %d, baked for %.2f s\n", seconds(leat::clock::now() - opened).count(),
                        done->number, seconds(done->baking).count());
    });  // nothing outlives this line
    std::printf("everybody has gone home; %d pizzas were served\n", served);
}

}  // namespace

int main()
{
    leat::run(kitchen());
}
