// Pooling: a fixed set of workers shares one queue
//
// The problem: there are three presses, and any number of jobs; urgent ones first.
//
//     jobs ──▶ queue of 4 ──┬──▶ press
//       ▲                   ├──▶ press
//       └── waits when full └──▶ press
//
// Each job has a handle: the wait for its result. When the pool goes, it does what is queued; when the group has ended,
// every job has.
//
// Run it with   ./dev run patterns_pooling
// It prints each job as it is done:
//
//     0.31 s  job 1
//     0.32 s  job 2
//     0.33 s  job 3
//     0.42 s  URGENT
//     0.65 s  job 4
//     ...
//     1.02 s  job 7

#include <leat/flow/worker_pool.hpp>
#include <leat/leat.hpp>

#include <chrono>
#include <cstdio>
#include <string>

namespace {

using namespace std::chrono_literals;

leat::task<> print_shop()
{
    const auto begin = leat::clock::now();
    auto press = [&](std::string what, std::chrono::milliseconds takes) -> leat::task<> {
        co_await leat::sleep_for(takes);
        std::printf("%.2f s  %s\n", std::chrono::duration<double>(leat::clock::now() - begin).count(),
                    what.c_str());
    };
    co_await leat::with_group([&](leat::task_group& group) -> leat::task<> {
        leat::worker_pool presses{group, {.workers = 3, .queue = 4}};
        for (int i = 1; i <= 7; ++i) {
            auto job = co_await presses.submit(
                [&, i] { return press("job " + std::to_string(i), 300ms + i * 10ms); });
            job.detach();
        }
        auto urgent = co_await presses.submit([&] { return press("URGENT", 100ms); },
                                              {.priority = leat::job_priority::high});
        co_await urgent;
    });
}

}  // namespace

int main()
{
    leat::run(print_shop());
}
