// The patterns as functions: what a stage costs that somebody else has written.
#define PERF_COUNT_ALLOCATIONS
#include "measure.hpp"

#include <leat/flow.hpp>

namespace {

using item = std::int64_t;

auto count_to(item items)
{
    return [items, next = item{0}]() mutable -> std::optional<item> {
        if (next == items)
            return std::nullopt;
        return next++;
    };
}

// Lambdas, as one writes them, and not functions: through a pointer nothing is inlined.
constexpr auto increment = [](item n) { return n + 1; };
constexpr auto add = [](item a, item b) { return a + b; };

// Five stages whose functions are plain: one task, and no channel.
leat::task<> fused(perf::repetition& rep)
{
    const item items = rep.amount(10'000'000);
    rep.start();
    const item sum = co_await (leat::from(count_to(items)) | leat::map(increment) | leat::map(increment) |
                               leat::map(increment) | leat::fold(item{0}, add));
    rep.stop(items);
    rep.expect(sum, items * (items - 1) / 2 + 3 * items);
}

// The same in four tasks, with unbuffered channels between them.
leat::task<> segments(perf::repetition& rep)
{
    const item items = rep.amount(1'000'000);
    const leat::stage_options own{.workers = 1};
    rep.start();
    const item sum =
        co_await (leat::from(count_to(items)) | leat::map(increment, own) | leat::map(increment, own) |
                  leat::map(increment, own) | leat::fold(item{0}, add));
    rep.stop(items);
    rep.expect(sum, items * (items - 1) / 2 + 3 * items);
}

// Some 20 µs of work for each item, which no compiler makes shorter. There are 64 kinds of items, so that it is known what
// comes of it.
item work(item n)
{
    std::uint64_t state = static_cast<std::uint64_t>(n % 64) + 1;
    for (int i = 0; i < 10'000; ++i) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
    }
    return static_cast<item>(state >> 63);
}

item work_on_all(item items)
{
    item sum = 0;
    for (item kind = 0; kind < 64; ++kind)
        sum += work(kind) * (items / 64 + (kind < items % 64 ? 1 : 0));
    return sum;
}

leat::task<> compute(perf::repetition& rep, std::size_t workers)
{
    const item items = rep.amount(50'000);
    rep.start();
    const item sum =
        co_await (leat::from(count_to(items)) | leat::map(work, {.workers = workers, .buffer = 16}) |
                  leat::fold(item{0}, add));
    rep.stop(items);
    rep.expect(sum, work_on_all(items));
}
leat::task<> compute_1(perf::repetition& rep)
{
    co_await compute(rep, 1);
}
leat::task<> compute_2(perf::repetition& rep)
{
    co_await compute(rep, 2);
}

// generate, fan_out to eight workers, one reader; unbuffered.
leat::task<> fan_out_8(perf::repetition& rep)
{
    const item items = rep.amount(1'000'000);
    item sum = 0;
    rep.start();
    co_await leat::with_group([&](leat::task_group& group) -> leat::task<> {
        auto in = leat::generate(group, count_to(items));
        auto out = leat::fan_out(group, in, 8, increment);
        while (const auto got = co_await out.recv())
            sum += *got;
    });
    rep.stop(items);
    rep.expect(sum, items * (items - 1) / 2 + items);
}

}  // namespace

int main(int argc, char** argv)
{
    return perf::program(argc, argv,
                         {{"pipeline_fused", "ns/item", fused},
                          {"pipeline_segments", "ns/item", segments},
                          {"pipeline_compute.w1", "ns/item", compute_1},
                          {"pipeline_compute.w2", "ns/item", compute_2},
                          {"fan_out_8", "ns/item", fan_out_8}});
}
