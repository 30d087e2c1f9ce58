// Cancelling many tasks at once: from the call to the end of the last of them.
#define PERF_COUNT_ALLOCATIONS
#include "measure.hpp"
#include "parked.hpp"

namespace {

leat::task<> wait_for_either(leat::context ctx, leat::receiver<std::int64_t> never, perf::arrivals& arrived,
                             char& cancelled)
{
    arrived.fetch_add(1, std::memory_order_relaxed);
    co_await leat::select(leat::on(ctx.done(), [&] { cancelled = 1; }), leat::on(never.recv(), [] {}));
}

// They ask their context themselves.
leat::task<> ctx_cancel(perf::repetition& rep)
{
    const std::int64_t tasks = rep.amount(100'000);
    std::vector<char> cancelled(static_cast<std::size_t>(tasks));
    perf::arrivals arrived{0};
    leat::channel<std::int64_t> never;
    const auto [ctx, cancel] = leat::with_cancel();
    co_await leat::with_group([&](leat::task_group& group) -> leat::task<> {
        for (char& each : cancelled)
            co_await group.spawn(wait_for_either(ctx, never, arrived, each));
        co_await perf::all_parked(arrived, tasks);
        rep.start();
        cancel();
    });
    rep.stop(tasks);
    rep.expect(std::count(cancelled.begin(), cancelled.end(), 1), tasks);
}

/// Notes that a frame has been left.
class leaving {
public:
    explicit leaving(char& place) noexcept : place_{place}
    {
    }
    ~leaving()
    {
        place_ = 1;
    }

private:
    char& place_;
};

leat::task<> receive(leat::receiver<std::int64_t> never, perf::arrivals& arrived, char& left)
{
    const leaving note{left};
    arrived.fetch_add(1, std::memory_order_relaxed);
    const auto got = co_await never.recv();
    throw perf::wrong_result{got ? "nobody has sent this" : "nobody has closed the channel"};
}

// They know nothing of it: the receive throws.
leat::task<> cancel_throw(perf::repetition& rep)
{
    const std::int64_t tasks = rep.amount(100'000);
    std::vector<char> left(static_cast<std::size_t>(tasks));
    perf::arrivals arrived{0};
    leat::channel<std::int64_t> never;
    co_await leat::with_group([&](leat::task_group& group) -> leat::task<> {
        for (char& each : left)
            co_await group.spawn(receive(never, arrived, each));
        co_await perf::all_parked(arrived, tasks);
        rep.start();
        group.cancel();
    });
    rep.stop(tasks);
    rep.expect(std::count(left.begin(), left.end(), 1), tasks);
}

}  // namespace

int main(int argc, char** argv)
{
    return perf::program(argc, argv,
                         {{"ctx_cancel", "ns/task", ctx_cancel}, {"cancel_throw", "ns/task", cancel_throw}});
}
