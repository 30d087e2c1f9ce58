// expect: (nodiscard|unused-result)
// A task that is made and dropped would silently not run.
#include <leat/task.hpp>

leat::task<> cook();

leat::task<> kitchen()
{
#ifdef MISTAKE
    cook();
#else
    co_await cook();
#endif
    co_return;
}
