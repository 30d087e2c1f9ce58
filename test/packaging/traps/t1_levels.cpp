// T1 regression: awaits in a loop and a chain of completions must not grow the stack
// flags: -O0 | -Og | -O1 | -O3 -DNDEBUG
#include <leat/leat.hpp>

namespace {

leat::task<int> ready(int n)
{
    co_return n;
}

leat::task<long> loop()
{
    long sum = 0;
    for (int i = 0; i < 2'000'000; ++i)
        sum += co_await ready(1);
    co_return sum;
}

leat::task<int> chain(int depth)
{
    int below = 0;
    if (depth > 0)
        below = co_await chain(depth - 1);
    co_return below + 1;
}

}  // namespace

int main()
{
    const bool right = leat::run(loop()) == 2'000'000 && leat::run(chain(200'000)) == 200'001;
    return right ? 0 : 1;
}
