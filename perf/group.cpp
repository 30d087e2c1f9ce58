// Groups that fail.
#define PERF_COUNT_ALLOCATIONS
#include "measure.hpp"

namespace {

class failed : public std::runtime_error {
public:
    failed() : std::runtime_error{"failed"}
    {
    }
};

leat::task<> wait_for_the_end(leat::context ctx)
{
    co_await ctx.done();
}

leat::task<> fail()
{
    throw failed{};
    co_return;
}

leat::task<> round(leat::task_group& group)
{
    for (int i = 0; i < 99; ++i)
        co_await group.spawn(wait_for_the_end(group.context()));
    co_await group.spawn(fail());
}

// A hundred tasks: one fails, the others wait for the context that this ends.
leat::task<> errgroup(perf::repetition& rep)
{
    const std::int64_t rounds = rep.amount(1000);
    std::int64_t failures = 0;
    rep.start();
    for (std::int64_t i = 0; i < rounds; ++i) {
        try {
            co_await leat::with_group(round);
        } catch (const failed&) {
            ++failures;
        }
    }
    rep.stop(rounds);
    rep.expect(failures, rounds);
}

}  // namespace

int main(int argc, char** argv)
{
    return perf::program(argc, argv, {{"errgroup", "µs/round", errgroup}});
}
