// Asio's own operations on leat's pool; the rival is Asio's thread pool. All is started by a handler or a task of the
// pool, as in a program that is running.
#define PERF_COUNT_ALLOCATIONS
#include "measure.hpp"

#include <leat/asio/executor.hpp>

#include <asio/awaitable.hpp>
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/error.hpp>
#include <asio/post.hpp>
#include <asio/steady_timer.hpp>

#include <atomic>

namespace {

using namespace std::chrono_literals;

/// How many handlers have not run yet; the last one says so.
class countdown {
public:
    explicit countdown(std::int64_t from) : left_{from}
    {
    }
    void operator()()
    {
        if (left_.fetch_sub(1, std::memory_order_relaxed) == 1)
            static_cast<void>(done_.try_send());
    }
    leat::task<std::int64_t> wait()
    {
        co_await done_.recv();
        co_return left_.load();
    }

private:
    std::atomic<std::int64_t> left_;
    leat::channel<void> done_{1};
};

leat::task<> asio_post(perf::repetition& rep)
{
    const std::int64_t times = rep.amount(1'000'000);
    const leat::executor pool = leat::this_task::executor();
    countdown count{times};
    rep.start();
    for (std::int64_t i = 0; i < times; ++i)
        asio::post(pool, [&count] { count(); });
    const std::int64_t left = co_await count.wait();
    rep.stop(times);
    rep.expect(left, 0);
}

// Arms a timer for an hour and cancels it.
leat::task<> asio_timer(perf::repetition& rep)
{
    const std::int64_t times = rep.amount(1'000'000);
    const leat::executor pool = leat::this_task::executor();
    countdown count{times};
    rep.start();
    for (std::int64_t i = 0; i < times; ++i) {
        asio::steady_timer timer{pool, 1h};
        timer.async_wait([&count](std::error_code why) {
            if (why == asio::error::operation_aborted)
                count();
        });
        timer.cancel();
    }
    const std::int64_t left = co_await count.wait();
    rep.stop(times);
    rep.expect(left, 0);
}

asio::awaitable<void> touch(countdown& count)
{
    count();
    co_return;
}

leat::task<> co_spawn(perf::repetition& rep)
{
    const std::int64_t times = rep.amount(1'000'000);
    const leat::executor pool = leat::this_task::executor();
    countdown count{times};
    rep.start();
    for (std::int64_t i = 0; i < times; ++i)
        asio::co_spawn(pool, touch(count), asio::detached);
    const std::int64_t left = co_await count.wait();
    rep.stop(times);
    rep.expect(left, 0);
}

}  // namespace

int main(int argc, char** argv)
{
    return perf::program(
        argc, argv,
        {{"asio_post", "ns", asio_post}, {"asio_timer", "ns", asio_timer}, {"co_spawn", "ns", co_spawn}});
}
