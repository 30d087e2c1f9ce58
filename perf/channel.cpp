// Handing values from task to task.
#define PERF_COUNT_ALLOCATIONS
#include "measure.hpp"

namespace {

// ---- There and back ------------------------------------------------------------------------------

leat::task<> return_balls(leat::receiver<std::int64_t> in, leat::sender<std::int64_t> out)
{
    while (const auto ball = co_await in.recv())
        co_await out.send(*ball + 1);
}

leat::task<> play(perf::repetition& rep)
{
    const std::int64_t rounds = rep.amount(1'000'000);
    leat::channel<std::int64_t> there, back;
    auto other = leat::spawn(return_balls(there, back));
    std::int64_t ball = 0;
    rep.start();
    for (std::int64_t i = 0; i < rounds; ++i) {
        co_await there.send(ball);
        const auto returned = co_await back.recv();
        ball = *returned;
    }
    rep.stop(rounds);
    there.close();
    co_await other;
    rep.expect(ball, rounds);
}

leat::task<> wait_for_ever(leat::receiver<std::int64_t> never)
{
    const auto got = co_await never.recv();
    if (got)
        throw perf::wrong_result{"nobody has sent this"};
}

// The same under a context that could end, but does not, and has others to care for.
leat::task<> play_under_context(perf::repetition& rep)
{
    leat::channel<std::int64_t> never;
    co_await leat::with_group([&](leat::task_group& group) -> leat::task<> {
        for (int i = 0; i < 1000; ++i)
            co_await group.spawn(wait_for_ever(never));
        co_await play(rep);
        never.close();
    });
}

// ---- From many to many ---------------------------------------------------------------------------

leat::task<> produce(std::int64_t first, std::int64_t beyond, leat::sender<std::int64_t> out)
{
    for (std::int64_t i = first; i < beyond; ++i)
        co_await out.send(i);
}

leat::task<std::int64_t> consume(leat::receiver<std::int64_t> in)
{
    std::int64_t sum = 0;
    while (const auto item = co_await in.recv())
        sum += *item;
    co_return sum;
}

leat::task<> pass(perf::repetition& rep, std::int64_t full, leat::channel<std::int64_t> through,
                  int producers, int consumers)
{
    const std::int64_t share = rep.amount(full / producers);
    const std::int64_t items = share * producers;
    std::vector<leat::join_handle<std::int64_t>> sums;
    std::vector<leat::join_handle<>> sources;
    rep.start();
    for (int i = 0; i < consumers; ++i)
        sums.push_back(leat::spawn(consume(through)));
    for (int i = 0; i < producers; ++i)
        sources.push_back(leat::spawn(produce(i * share, (i + 1) * share, through)));
    for (auto& source : sources)
        co_await source;
    through.close();
    std::int64_t sum = 0;
    for (auto& part : sums)
        sum += co_await part;
    rep.stop(items);
    rep.expect(sum, items * (items - 1) / 2);
}

leat::task<> spsc_128(perf::repetition& rep)
{
    co_await pass(rep, 10'000'000, leat::channel<std::int64_t>{128}, 1, 1);
}
leat::task<> spsc_1(perf::repetition& rep)
{
    co_await pass(rep, 10'000'000, leat::channel<std::int64_t>{1}, 1, 1);
}
leat::task<> mpmc(perf::repetition& rep)
{
    co_await pass(rep, 4'000'000, leat::channel<std::int64_t>{64}, 4, 4);
}
leat::task<> unbuffered_mpmc(perf::repetition& rep)
{
    co_await pass(rep, 4'000'000, leat::channel<std::int64_t>{}, 4, 4);
}

}  // namespace

int main(int argc, char** argv)
{
    return perf::program(argc, argv,
                         {{"chan_pingpong", "ns/round trip", play},
                          {"chan_pingpong_ctx", "ns/round trip", play_under_context},
                          {"chan_spsc.cap128", "ns/item", spsc_128},
                          {"chan_spsc.cap1", "ns/item", spsc_1},
                          {"chan_mpmc", "ns/item", mpmc},
                          {"chan_unbuffered_mpmc", "ns/item", unbuffered_mpmc}});
}
