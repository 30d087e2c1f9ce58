// Waiting for one of several things.
#define PERF_COUNT_ALLOCATIONS
#include "measure.hpp"

#include <array>

namespace {

using item = std::int64_t;

leat::task<> produce(item first, item beyond, leat::sender<item> out)
{
    for (item i = first; i < beyond; ++i)
        co_await out.send(i);
}

// Two channels and a context that never ends.
leat::task<> recv2(perf::repetition& rep)
{
    const item share = rep.amount(2'000'000);
    const item items = 2 * share;
    leat::channel<item> left{128}, right{128};
    const auto [never, cancel] = leat::with_cancel();
    item sum = 0;
    const auto add = [&](std::optional<item> got) { sum += *got; };
    rep.start();
    auto first = leat::spawn(produce(0, share, left));
    auto second = leat::spawn(produce(share, items, right));
    for (item i = 0; i < items; ++i)
        co_await leat::select(
            leat::on(left.recv(), add), leat::on(right.recv(), add),
            leat::on(never.done(), [] { throw perf::wrong_result{"nobody has cancelled"}; }));
    rep.stop(items);
    co_await first;
    co_await second;
    rep.expect(sum, items * (items - 1) / 2);
}

// Eight unbuffered channels, each with a producer of its own.
leat::task<> fanin8(perf::repetition& rep)
{
    const item share = rep.amount(250'000);
    const item items = 8 * share;
    std::array<leat::channel<item>, 8> in;
    std::vector<leat::join_handle<>> sources;
    item sum = 0;
    const auto add = [&](std::optional<item> got) { sum += *got; };
    rep.start();
    for (std::size_t i = 0; i < in.size(); ++i) {
        const item first = static_cast<item>(i) * share;
        sources.push_back(leat::spawn(produce(first, first + share, in[i])));
    }
    for (item i = 0; i < items; ++i)
        co_await leat::select(leat::on(in[0].recv(), add), leat::on(in[1].recv(), add),
                              leat::on(in[2].recv(), add), leat::on(in[3].recv(), add),
                              leat::on(in[4].recv(), add), leat::on(in[5].recv(), add),
                              leat::on(in[6].recv(), add), leat::on(in[7].recv(), add));
    rep.stop(items);
    for (auto& source : sources)
        co_await source;
    rep.expect(sum, items * (items - 1) / 2);
}

// Nothing is ready, and there is something else to do.
leat::task<> default_1(perf::repetition& rep)
{
    const std::int64_t times = rep.amount(10'000'000);
    leat::channel<item> empty{1};
    std::int64_t otherwise = 0;
    rep.start();
    for (std::int64_t i = 0; i < times; ++i)
        co_await leat::select(leat::on(empty.recv(), [&] { --otherwise; }),
                              leat::otherwise([&] { ++otherwise; }));
    rep.stop(times);
    rep.expect(otherwise, times);
}

leat::task<> default_2(perf::repetition& rep)
{
    const std::int64_t times = rep.amount(10'000'000);
    leat::channel<item> left{1}, right{1};
    std::int64_t otherwise = 0;
    rep.start();
    for (std::int64_t i = 0; i < times; ++i)
        co_await leat::select(leat::on(left.recv(), [&] { --otherwise; }),
                              leat::on(right.recv(), [&] { --otherwise; }),
                              leat::otherwise([&] { ++otherwise; }));
    rep.stop(times);
    rep.expect(otherwise, times);
}

}  // namespace

int main(int argc, char** argv)
{
    return perf::program(argc, argv,
                         {{"select_recv2", "ns/item", recv2},
                          {"select_fanin8", "ns/item", fanin8},
                          {"select_default.1ch", "ns", default_1},
                          {"select_default.2ch", "ns", default_2}});
}
