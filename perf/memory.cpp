// What tasks cost that wait: memory, and nothing else.
#define PERF_COUNT_ALLOCATIONS
#include "measure.hpp"
#include "parked.hpp"

#include <thread>

namespace {

using namespace std::chrono_literals;

leat::task<> mem_parked(perf::repetition& rep)
{
    const std::int64_t tasks = rep.amount(1'000'000);
    const std::int64_t before = perf::resident_bytes();
    rep.start();
    auto measure = [&]() -> leat::task<> {
        rep.stop(tasks);
        rep.value(static_cast<double>(perf::resident_bytes() - before) / static_cast<double>(tasks));
        co_return;
    };
    co_await perf::while_parked(tasks, measure);
    rep.expect(tasks, tasks);
}

// Nobody blocks on the runtime meanwhile, and nobody in it has anything to do.
void idle(perf::repetition& rep)
{
    const std::int64_t tasks = rep.amount(100'000);
    const auto pause = rep.quick() ? 10ms : 10'000ms;
    leat::channel<std::int64_t> enough;
    std::atomic<bool> parked{false};
    auto wait = [&]() -> leat::task<> {
        parked = true;
        co_await enough.recv();
    };
    auto all = rep.pool().spawn(perf::while_parked(tasks, wait));
    while (!parked)
        std::this_thread::sleep_for(1ms);
    std::this_thread::sleep_for(100ms);
    const auto before = perf::processor_time();
    std::this_thread::sleep_for(pause);
    rep.value(std::chrono::duration<double, std::milli>{perf::processor_time() - before}.count());
    enough.close();
    rep.pool().block_on([&]() -> leat::task<> { co_await all; });
    rep.expect(tasks, tasks);
}

}  // namespace

int main(int argc, char** argv)
{
    return perf::program(argc, argv,
                         {{"mem_parked", "B/task", mem_parked, perf::start::cold},
                          {"idle", "CPU ms", idle, perf::start::cold}});
}
