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

/// One of those who wait, for as long as it lives.
class in_line {
public:
    explicit in_line(detail::atomic<std::size_t>& among) noexcept : among_{among}
    {
    }
    in_line(const in_line&) = delete;
    in_line& operator=(const in_line&) = delete;
    ~in_line()
    {
        among_.fetch_sub(1, std::memory_order_relaxed);
    }

private:
    detail::atomic<std::size_t>& among_;
};

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
    semaphore_permit place = places_.try_acquire();
    if (place)
        co_return place;
    if (waiting_.fetch_add(1, std::memory_order_relaxed) >= queue_) {
        waiting_.fetch_sub(1, std::memory_order_relaxed);
    } else {
        const in_line waits{waiting_};
        if (max_wait_ == clock::duration::max()) {
            place = co_await places_.acquire();
            co_return place;
        }
        auto served = [&](semaphore_permit got) { place = std::move(got); };
        co_await select(on(places_.acquire(), served), on(after(max_wait_), [] {}));
        if (place)
            co_return place;
    }
    rejected_.fetch_add(1, std::memory_order_relaxed);
    throw rejected_error{"leat: bulkhead"};
}

}  // namespace leat
