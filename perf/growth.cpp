// Whether what one operation costs, and what one item takes of memory, stays the same from a thousand items to a million:
// growth.WHAT.NUMBER measures while so many are there.
#define PERF_COUNT_ALLOCATIONS
#include "measure.hpp"
#include "parked.hpp"

#include <random>

namespace {

using namespace std::chrono_literals;

/// What has been added since it was made, for each of so many items.
class memory {
public:
    void note(perf::repetition& rep, std::int64_t items) const
    {
        const auto added = static_cast<double>(perf::resident_bytes() - before_);
        rep.also("memory_bytes", added / static_cast<double>(items));
    }

private:
    std::int64_t before_ = perf::resident_bytes();
};

leat::task<std::int64_t> child(std::int64_t number)
{
    co_return number;
}

// So many tasks wait; others come and go.
leat::task<> tasks(perf::repetition& rep, std::int64_t items)
{
    const std::int64_t times = rep.amount(1'000'000);
    std::int64_t sum = 0;
    const memory used;
    auto come_and_go = [&]() -> leat::task<> {
        used.note(rep, items);
        rep.start();
        for (std::int64_t i = 0; i < times; ++i)
            sum += co_await leat::spawn(child(i));
        rep.stop(times);
    };
    co_await perf::while_parked(items, come_and_go);
    rep.expect(sum, times * (times - 1) / 2);
}

leat::task<> count_items(leat::receiver<std::int64_t> in, perf::arrivals& arrived, perf::arrivals& received)
{
    std::int64_t mine = 0;
    arrived.fetch_add(1, std::memory_order_relaxed);
    while (const auto got = co_await in.recv())
        mine += *got;
    received.fetch_add(mine, std::memory_order_relaxed);
}

// So many tasks wait to receive from one channel, are served in turn, and wait again.
leat::task<> parked(perf::repetition& rep, std::int64_t items)
{
    const std::int64_t times = rep.amount(1'000'000);
    leat::channel<std::int64_t> numbers;
    perf::arrivals arrived{0}, received{0};
    const memory used;
    co_await leat::with_group([&](leat::task_group& group) -> leat::task<> {
        for (std::int64_t i = 0; i < items; ++i)
            co_await group.spawn(count_items(numbers, arrived, received));
        co_await perf::all_parked(arrived, items);
        used.note(rep, items);
        rep.start();
        for (std::int64_t i = 0; i < times; ++i)
            co_await numbers.send(1);
        rep.stop(times);
        numbers.close();
    });
    rep.expect(received, times);
}

/// What the tasks that share a mutex do with it.
struct turns {
    perf::repetition& rep;
    const std::int64_t times;
    leat::mutex mutex{};
    std::int64_t taken = 0;
    perf::arrivals arrived{0};
};

leat::task<> take_turns(turns& of)
{
    of.arrived.fetch_add(1, std::memory_order_relaxed);
    while (true) {
        const auto held = co_await of.mutex.lock();
        if (of.taken == of.times)
            break;
        if (++of.taken == of.times)
            of.rep.stop(of.times);
        // With the mutex in hand: so the next in the queue finds it taken, and has it handed over.
        co_await leat::this_task::yield();
    }
}

// So many tasks wait for one mutex, are served in turn, and wait again.
leat::task<> waiters(perf::repetition& rep, std::int64_t items)
{
    turns all{rep, rep.amount(1'000'000)};
    const memory used;
    auto held = co_await all.mutex.lock();
    co_await leat::with_group([&](leat::task_group& group) -> leat::task<> {
        for (std::int64_t i = 0; i < items; ++i)
            co_await group.spawn(take_turns(all));
        co_await perf::all_parked(all.arrived, items);
        used.note(rep, items);
        rep.start();
        held.unlock();
    });
    rep.expect(all.taken, all.times);
}

// So many timers are armed; others are armed and stopped.
leat::task<> timers(perf::repetition& rep, std::int64_t items)
{
    const std::int64_t times = rep.amount(1'000'000);
    std::minstd_rand random{42};
    std::uniform_int_distribution<int> seconds{60, 7200};
    const memory used;
    std::vector<leat::timer> armed;
    armed.reserve(static_cast<std::size_t>(items));
    for (std::int64_t i = 0; i < items; ++i)
        armed.emplace_back(std::chrono::seconds{seconds(random)});
    used.note(rep, items);
    std::int64_t stopped = 0;
    rep.start();
    for (std::int64_t i = 0; i < times; ++i) {
        leat::timer timer{std::chrono::seconds{seconds(random)}};
        stopped += timer.stop();
    }
    rep.stop(times);
    rep.expect(stopped, times);
    co_return;
}

// So many contexts are in one tree, ten under each; others are added and cancelled.
leat::task<> contexts(perf::repetition& rep, std::int64_t items)
{
    const std::int64_t times = rep.amount(1'000'000);
    const memory used;
    std::vector<leat::cancellable_context> tree;
    tree.reserve(static_cast<std::size_t>(items));
    tree.push_back(leat::with_cancel());
    while (std::ssize(tree) < items)
        tree.push_back(leat::with_cancel(tree[(tree.size() - 1) / 10].first));
    used.note(rep, items);
    std::int64_t cancelled = 0;
    rep.start();
    for (std::int64_t i = 0; i < times; ++i) {
        const auto [ctx, cancel] = leat::with_cancel(tree.back().first);
        cancel();
        cancelled += ctx.cancelled();
    }
    rep.stop(times);
    rep.expect(cancelled, times);
    co_return;
}

leat::task<> send_to_some(const std::vector<leat::channel<std::int64_t>>& channels, std::int64_t times)
{
    std::minstd_rand random{42};
    std::uniform_int_distribution<std::size_t> some{0, channels.size() - 1};
    for (std::int64_t i = 0; i < times; ++i)
        co_await channels[some(random)].send(1);
}

// A select over so many channels, one of which becomes ready; for each of the channels.
leat::task<> select_range(perf::repetition& rep, std::int64_t items)
{
    const std::int64_t times = rep.amount(10'000'000 / items);
    const memory used;
    const std::vector<leat::channel<std::int64_t>> channels = [&] {
        std::vector<leat::channel<std::int64_t>> made;
        made.reserve(static_cast<std::size_t>(items));
        for (std::int64_t i = 0; i < items; ++i)
            made.emplace_back();
        return made;
    }();
    used.note(rep, items);
    std::int64_t sum = 0;
    rep.start();
    auto source = leat::spawn(send_to_some(channels, times));
    for (std::int64_t i = 0; i < times; ++i) {
        const auto got = co_await leat::select_range(channels);
        sum += *got.value;
    }
    rep.stop(times * items);
    co_await source;
    rep.expect(sum, times);
}

using work = leat::task<>(perf::repetition&, std::int64_t);

void add(std::vector<perf::row>& rows, const std::string& what, const std::string& unit, std::int64_t most,
         work* measure)
{
    for (std::int64_t items = 1000; items <= most; items *= 10)
        rows.emplace_back(
            "growth." + what + '.' + std::to_string(items), unit,
            [=](perf::repetition& rep) { return measure(rep, rep.amount(items, 1000)); }, perf::start::cold);
}

}  // namespace

int main(int argc, char** argv)
{
    std::vector<perf::row> rows;
    add(rows, "tasks", "ns", 1'000'000, tasks);
    add(rows, "parked", "ns", 1'000'000, parked);
    add(rows, "timers", "ns", 1'000'000, timers);
    add(rows, "contexts", "ns", 1'000'000, contexts);
    add(rows, "waiters", "ns", 1'000'000, waiters);
    add(rows, "select_range", "ns/channel", 10'000, select_range);
    return perf::program(argc, argv, rows);
}
