#include <leat/sync/oneshot.hpp>

#include <leat/error.hpp>

namespace leat::detail {

void oneshot_base::settle() noexcept
{
    wake_list wakes;
    {
        const spin_guard hold{lock};
        done_.store(true, std::memory_order_release);
        while (waiters.win_front(wakes) != nullptr) {}
    }
    wakes.flush(current_turn());
}

std::exception_ptr oneshot_base::broken() noexcept
{
    return std::make_exception_ptr(broken_promise_error{});
}

void throw_promise_misused(bool empty)
{
    throw usage_error{empty ? "leat: an empty oneshot_promise was used; moving one empties it"
                            : "leat: a oneshot_promise was kept twice; it gives one value, or one failure"};
}

void throw_future_misused(bool empty)
{
    throw usage_error{empty ? "leat: an empty oneshot_future was used; moving one empties it"
                            : "leat: the value of a oneshot_future was asked for twice; it is awaited once"};
}

}  // namespace leat::detail
