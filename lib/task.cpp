#include <leat/task.hpp>

#include <atomic>
#include <cstdio>
#include <exception>

namespace leat {
namespace {

void print_never_awaited(const char* function, const char* file, unsigned line) noexcept
{
    std::fprintf(stderr, "leat: a task was never awaited: %s (%s:%u); is a co_await missing?\n", function,
                 file, line);
}

constinit std::atomic<never_awaited_handler> handler{nullptr};

}  // namespace

never_awaited_handler set_never_awaited_handler(never_awaited_handler to) noexcept
{
    return handler.exchange(to);
}

namespace detail {

void report_never_awaited(const promise_base& promise) noexcept
{
    if (std::uncaught_exceptions() != 0)
        return;
    never_awaited_handler tell = handler.load();
    if (tell == nullptr)
        tell = print_never_awaited;
#if LEAT_REGISTRY
    tell(promise.where.function(), promise.where.file(), promise.where.line());
#else
    static_cast<void>(promise);
    tell("unknown: built without the registry", "", 0);
#endif
}

void throw_consumed_task()
{
    throw usage_error{
        "leat: an empty task was awaited or spawned; a task is awaited once, and moving it away "
        "empties it"};
}

}  // namespace detail
}  // namespace leat
