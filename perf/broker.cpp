// One publisher, many subscribers.
#define PERF_COUNT_ALLOCATIONS
#include "measure.hpp"

#include <leat/flow/broker.hpp>

namespace {

using item = std::int64_t;
constexpr item subscribers = 100;
const std::string topic = "measurements";

leat::task<item> sum_up(leat::subscription<std::string, item> from)
{
    item sum = 0;
    while (const auto got = co_await from.recv())
        sum += *got;
    co_return sum;
}

// A hundred subscribers, each of which gets all that is published: no message is lost, and none waits for more than 128
// others.
leat::task<> broker_fanout(perf::repetition& rep)
{
    const item messages = rep.amount(100'000);
    leat::broker<std::string, item> broker;
    item sum = 0;
    co_await leat::with_group([&](leat::task_group& group) -> leat::task<> {
        std::vector<leat::join_handle<item>> sums;
        for (item i = 0; i < subscribers; ++i)
            sums.push_back(co_await group.spawn(sum_up(broker.subscribe(topic, {.capacity = 128}))));
        rep.start();
        co_await group.spawn([&]() -> leat::task<> {
            for (item i = 0; i < messages; ++i)
                co_await broker.publish(topic, i);
            broker.close();
        });
        for (leat::join_handle<item>& each : sums)
            sum += co_await each;
        rep.stop(messages * subscribers);
    });
    rep.expect(sum, subscribers * (messages * (messages - 1) / 2));
}

}  // namespace

int main(int argc, char** argv)
{
    return perf::program(argc, argv, {{"broker_fanout", "ns/delivery", broker_fanout}});
}
