// expect: (deleted|implicitly)
// A task owns its coroutine: there are never two of it.
#include <leat/task.hpp>

#include <utility>

leat::task<int> cook();

leat::task<int> twice()
{
    leat::task<int> dinner = cook();
#ifdef MISTAKE
    leat::task<int> again = dinner;
#else
    leat::task<int> again = std::move(dinner);
#endif
    co_return co_await std::move(again);
}
