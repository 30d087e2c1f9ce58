// T16 canary: fails on a statement expression with a co_await
// instead: Macros that hide a co_await in a statement expression are best written as coroutines.
// flags: -O0 -Wno-pedantic
#include <leat/task.hpp>

leat::task<int> number(int n);

leat::task<int> sum()
{
    const int n = ({
        int inner = co_await number(1);
        inner + 1;
    });
    co_return n;
}
