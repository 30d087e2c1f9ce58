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

/// How many handlers of a round have not run yet; the last one says so.
class countdown {
public:
    void from(std::int64_t handlers)
    {
        left_.store(handlers, std::memory_order_relaxed);
    }
    void operator()()
    {
        if (left_.fetch_sub(1, std::memory_order_acq_rel) > 1)
            return;
        // A handle of its own: whoever is told may be the end of this.
        const leat::channel<void> done = done_;
        static_cast<void>(done.try_send());
    }
    leat::channel<void> done() const
    {
        return done_;
    }
    std::int64_t left() const
    {
        return left_.load();
    }

private:
    std::atomic<std::int64_t> left_{0};
    leat::channel<void> done_{1};
};

/// Starts a million handlers, a thousand at a time, and waits until all of these have run.
template <class Start>
leat::task<> rounds_of_1000(perf::repetition& rep, Start start)
{
    constexpr std::int64_t each = 1000;
    const std::int64_t rounds = rep.amount(1000);
    std::int64_t handled = 0;
    countdown count;
    const leat::channel<void> done = count.done();
    rep.start();
    for (std::int64_t i = 0; i < rounds; ++i) {
        count.from(each);
        for (std::int64_t k = 0; k < each; ++k)
            start(count);
        co_await done.recv();
        handled += each - count.left();
    }
    rep.stop(rounds * each);
    rep.expect(handled, rounds * each);
}

leat::task<> asio_post(perf::repetition& rep)
{
    const leat::executor pool = leat::this_task::executor();
    co_await rounds_of_1000(rep, [=](countdown& count) { asio::post(pool, [&count] { count(); }); });
}

// Arms a timer for an hour and cancels it.
leat::task<> asio_timer(perf::repetition& rep)
{
    const leat::executor pool = leat::this_task::executor();
    co_await rounds_of_1000(rep, [=](countdown& count) {
        asio::steady_timer timer{pool, 1h};
        timer.async_wait([&count](std::error_code why) {
            if (why == asio::error::operation_aborted)
                count();
        });
        timer.cancel();
    });
}

asio::awaitable<void> touch(countdown& count)
{
    count();
    co_return;
}

leat::task<> co_spawn(perf::repetition& rep)
{
    const leat::executor pool = leat::this_task::executor();
    co_await rounds_of_1000(rep,
                            [=](countdown& count) { asio::co_spawn(pool, touch(count), asio::detached); });
}

}  // namespace

int main(int argc, char** argv)
{
    return perf::program(
        argc, argv,
        {{"asio_post", "ns", asio_post}, {"asio_timer", "ns", asio_timer}, {"co_spawn", "ns", co_spawn}});
}
