// Timers: most are armed and never fire.
#define PERF_COUNT_ALLOCATIONS
#include "measure.hpp"

#include <random>

namespace {

using namespace std::chrono_literals;

// Arms a deadline far away and takes it back.
leat::task<> churn_contexts(perf::repetition& rep)
{
    const std::int64_t times = rep.amount(1'000'000);
    std::int64_t cancelled = 0;
    rep.start();
    for (std::int64_t i = 0; i < times; ++i) {
        const auto [limited, cancel] = leat::with_timeout(1h);
        cancel();
        cancelled += limited.cancelled();
    }
    rep.stop(times);
    rep.expect(cancelled, times);
    co_return;
}

leat::task<> churn_timers(perf::repetition& rep)
{
    const std::int64_t times = rep.amount(1'000'000);
    std::int64_t stopped = 0;
    rep.start();
    for (std::int64_t i = 0; i < times; ++i) {
        leat::timer timer{1h};
        stopped += timer.stop();
    }
    rep.stop(times);
    rep.expect(stopped, times);
    co_return;
}

leat::task<> sleep(std::chrono::milliseconds span, std::chrono::nanoseconds& late)
{
    const auto due = leat::clock::now() + span;
    co_await leat::sleep_for(span);
    late = leat::clock::now() - due;
}

// Many tasks sleep a random while: what that takes of the processor, and how late the latest in a hundred are.
leat::task<> sleep_many(perf::repetition& rep)
{
    const std::int64_t tasks = rep.amount(100'000, 100);
    const int longest = rep.depth(1000, 1000, 20);
    std::mt19937 random{42};
    std::uniform_int_distribution<int> span{1, longest};
    std::vector<std::chrono::nanoseconds> late(static_cast<std::size_t>(tasks), -1ns);
    const auto used_before = perf::processor_time();
    rep.start();
    co_await leat::with_group([&](leat::task_group& group) -> leat::task<> {
        for (auto& each : late)
            co_await group.spawn(sleep(std::chrono::milliseconds{span(random)}, each));
    });
    rep.stop(tasks);
    const auto used = perf::processor_time() - used_before;
    rep.expect(std::count_if(late.begin(), late.end(), [](auto each) { return each >= 0ns; }), tasks);
    const auto p99 = late.begin() + tasks * 99 / 100;
    std::nth_element(late.begin(), p99, late.end());
    rep.value(std::chrono::duration<double, std::milli>{used}.count());
    rep.also("p99_late_us", std::chrono::duration<double, std::micro>{*p99}.count());
}

}  // namespace

int main(int argc, char** argv)
{
    return perf::program(argc, argv,
                         {{"timer_churn.ctx", "ns", churn_contexts},
                          {"timer_churn.timer", "ns", churn_timers},
                          {"sleep_many", "CPU ms", sleep_many, perf::start::cold}});
}
