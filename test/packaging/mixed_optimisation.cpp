// Compiled without optimisation and linked with an optimised leat, and the other way round: neither may
// make the stack grow, whichever of the two copies of an inline function the linker keeps.
#include <leat/leat.hpp>

#include <cstdio>

namespace {

constexpr int awaits = 2'000'000;
constexpr int values = 200'000;
constexpr int links = 100'000;

leat::task<int> ready(int n)
{
    co_return n;
}

leat::task<long> loop()
{
    long sum = 0;
    for (int i = 0; i < awaits; ++i)
        sum += co_await ready(1);
    co_return sum;
}

// A chain of completions: each link ends in the completion of the one below.
leat::task<int> chain(int depth)
{
    int below = 0;
    if (depth > 0)
        below = co_await chain(depth - 1);
    co_return below + 1;
}

leat::task<> produce(leat::sender<int> to)
{
    for (int i = 0; i < values; ++i)
        co_await to.send(1);
    to.close();
}

leat::task<long> consume()
{
    leat::channel<int> through;
    long sum = 0;
    co_await leat::with_group([&](leat::task_group& group) -> leat::task<> {
        co_await group.spawn(produce(through));
        while (auto value = co_await through.recv())
            sum += *value;
    });
    co_return sum;
}

int failures = 0;

void expect(const char* what, long got, long wanted)
{
    std::printf("%-12s %ld\n", what, got);
    if (got != wanted)
        ++failures;
}

}  // namespace

int main()
{
    expect("awaits", leat::run(loop()), awaits);
    expect("links", leat::run(chain(links)), links + 1);
    expect("values", leat::run(consume()), values);
    return failures;
}
