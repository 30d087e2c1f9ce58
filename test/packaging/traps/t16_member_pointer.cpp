// T16 canary: fails on a member pointer that is called in a co_await expression
// instead: Call it in a function that is not a coroutine, and await what that returns.
// flags: -O2
#include <leat/task.hpp>

#include <memory>
#include <utility>

struct object {
    leat::task<int> method(std::unique_ptr<int> p);
};

leat::task<int> invoke(object* o, leat::task<int> (object::*f)(std::unique_ptr<int>), std::unique_ptr<int> p)
{
    const int n = co_await (o->*f)(std::move(p));
    co_return n;
}
