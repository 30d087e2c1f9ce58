// Publish and subscribe: one event, several departments, and a slow one that delays nobody
//
// The problem: a shop takes things back. Billing has to pay, the inventory has to count, and somebody has to write to the
// customer. The desk does not know who listens, and nobody waits for the slowest.
//
//     desk ── return.created ── broker┬──▶ billing      "return.created"   blocks: loses nothing
//          ── return.refused ──       ├──▶ inventory    "return.*"         blocks
//                                     └──▶ letters      "return.#"         a queue of two, drops the oldest
//
// Each subscription has a queue of its own, and can tell what it has lost. A letter takes 0.34 s. Closing the broker ends
// all subscriptions, after what they have queued.
//
// Run it with   ./dev run returns_desk
// It prints what each department does, and what it was sent, had and lost:
//
//     0.11 s  billing: item 1, return.created
//     0.13 s  inventory: item 1, return.created
//     ...
//     1.01 s  billing: was sent 8, had 8, lost 0
//     1.03 s  inventory: item 10, return.created
//     1.03 s  inventory: was sent 10, had 10, lost 0
//     ...
//     1.80 s  letters: was sent 10, had 5, lost 5

#include "common/say.hpp"

#include <leat/leat.hpp>

#include <string>

namespace {

using namespace std::chrono_literals;
using broker = leat::broker<std::string, int>;

leat::task<> department(std::string name, leat::clock::duration takes, broker::subscription events)
{
    const auto opened = leat::clock::now();
    while (const auto event = co_await events.recv_from()) {
        co_await leat::sleep_for(takes);
        common::say(opened, name + ": item " + std::to_string(event->message) + ", " + event->topic);
    }
    const leat::subscription_stats all = events.stats();
    common::say(opened, name + ": was sent " + std::to_string(all.published) + ", had " +
                            std::to_string(all.delivered) + ", lost " + std::to_string(all.dropped));
}

leat::task<> shop()
{
    broker desk;
    auto billing = desk.subscribe("return.created");
    auto inventory = desk.subscribe(leat::topic_pattern{"return.*"});
    auto letters = desk.subscribe(leat::topic_pattern{"return.#"},
                                  {.capacity = 2, .overflow = leat::overflow_policy::drop_oldest});
    co_await leat::with_group([&](leat::task_group& staff) -> leat::task<> {
        co_await staff.spawn(department("billing", 10ms, std::move(billing)));
        co_await staff.spawn(department("inventory", 30ms, std::move(inventory)));
        co_await staff.spawn(department("letters", 340ms, std::move(letters)));
        for (int item = 1; item <= 10; ++item) {
            co_await leat::sleep_for(100ms);
            const std::string topic = item % 4 == 0 ? "return.refused" : "return.created";
            static_cast<void>(co_await desk.publish(topic, item));
        }
        desk.close();
    });
}

}  // namespace

int main()
{
    leat::run(shop());
}
