// The rows of ../../ in Asio's own coroutines, channels and parallel groups, on one io_context with as many threads as
// there are workers.
//
// Whether a channel is ready is tried before an operation is started: that is what a fast program does. A channel
// with room for one is the mutex, one with room for four the semaphore.
#include "../peer.hpp"
#include "net.hpp"

#include <asio.hpp>
#include <asio/experimental/as_tuple.hpp>
#include <asio/experimental/awaitable_operators.hpp>
#include <asio/experimental/concurrent_channel.hpp>
#include <asio/experimental/deferred.hpp>
#include <asio/experimental/parallel_group.hpp>

#include <array>
#include <atomic>
#include <memory>
#include <random>
#include <thread>
#include <tuple>
#include <utility>

namespace {

using namespace asio::experimental::awaitable_operators;
using namespace std::chrono_literals;
using asio::experimental::deferred;
using peer::repetition;
using std::error_code;

using executor = asio::io_context::executor_type;
template <class T = void>
using task = asio::awaitable<T, executor>;
using channel = asio::experimental::concurrent_channel<executor, void(error_code, std::int64_t)>;
// The value does not count. One without does not compile with Asio 1.22.
using event = channel;
using shared_channel = std::shared_ptr<channel>;
constexpr asio::use_awaitable_t<executor> use_task;
constexpr auto as_tuple = asio::experimental::as_tuple(use_task);
constexpr auto run_here = asio::this_coro::executor;

/// Runs a task and what it starts, until the task ends.
template <class Work>
void run(repetition& rep, Work work)
{
    asio::io_context context{rep.workers()};
    std::exception_ptr failure;
    asio::co_spawn(context, work(context.get_executor()), [&](std::exception_ptr why) {
        failure = why;
        context.stop();
    });
    {
        std::vector<std::jthread> threads;
        for (int i = 1; i < rep.workers(); ++i)
            threads.emplace_back([&] { context.run(); });
        context.run();
    }
    if (failure)
        std::rethrow_exception(failure);
}

shared_channel make_channel(const executor& pool, std::size_t capacity)
{
    return std::make_shared<channel>(pool, capacity);
}

struct received {
    error_code error;
    std::int64_t value;
};

std::optional<received> try_receive(channel& from)
{
    std::optional<received> got;
    from.try_receive([&](error_code error, std::int64_t value) { got = received{error, value}; });
    return got;
}

/// The last of many says so.
class countdown {
public:
    countdown(const executor& pool, std::int64_t from) : left_{from}, done_{pool, 1}
    {
    }
    void operator()()
    {
        if (left_.fetch_sub(1, std::memory_order_acq_rel) == 1)
            done_.try_send(error_code{}, 1);
    }
    void restart(std::int64_t from)
    {
        left_.store(from, std::memory_order_relaxed);
    }
    task<> wait()
    {
        co_await done_.async_receive(use_task);
    }

private:
    std::atomic<std::int64_t> left_;
    event done_;
};

// ---- Tasks ---------------------------------------------------------------------------------------

task<std::int64_t> child(std::int64_t number)
{
    co_return number;
}

void call_overhead(repetition& rep)
{
    run(rep, [&](executor) -> task<> {
        const std::int64_t calls = rep.amount(100'000'000);
        std::int64_t sum = 0;
        rep.start();
        for (std::int64_t i = 0; i < calls; ++i)
            sum += co_await child(i);
        rep.stop(calls);
        rep.expect(sum, calls * (calls - 1) / 2);
    });
}

task<> mark(char& place, countdown& done)
{
    place = 1;
    done();
    co_return;
}

void spawn_join(repetition& rep)
{
    run(rep, [&](executor pool) -> task<> {
        const std::int64_t tasks = rep.amount(1'000'000);
        std::vector<char> marks(static_cast<std::size_t>(tasks));
        countdown done{pool, tasks};
        rep.start();
        for (char& place : marks)
            asio::co_spawn(pool, mark(place, done), asio::detached);
        co_await done.wait();
        rep.stop(tasks);
        rep.expect(std::count(marks.begin(), marks.end(), 1), tasks);
    });
}

task<> yield_often(std::int64_t times, countdown& done)
{
    for (std::int64_t i = 0; i < times; ++i)
        co_await asio::post(use_task);
    done();
}

void yield(repetition& rep)
{
    run(rep, [&](executor pool) -> task<> {
        const std::int64_t each = rep.amount(2'000'000);
        countdown done{pool, 2};
        rep.start();
        for (int i = 0; i < 2; ++i)
            asio::co_spawn(pool, yield_often(each, done), asio::detached);
        co_await done.wait();
        rep.stop(2 * each);
    });
}

// ---- Trees ---------------------------------------------------------------------------------------

task<std::int64_t> fibonacci(std::int64_t n)
{
    if (n < 2)
        co_return n;
    const auto [first, second] = co_await (fibonacci(n - 1) && fibonacci(n - 2));
    co_return first + second;
}

void fib(repetition& rep)
{
    run(rep, [&](executor) -> task<> {
        const std::int64_t n = rep.depth(30, 20, 12);
        std::int64_t wanted = 0, next = 1;
        for (std::int64_t i = 0; i < n; ++i)
            wanted = std::exchange(next, wanted + next);
        rep.start();
        const std::int64_t got = co_await fibonacci(n);
        rep.stop(1);
        rep.expect(got, wanted);
    });
}

std::int64_t sum_of(const std::exception_ptr&)
{
    return 0;
}
std::int64_t sum_of(std::int64_t value)
{
    return value;
}
template <std::size_t N>
std::int64_t sum_of(const std::array<std::size_t, N>&)
{
    return 0;
}

task<std::int64_t> skynet_tree(std::int64_t number, std::int64_t size)
{
    if (size == 1)
        co_return number;
    const executor pool = co_await run_here;
    size /= 10;
    auto children = [&]<std::size_t... I>(std::index_sequence<I...>) {
        return asio::experimental::make_parallel_group(asio::co_spawn(
            pool, skynet_tree(number + static_cast<std::int64_t>(I) * size, size), deferred)...);
    }(std::make_index_sequence<10>{});
    const auto results = co_await children.async_wait(asio::experimental::wait_for_all(), use_task);
    co_return std::apply([](const auto&... each) { return (sum_of(each) + ...); }, results);
}

void skynet_join(repetition& rep)
{
    run(rep, [&](executor) -> task<> {
        const std::int64_t leaves = rep.depth(1'000'000, 100'000, 1000);
        rep.start();
        const std::int64_t sum = co_await skynet_tree(0, leaves);
        rep.stop(1);
        rep.expect(sum, leaves * (leaves - 1) / 2);
    });
}

task<> skynet_channels(std::int64_t number, std::int64_t size, channel& result)
{
    std::int64_t sum = number;
    if (size > 1) {
        const executor pool = co_await run_here;
        channel results{pool, 10};
        size /= 10;
        for (int i = 0; i < 10; ++i)
            asio::co_spawn(pool, skynet_channels(number + i * size, size, results), asio::detached);
        sum = 0;
        for (int i = 0; i < 10; ++i)
            sum += co_await results.async_receive(use_task);
    }
    // There is room for all.
    result.try_send(error_code{}, sum);
}

void skynet_chan(repetition& rep)
{
    run(rep, [&](executor pool) -> task<> {
        const std::int64_t leaves = rep.depth(1'000'000, 100'000, 1000);
        channel result{pool, 1};
        rep.start();
        asio::co_spawn(pool, skynet_channels(0, leaves, result), asio::detached);
        const std::int64_t sum = co_await result.async_receive(use_task);
        rep.stop(1);
        rep.expect(sum, leaves * (leaves - 1) / 2);
    });
}

// ---- Channels ------------------------------------------------------------------------------------

task<> produce(std::int64_t first, std::int64_t beyond, shared_channel out)
{
    for (std::int64_t i = first; i < beyond; ++i)
        if (!out->try_send(error_code{}, i))
            co_await out->async_send(error_code{}, i, use_task);
}

task<> produce_and_close(std::int64_t beyond, shared_channel out)
{
    co_await produce(0, beyond, out);
    out->close();
}

task<> consume(shared_channel in, std::atomic<std::int64_t>& total, countdown& done)
{
    std::int64_t sum = 0;
    for (;;) {
        auto got = try_receive(*in);
        if (!got) {
            const auto [error, value] = co_await in->async_receive(as_tuple);
            got = received{error, value};
        }
        if (got->error)
            break;
        sum += got->value;
    }
    total += sum;
    done();
}

task<> pass_on(shared_channel in, shared_channel out, countdown* done)
{
    for (;;) {
        auto got = try_receive(*in);
        if (!got) {
            const auto [error, value] = co_await in->async_receive(as_tuple);
            got = received{error, value};
        }
        if (got->error)
            break;
        if (!out->try_send(error_code{}, got->value + 1))
            co_await out->async_send(error_code{}, got->value + 1, use_task);
    }
    if (done)
        (*done)();
    else
        out->close();
}

void pingpong(repetition& rep)
{
    run(rep, [&](executor pool) -> task<> {
        const std::int64_t rounds = rep.amount(1'000'000);
        const shared_channel there = make_channel(pool, 0), back = make_channel(pool, 0);
        asio::co_spawn(pool, pass_on(there, back, nullptr), asio::detached);
        std::int64_t ball = 0;
        rep.start();
        for (std::int64_t i = 0; i < rounds; ++i) {
            if (!there->try_send(error_code{}, ball))
                co_await there->async_send(error_code{}, ball, use_task);
            const auto returned = try_receive(*back);
            ball = returned ? returned->value : co_await back->async_receive(use_task);
        }
        rep.stop(rounds);
        there->close();
        rep.expect(ball, rounds);
    });
}

void pass(repetition& rep, std::int64_t full, std::size_t capacity, int producers, int consumers)
{
    run(rep, [&](executor pool) -> task<> {
        const std::int64_t share = rep.amount(full / producers);
        const std::int64_t items = share * producers;
        const shared_channel through = make_channel(pool, capacity);
        countdown produced{pool, producers}, consumed{pool, consumers};
        std::atomic<std::int64_t> sum = 0;
        rep.start();
        for (int i = 0; i < consumers; ++i)
            asio::co_spawn(pool, consume(through, sum, consumed), asio::detached);
        for (int i = 0; i < producers; ++i)
            asio::co_spawn(pool, produce(i * share, (i + 1) * share, through),
                           [&](std::exception_ptr) { produced(); });
        co_await produced.wait();
        through->close();
        co_await consumed.wait();
        rep.stop(items);
        rep.expect(sum, items * (items - 1) / 2);
    });
}

void pipeline_5(repetition& rep)
{
    run(rep, [&](executor pool) -> task<> {
        const std::int64_t items = rep.amount(1'000'000);
        countdown done{pool, 1};
        std::atomic<std::int64_t> sum = 0;
        rep.start();
        shared_channel last = make_channel(pool, 0);
        asio::co_spawn(pool, produce_and_close(items, last), asio::detached);
        for (int stage = 0; stage < 3; ++stage) {
            const shared_channel in = std::exchange(last, make_channel(pool, 0));
            asio::co_spawn(pool, pass_on(in, last, nullptr), asio::detached);
        }
        asio::co_spawn(pool, consume(last, sum, done), asio::detached);
        co_await done.wait();
        rep.stop(items);
        rep.expect(sum, items * (items - 1) / 2 + 3 * items);
    });
}

void fan_out_in_8(repetition& rep)
{
    run(rep, [&](executor pool) -> task<> {
        const std::int64_t items = rep.amount(1'000'000);
        const shared_channel work = make_channel(pool, 0), results = make_channel(pool, 0);
        countdown worked{pool, 8}, done{pool, 1};
        std::atomic<std::int64_t> sum = 0;
        rep.start();
        asio::co_spawn(pool, produce_and_close(items, work), asio::detached);
        for (int i = 0; i < 8; ++i)
            asio::co_spawn(pool, pass_on(work, results, &worked), asio::detached);
        asio::co_spawn(pool, consume(results, sum, done), asio::detached);
        co_await worked.wait();
        results->close();
        co_await done.wait();
        rep.stop(items);
        rep.expect(sum, items * (items - 1) / 2 + items);
    });
}

/// Closing tells those who come, cancelling those who wait.
void hang_up(channel& from)
{
    from.close();
    from.cancel();
}

task<> filter(std::int64_t prime, shared_channel in, shared_channel out, countdown& ended)
{
    for (;;) {
        const auto [error, number] = co_await in->async_receive(as_tuple);
        if (error)
            break;
        if (number % prime != 0) {
            const auto [closed] = co_await out->async_send(error_code{}, number, as_tuple);
            if (closed)
                break;
        }
    }
    hang_up(*in);
    ended();
}

task<> count_up(shared_channel out, countdown& ended)
{
    for (std::int64_t number = 2;; ++number) {
        const auto [closed] = co_await out->async_send(error_code{}, number, as_tuple);
        if (closed)
            break;
    }
    ended();
}

void prime_sieve(repetition& rep)
{
    run(rep, [&](executor pool) -> task<> {
        const std::int64_t primes = rep.depth(2000, 200, 40);
        countdown ended{pool, primes + 1};
        shared_channel numbers = make_channel(pool, 0);
        rep.start();
        asio::co_spawn(pool, count_up(numbers, ended), asio::detached);
        std::int64_t prime = 0;
        for (std::int64_t i = 0; i < primes; ++i) {
            prime = co_await numbers->async_receive(use_task);
            const shared_channel in = std::exchange(numbers, make_channel(pool, 0));
            asio::co_spawn(pool, filter(prime, in, numbers, ended), asio::detached);
        }
        rep.stop(1);
        hang_up(*numbers);
        co_await ended.wait();
        rep.expect(prime, primes == 2000 ? 17389 : primes == 200 ? 1223 : 173);
    });
}

// ---- Select --------------------------------------------------------------------------------------

/// The value of an operation of a parallel group, if that has not been cancelled.
void take(error_code error, std::int64_t value, std::int64_t& sum, std::int64_t& items)
{
    if (!error) {
        sum += value;
        ++items;
    }
}

// Two operations may complete before the rest is cancelled, so all results are looked at: nothing gets lost.
task<> select_from_two(channel& left, channel& right, event& never, std::int64_t items, std::int64_t& sum)
{
    for (std::int64_t got = 0; got < items;) {
        const auto [order, left_error, left_value, right_error, right_value, never_error, ignored] =
            co_await asio::experimental::make_parallel_group(
                left.async_receive(deferred), right.async_receive(deferred), never.async_receive(deferred))
                .async_wait(asio::experimental::wait_for_one(), use_task);
        take(left_error, left_value, sum, got);
        take(right_error, right_value, sum, got);
        if (!never_error)
            break;
    }
}

// What cancels and what completes must not run at once: the consumer has a strand, and with it one thread.
int one_thread_only(const repetition& rep)
{
    if (rep.workers() > 1)
        std::exit(77);
    return 1;
}

void select_recv2(repetition& rep)
{
    one_thread_only(rep);
    run(rep, [&](executor pool) -> task<> {
        const std::int64_t share = rep.amount(2'000'000);
        const std::int64_t items = 2 * share;
        const shared_channel left = make_channel(pool, 128), right = make_channel(pool, 128);
        event never{pool, 1};
        std::int64_t sum = 0;
        rep.start();
        asio::co_spawn(pool, produce(0, share, left), asio::detached);
        asio::co_spawn(pool, produce(share, items, right), asio::detached);
        co_await select_from_two(*left, *right, never, items, sum);
        rep.stop(items);
        rep.expect(sum, items * (items - 1) / 2);
    });
}

void select_fanin8(repetition& rep)
{
    one_thread_only(rep);
    run(rep, [&](executor pool) -> task<> {
        const std::int64_t share = rep.amount(250'000);
        const std::int64_t items = 8 * share;
        std::array<shared_channel, 8> in;
        for (shared_channel& each : in)
            each = make_channel(pool, 0);
        std::int64_t sum = 0, got = 0;
        rep.start();
        for (int i = 0; i < 8; ++i)
            asio::co_spawn(pool, produce(i * share, (i + 1) * share, in[static_cast<std::size_t>(i)]),
                           asio::detached);
        while (got < items) {
            const auto [order, e0, v0, e1, v1, e2, v2, e3, v3, e4, v4, e5, v5, e6, v6, e7, v7] =
                co_await asio::experimental::make_parallel_group(
                    in[0]->async_receive(deferred), in[1]->async_receive(deferred),
                    in[2]->async_receive(deferred), in[3]->async_receive(deferred),
                    in[4]->async_receive(deferred), in[5]->async_receive(deferred),
                    in[6]->async_receive(deferred), in[7]->async_receive(deferred))
                    .async_wait(asio::experimental::wait_for_one(), use_task);
            take(e0, v0, sum, got);
            take(e1, v1, sum, got);
            take(e2, v2, sum, got);
            take(e3, v3, sum, got);
            take(e4, v4, sum, got);
            take(e5, v5, sum, got);
            take(e6, v6, sum, got);
            take(e7, v7, sum, got);
        }
        rep.stop(items);
        rep.expect(sum, items * (items - 1) / 2);
    });
}

void select_default(repetition& rep, std::size_t channels)
{
    run(rep, [&](executor pool) -> task<> {
        const std::int64_t times = rep.amount(10'000'000);
        const shared_channel left = make_channel(pool, 1), right = make_channel(pool, 1);
        std::int64_t otherwise = 0;
        rep.start();
        for (std::int64_t i = 0; i < times; ++i)
            if (!try_receive(*left) && (channels == 1 || !try_receive(*right)))
                ++otherwise;
        rep.stop(times);
        rep.expect(otherwise, times);
        co_return;
    });
}

// ---- Locks ---------------------------------------------------------------------------------------

void unlock(event& mutex)
{
    mutex.try_receive([](error_code, std::int64_t) {});
}

task<> add_under(event& mutex, std::int64_t times, std::int64_t& count)
{
    for (std::int64_t i = 0; i < times; ++i) {
        if (!mutex.try_send(error_code{}, 1))
            co_await mutex.async_send(error_code{}, 1, use_task);
        ++count;
        unlock(mutex);
    }
}

void mutex_uncontended(repetition& rep)
{
    run(rep, [&](executor pool) -> task<> {
        const std::int64_t times = rep.amount(10'000'000);
        event mutex{pool, 1};
        std::int64_t count = 0;
        rep.start();
        co_await add_under(mutex, times, count);
        rep.stop(times);
        rep.expect(count, times);
    });
}

void mutex_contended(repetition& rep)
{
    run(rep, [&](executor pool) -> task<> {
        const std::int64_t times = rep.amount(500'000);
        event mutex{pool, 1};
        countdown done{pool, 8};
        std::int64_t count = 0;
        rep.start();
        for (int i = 0; i < 8; ++i)
            asio::co_spawn(pool, add_under(mutex, times, count), [&](std::exception_ptr) { done(); });
        co_await done.wait();
        rep.stop(8 * times);
        rep.expect(count, 8 * times);
    });
}

task<> visit(event& permits, std::int64_t times, std::atomic<std::int64_t>& visits)
{
    for (std::int64_t i = 0; i < times; ++i) {
        if (!permits.try_send(error_code{}, 1))
            co_await permits.async_send(error_code{}, 1, use_task);
        co_await asio::post(use_task);
        unlock(permits);
    }
    visits += times;
}

void semaphore(repetition& rep)
{
    run(rep, [&](executor pool) -> task<> {
        const std::int64_t times = rep.amount(20'000);
        event permits{pool, 4};
        countdown done{pool, 64};
        std::atomic<std::int64_t> visits = 0;
        rep.start();
        for (int i = 0; i < 64; ++i)
            asio::co_spawn(pool, visit(permits, times, visits), [&](std::exception_ptr) { done(); });
        co_await done.wait();
        rep.stop(64 * times);
        rep.expect(visits, 64 * times);
    });
}

// ---- Timers and handlers -------------------------------------------------------------------------

/// Starts a million handlers, a thousand at a time, and waits until all of these have run.
template <class Start>
task<> rounds_of_1000(repetition& rep, executor pool, Start begin)
{
    constexpr std::int64_t each = 1000;
    const std::int64_t rounds = rep.amount(1000);
    countdown count{pool, each};
    rep.start();
    for (std::int64_t i = 0; i < rounds; ++i) {
        count.restart(each);
        for (std::int64_t k = 0; k < each; ++k)
            begin(count);
        co_await count.wait();
    }
    rep.stop(rounds * each);
}

using timer = asio::basic_waitable_timer<std::chrono::steady_clock,
                                         asio::wait_traits<std::chrono::steady_clock>, executor>;

void churn_timers(repetition& rep)
{
    run(rep, [&](executor pool) -> task<> {
        co_await rounds_of_1000(rep, pool, [=](countdown& count) {
            timer armed{pool, 1h};
            armed.async_wait([&count](error_code why) {
                if (why == asio::error::operation_aborted)
                    count();
            });
            armed.cancel();
        });
    });
}

void post(repetition& rep)
{
    run(rep, [&](executor pool) -> task<> {
        co_await rounds_of_1000(rep, pool,
                                [=](countdown& count) { asio::post(pool, [&count] { count(); }); });
    });
}

task<> touch(countdown& count)
{
    count();
    co_return;
}

void co_spawn(repetition& rep)
{
    run(rep, [&](executor pool) -> task<> {
        co_await rounds_of_1000(
            rep, pool, [=](countdown& count) { asio::co_spawn(pool, touch(count), asio::detached); });
    });
}

task<> sleep(std::chrono::microseconds span, std::chrono::nanoseconds& late, countdown& done)
{
    const auto due = std::chrono::steady_clock::now() + span;
    timer alarm{co_await run_here, due};
    co_await alarm.async_wait(use_task);
    late = std::chrono::steady_clock::now() - due;
    done();
}

void sleep_many(repetition& rep)
{
    run(rep, [&](executor pool) -> task<> {
        const std::int64_t tasks = rep.amount(100'000);
        std::mt19937 random{42};
        std::uniform_int_distribution<int> span{1000, rep.quick() ? 20'000 : 1'000'000};
        std::vector<std::chrono::nanoseconds> late(static_cast<std::size_t>(tasks), -1ns);
        countdown done{pool, tasks};
        const auto before = peer::processor_time();
        for (auto& each : late)
            asio::co_spawn(pool, sleep(std::chrono::microseconds{span(random)}, each, done), asio::detached);
        co_await done.wait();
        const auto used = peer::processor_time() - before;
        rep.expect(std::count_if(late.begin(), late.end(), [](auto each) { return each >= 0ns; }), tasks);
        const auto p99 = late.begin() + tasks * 99 / 100;
        std::nth_element(late.begin(), p99, late.end());
        rep.value(std::chrono::duration<double, std::milli>{used}.count());
        rep.also("p99_late_us", std::chrono::duration<double, std::micro>{*p99}.count());
    });
}

task<> park(event& never, std::atomic<std::int64_t>& parked, countdown& ended)
{
    ++parked;
    co_await never.async_receive(as_tuple);
    ended();
}

/// Parks tasks on a receive, looks at them, and lets them end.
template <class Look>
task<> with_parked(executor pool, std::int64_t tasks, Look look)
{
    event never{pool, 0};
    std::atomic<std::int64_t> parked = 0;
    countdown ended{pool, tasks};
    for (std::int64_t i = 0; i < tasks; ++i)
        asio::co_spawn(pool, park(never, parked, ended), asio::detached);
    timer pause{pool};
    do {
        pause.expires_after(50ms);
        co_await pause.async_wait(use_task);
    } while (parked < tasks);
    co_await look();
    never.close();
    co_await ended.wait();
}

void mem_parked(repetition& rep)
{
    run(rep, [&](executor pool) -> task<> {
        const std::int64_t tasks = rep.amount(1'000'000);
        const std::int64_t before = peer::resident_bytes();
        co_await with_parked(pool, tasks, [&]() -> task<> {
            rep.value(static_cast<double>(peer::resident_bytes() - before) / static_cast<double>(tasks));
            co_return;
        });
    });
}

void idle(repetition& rep)
{
    run(rep, [&](executor pool) -> task<> {
        co_await with_parked(pool, rep.amount(100'000), [&]() -> task<> {
            const auto before = peer::processor_time();
            timer pause{pool, rep.quick() ? 10ms : 10'000ms};
            co_await pause.async_wait(use_task);
            const auto used = peer::processor_time() - before;
            rep.value(std::chrono::duration<double, std::milli>{used}.count());
        });
    });
}

}  // namespace

int main(int argc, char** argv)
{
    using peer::start;
    return peer::program(
        argc, argv, "asio",
        {{"call_overhead", "ns", call_overhead},
         {"spawn_join", "ns/task", spawn_join},
         {"yield", "ns", yield},
         {"chan_pingpong", "ns/round trip", pingpong},
         {"chan_spsc.cap128", "ns/item", [](repetition& rep) { pass(rep, 10'000'000, 128, 1, 1); }},
         {"chan_spsc.cap1", "ns/item", [](repetition& rep) { pass(rep, 10'000'000, 1, 1, 1); }},
         {"chan_mpmc", "ns/item", [](repetition& rep) { pass(rep, 4'000'000, 64, 4, 4); }},
         {"chan_unbuffered_mpmc", "ns/item", [](repetition& rep) { pass(rep, 4'000'000, 0, 4, 4); }},
         {"select_recv2", "ns/item", select_recv2},
         {"select_fanin8", "ns/item", select_fanin8},
         {"select_default.1ch", "ns", [](repetition& rep) { select_default(rep, 1); }},
         {"select_default.2ch", "ns", [](repetition& rep) { select_default(rep, 2); }},
         {"mutex_uncontended", "ns", mutex_uncontended},
         {"mutex_contended", "ns/op", mutex_contended},
         {"semaphore", "ns/op", semaphore},
         {"timer_churn.timer", "ns", churn_timers},
         {"sleep_many", "CPU ms", sleep_many, start::cold},
         {"skynet_chan", "ms", skynet_chan},
         {"skynet_join", "ms", skynet_join},
         {"fib", "ms", fib},
         {"mem_parked", "B/task", mem_parked, start::cold},
         {"pipeline_5", "ns/item", pipeline_5},
         {"fan_out_in_8", "ns/item", fan_out_in_8},
         {"prime_sieve", "ms", prime_sieve},
         {"idle", "CPU ms", idle, start::cold},
         {"asio_post", "ns", post},
         {"asio_timer", "ns", churn_timers},
         {"co_spawn", "ns", co_spawn},
         {"echo_c1", "msgs/s", [](repetition& rep) { echo(rep, 1, 20'000); }},
         {"echo_c64", "msgs/s", [](repetition& rep) { echo(rep, 64, 400'000); }},
         {"echo_c1000", "msgs/s", [](repetition& rep) { echo(rep, 1000, 400'000); }},
         {"accept_rate", "connections/s", accept_rate}});
}
