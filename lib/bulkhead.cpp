#include <leat/flow/bulkhead.hpp>

#include <leat/error.hpp>
#include <leat/select.hpp>

#include <optional>

namespace leat {
namespace {

std::ptrdiff_t checked(std::ptrdiff_t concurrent)
{
    if (concurrent <= 0)
        throw usage_error{"leat: a bulkhead lets at least one call through at a time"};
    return concurrent;
}

}  // namespace

bulkhead::bulkhead(const bulkhead_options& options)
    : queue_{options.queue}, max_wait_{options.max_wait}, places_{checked(options.concurrent), "bulkhead"}
{
}

task<semaphore_permit> bulkhead::enter()
{
    detail::task_root& root = *co_await detail::get_root{};
    if (root.stop_requested())
        detail::throw_stopped(root);
    semaphore_permit place = try_enter();
    if (place)
        co_return place;
    // The queue is that of the semaphore, and who has been given a place is not in it: a count of those who have begun to
    // wait and not gone on would refuse calls for which there is room.
    detail::acquire_operation in_line{places_, 1, queue_};
    if (max_wait_ == clock::duration::max()) {
        place = co_await in_line;
    } else {
        auto served = [&](semaphore_permit got) { place = std::move(got); };
        co_await select(on(in_line, served), on(after(max_wait_), [] {}));
    }
    if (place)
        co_return place;
    rejected_.fetch_add(1, std::memory_order_relaxed);
    throw rejected_error{"leat: bulkhead"};
}

}  // namespace leat
