// Publish and subscribe: one event, four departments, and a slow one that delays nobody
//
// The problem: a shop takes things back. Billing has to pay, the warehouse has to shelve, the inventory has to count, and
// somebody has to write to the customer. The desk does not know who listens, and nobody waits for the slowest.
//
//                                     ┌──▶ billing          "return.created"   blocks: loses nothing
//     desk ── return.created ── broker┼──▶ warehouse        "return.created"   blocks
//          ── return.refused ──       ├──▶ inventory        "return.*"         blocks
//                                     └──▶ notifications    "return.#"         drops the oldest
//
// Each subscription has its own queue, and says what happens when that is full. The mail server needs 0.34 s for a letter,
// so notifications loses some, and can tell how many. Closing the broker ends them all, after what they have queued.
//
// Run it with   ./dev run returns_desk
// It prints what each department does, and what it was sent, had and lost:
//
//     0.11 s  billing        refunds  item 1: return.created
//     0.12 s  warehouse      shelves  item 1: return.created
//     0.13 s  inventory      notes    item 1: return.created
//     ...
//     0.44 s  notifications  writes   item 1: return.created
//     ...
//     1.80 s  notifications  writes   item 10: return.created
//     billing        was sent 8, had 8, lost 0
//     warehouse      was sent 8, had 8, lost 0
//     inventory      was sent 10, had 10, lost 0
//     notifications  was sent 10, had 5, lost 5

#include <leat/flow/broker.hpp>
#include <leat/leat.hpp>

#include <chrono>
#include <cstdio>
#include <string>

namespace {

using namespace std::chrono_literals;
using broker = leat::broker<std::string, int>;

leat::task<> department(const char* name, const char* does, leat::clock::duration takes,
                        const broker::subscription& events, leat::clock::time_point opened)
{
    while (auto event = co_await events.recv_from()) {
        co_await leat::sleep_for(takes);
        std::printf("%.2f s  %-13s  %-7s  item %d: %s\n",
                    std::chrono::duration<double>(leat::clock::now() - opened).count(), name, does,
                    event->message, event->topic.c_str());
    }
}

leat::task<> desk(broker events)
{
    for (int item = 1; item <= 10; ++item) {
        co_await leat::sleep_for(100ms);
        const std::string topic = item % 4 == 0 ? "return.refused" : "return.created";
        static_cast<void>(co_await events.publish(topic, item));
    }
    events.close();
}

void report(const char* name, const broker::subscription& of)
{
    const leat::subscription_stats stats = of.stats();
    std::printf("%-13s  was sent %d, had %d, lost %d\n", name, static_cast<int>(stats.published),
                static_cast<int>(stats.delivered), static_cast<int>(stats.dropped));
}

leat::task<> shop()
{
    const auto opened = leat::clock::now();
    broker events;
    const auto billing = events.subscribe("return.created");
    const auto warehouse = events.subscribe("return.created");
    const auto inventory = events.subscribe(leat::topic_pattern{"return.*"});
    const auto notifications = events.subscribe(
        leat::topic_pattern{"return.#"}, {.capacity = 2, .overflow = leat::overflow_policy::drop_oldest});
    co_await leat::with_group([&](leat::task_group& staff) -> leat::task<> {
        co_await staff.spawn(department("billing", "refunds", 10ms, billing, opened));
        co_await staff.spawn(department("warehouse", "shelves", 20ms, warehouse, opened));
        co_await staff.spawn(department("inventory", "notes", 30ms, inventory, opened));
        co_await staff.spawn(department("notifications", "writes", 340ms, notifications, opened));
        co_await staff.spawn(desk(events));
    });
    report("billing", billing);
    report("warehouse", warehouse);
    report("inventory", inventory);
    report("notifications", notifications);
}

}  // namespace

int main()
{
    leat::run(shop());
}
