// Handing jobs to a pool of workers, and getting their results.
#define PERF_COUNT_ALLOCATIONS
#include "measure.hpp"

#include <leat/flow/worker_pool.hpp>

namespace {

using item = std::int64_t;

// Two workers and a queue of 64; as many jobs are handed in at a time as fit into it, then their results are read.
leat::task<> submit(perf::repetition& rep)
{
    constexpr item queue = 64;
    const item rounds = (rep.amount(1'000'000) + queue - 1) / queue;
    item sum = 0;
    co_await leat::with_group([&](leat::task_group& group) -> leat::task<> {
        leat::worker_pool pool{group, {.workers = 2, .queue = queue}};
        std::vector<leat::job_handle<item>> results;
        results.reserve(queue);
        rep.start();
        for (item round = 0; round < rounds; ++round) {
            for (item i = 0; i < queue; ++i)
                results.push_back(co_await pool.submit([n = round * queue + i] { return n + 1; }));
            for (leat::job_handle<item>& result : results)
                sum += co_await result;
            results.clear();
        }
        rep.stop(rounds * queue);
    });
    rep.expect(sum, rounds * queue * (rounds * queue + 1) / 2);
}

}  // namespace

int main(int argc, char** argv)
{
    return perf::program(argc, argv, {{"pool_submit", "ns/job", submit}});
}
