// expect: error:
// A task is awaited once: awaiting a named one must say std::move, so that a second time stands out.
#include <leat/task.hpp>

#include <utility>

leat::task<int> cook();

leat::task<int> kitchen()
{
    leat::task<int> dinner = cook();
#ifdef MISTAKE
    co_return co_await dinner;
#else
    co_return co_await std::move(dinner);
#endif
}
