// Tasks and channels as they are put together in programs.
#define PERF_COUNT_ALLOCATIONS
#include "measure.hpp"

namespace {

using item = std::int64_t;

leat::task<> produce(item items, leat::sender<item> out)
{
    for (item i = 0; i < items; ++i)
        co_await out.send(i);
    out.close();
}

leat::task<> increment(leat::receiver<item> in, leat::sender<item> out)
{
    while (const auto got = co_await in.recv())
        co_await out.send(*got + 1);
}

leat::task<> stage(leat::receiver<item> in, leat::sender<item> out)
{
    co_await increment(in, out);
    out.close();
}

leat::task<item> sum_up(leat::receiver<item> in)
{
    item sum = 0;
    while (const auto got = co_await in.recv())
        sum += *got;
    co_return sum;
}

// Five tasks in a row, with four unbuffered channels between them.
leat::task<> pipeline_5(perf::repetition& rep)
{
    const item items = rep.amount(1'000'000);
    leat::channel<item> a, b, c, d;
    item sum = 0;
    rep.start();
    co_await leat::with_group([&](leat::task_group& line) -> leat::task<> {
        co_await line.spawn(produce(items, a));
        co_await line.spawn(stage(a, b));
        co_await line.spawn(stage(b, c));
        co_await line.spawn(stage(c, d));
        auto end = co_await line.spawn(sum_up(d));
        sum = co_await end;
    });
    rep.stop(items);
    rep.expect(sum, items * (items - 1) / 2 + 3 * items);
}

leat::task<> workers(leat::receiver<item> work, leat::sender<item> results)
{
    co_await leat::with_group([&](leat::task_group& group) -> leat::task<> {
        for (int i = 0; i < 8; ++i)
            co_await group.spawn(increment(work, results));
    });
    results.close();
}

// One producer, eight workers, one collector; unbuffered.
leat::task<> fan_out_in_8(perf::repetition& rep)
{
    const item items = rep.amount(1'000'000);
    leat::channel<item> work, results;
    item sum = 0;
    rep.start();
    co_await leat::with_group([&](leat::task_group& group) -> leat::task<> {
        co_await group.spawn(produce(items, work));
        co_await group.spawn(workers(work, results));
        auto end = co_await group.spawn(sum_up(results));
        sum = co_await end;
    });
    rep.stop(items);
    rep.expect(sum, items * (items - 1) / 2 + items);
}

// ---- A chain that grows by one for every prime ------------------------------------------------------

leat::task<> count(leat::sender<item> out)
{
    for (item number = 2;; ++number)
        co_await out.send(number);
}

leat::task<> filter(item prime, leat::receiver<item> in, leat::sender<item> out)
{
    while (const auto number = co_await in.recv())
        if (*number % prime != 0)
            co_await out.send(*number);
}

leat::task<> prime_sieve(perf::repetition& rep)
{
    const int primes = rep.depth(2000, 200, 40);
    const item wanted = rep.depth<item>(17389, 1223, 173);
    item last = 0;
    rep.start();
    co_await leat::with_group([&](leat::task_group& chain) -> leat::task<> {
        leat::channel<item> numbers;
        co_await chain.spawn(count(numbers));
        for (int found = 0; found < primes; ++found) {
            const auto prime = co_await numbers.recv();
            last = *prime;
            leat::channel<item> left;
            co_await chain.spawn(filter(last, numbers, left));
            numbers = left;
        }
        rep.stop(1);
        chain.cancel();
    });
    rep.expect(last, wanted);
}

}  // namespace

int main(int argc, char** argv)
{
    return perf::program(argc, argv,
                         {{"pipeline_5", "ns/item", pipeline_5},
                          {"fan_out_in_8", "ns/item", fan_out_in_8},
                          {"prime_sieve", "ms", prime_sieve}});
}
