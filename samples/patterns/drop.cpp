// Drop: under overload refuse at once instead of queueing
//
// The problem: callers come faster than they can be served. In a queue without end everybody waits longer and longer.
//
//     callers ──▶ 2 places in the queue ──▶ clerk
//        └──▶ full: "please call again"
//
// try_send never waits. A bulkhead or a circuit_breaker refuses calls in the same way, a broker's subscriptions messages.
//
// Run it with   ./dev run patterns_drop
// It prints
//
//     caller 1 is put through
//     ...
//     caller 4 is put through
//     caller 5 hears: the line is busy
//     ...
//     6 callers were served, 4 were not

#include <leat/leat.hpp>

#include <chrono>
#include <cstdio>

namespace {

using namespace std::chrono_literals;

leat::task<> clerk(leat::receiver<int> line, int& served)
{
    while (auto caller = co_await line.recv()) {
        co_await leat::sleep_for(260ms);
        ++served;
    }
}

leat::task<> hotline()
{
    leat::channel<int> line{2};
    int served = 0;
    int refused = 0;
    co_await leat::with_group([&](leat::task_group& group) -> leat::task<> {
        co_await group.spawn(clerk(line, served));
        for (int caller = 1; caller <= 10; ++caller) {
            co_await leat::sleep_for(100ms);
            const bool through = line.try_send(caller).has_value();
            refused += !through;
            std::printf("caller %d %s\n", caller, through ? "is put through" : "hears: the line is busy");
        }
        line.close();
    });
    std::printf("%d callers were served, %d were not\n", served, refused);
}

}  // namespace

int main()
{
    leat::run(hotline());
}
