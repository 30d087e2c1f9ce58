// Fan out to three cooks, fan in to one waiter, and closing time
//
// The problem: one cook can not keep up with the orders. Several take from one queue, each as soon as he is
// free, and a waiter serves whatever comes out first. At closing time all go home in turn, and no order is
// lost or served twice.
//
//                           ┌──▶ cook ──┐
//     order taker ── orders ┼──▶ cook ──┼ counter ──▶ waiter
//                           └──▶ cook ──┘
//
// Both channels are unbuffered: an order is handed over, never left lying about. The order taker closes
// `orders`, which lets each cook finish; when the last has gone `counter` is closed, which lets the waiter
// go.
//
// Run it with   ./dev run pizza_kitchen
// It prints each pizza as it is served, out of order, since baking takes 0.1 to 1 s:
//
//     0.41 s  pizza 3, baked for 0.11 s
//     0.56 s  pizza 4, baked for 0.15 s
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
    orders.close();
}

leat::task<> cook(leat::receiver<pizza> orders, leat::sender<pizza> counter)
{
    while (auto next = co_await orders.recv()) {
        co_await leat::sleep_for(next->baking);
        co_await counter.send(*next);
    }
}

leat::task<> kitchen()
{
    const auto opened = leat::clock::now();
    leat::channel<pizza> orders, counter;
    int served = 0;
    co_await leat::with_group([&](leat::task_group& staff) -> leat::task<> {
        co_await staff.spawn(take_orders(orders));
        co_await staff.spawn([&]() -> leat::task<> {
            co_await leat::with_group([&](leat::task_group& cooks) -> leat::task<> {
                for (int i = 0; i < 3; ++i)
                    co_await cooks.spawn(cook(orders, counter));
            });
            counter.close();  // the last cook has gone home
        });
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
