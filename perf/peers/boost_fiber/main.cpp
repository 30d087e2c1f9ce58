// The rows of ../../ in Boost.Fiber: fibers with stacks of their own, its channels and its synchronisation. With one
// worker they share a round-robin scheduler; with more, shared_work lets any thread take a fiber that is ready.
#include "../peer.hpp"

#include <boost/fiber/all.hpp>

#include <array>
#include <atomic>
#include <memory>
#include <thread>
#include <utility>

#include <malloc.h>

namespace {

namespace fibers = boost::fibers;
using peer::repetition;

/// Fibers are many and small: stacks of 16 KiB, taken back and used again.
using stacks = fibers::pooled_fixedsize_stack;
constexpr std::size_t stack_size = 16 * 1024;

/// Each thread takes stacks from a pool of its own.
stacks& stacks_here()
{
    thread_local stacks pool{stack_size};
    return pool;
}

/// A stack may go back on another thread than that which took it, which a pool does not allow: with more workers each
/// comes from the system.
template <class Work>
fibers::fiber start_fiber(const repetition& rep, Work work)
{
    if (rep.workers() == 1)
        return fibers::fiber{fibers::launch::post, std::allocator_arg, stacks_here(), std::move(work)};
    return fibers::fiber{fibers::launch::post, std::allocator_arg, fibers::fixedsize_stack{stack_size},
                         std::move(work)};
}

/// Runs work in the main fiber, and the fibers that it starts on as many threads as there are workers.
template <class Work>
void run(const repetition& rep, Work work)
{
    if (rep.workers() == 1) {
        work();
        return;
    }
    std::atomic<int> registered = 1;
    std::atomic<bool> over = false;
    fibers::mutex mutex;
    fibers::condition_variable_any ended;
    std::vector<std::jthread> threads;
    for (int i = 1; i < rep.workers(); ++i)
        threads.emplace_back([&] {
            fibers::use_scheduling_algorithm<fibers::algo::shared_work>(true);
            ++registered;
            std::unique_lock lock{mutex};
            ended.wait(lock, [&] { return over.load(); });
        });
    // The row's repetitions share the main thread, which registers but once.
    static thread_local const bool shares_work =
        (fibers::use_scheduling_algorithm<fibers::algo::shared_work>(true), true);
    static_cast<void>(shares_work);
    while (registered < rep.workers())
        std::this_thread::yield();
    work();
    {
        const std::unique_lock lock{mutex};
        over = true;
    }
    ended.notify_all();
}

/// Runs work(0), work(1), ..., each in a fiber, and waits for all.
template <class Work>
void in_fibers(const repetition& rep, int count, Work work)
{
    std::vector<fibers::fiber> started;
    for (int i = 0; i < count; ++i)
        started.push_back(start_fiber(rep, [&work, i] { work(i); }));
    for (fibers::fiber& each : started)
        each.join();
}

// ---- Fibers --------------------------------------------------------------------------------------

// A thousand at a time: a million stacks are more than what the system allows.
void spawn_join(repetition& rep)
{
    run(rep, [&] {
        const std::int64_t tasks = rep.amount(1'000'000);
        std::vector<char> marks(static_cast<std::size_t>(tasks));
        std::vector<fibers::fiber> started;
        rep.start();
        for (char& place : marks) {
            started.push_back(start_fiber(rep, [&place] { place = 1; }));
            if (started.size() == 1000) {
                for (fibers::fiber& each : started)
                    each.join();
                started.clear();
            }
        }
        for (fibers::fiber& each : started)
            each.join();
        rep.stop(tasks);
        rep.expect(std::count(marks.begin(), marks.end(), 1), tasks);
    });
}

void yield(repetition& rep)
{
    run(rep, [&] {
        const std::int64_t each = rep.amount(2'000'000);
        std::atomic<std::int64_t> done = 0;
        rep.start();
        in_fibers(rep, 2, [&](int) {
            std::int64_t n = 0;
            for (; n < each; ++n)
                boost::this_fiber::yield();
            done += n;
        });
        rep.stop(2 * each);
        rep.expect(done, 2 * each);
    });
}

// ---- Channels ------------------------------------------------------------------------------------

using buffered = fibers::buffered_channel<std::int64_t>;
using unbuffered = fibers::unbuffered_channel<std::int64_t>;

template <class Channel>
std::int64_t sum_of(Channel& in)
{
    std::int64_t sum = 0;
    for (std::int64_t item = 0; in.pop(item) == fibers::channel_op_status::success;)
        sum += item;
    return sum;
}

template <class In, class Out>
void pass_on(In& in, Out& out)
{
    for (std::int64_t item = 0; in.pop(item) == fibers::channel_op_status::success;)
        out.push(item + 1);
}

void pingpong(repetition& rep)
{
    run(rep, [&] {
        const std::int64_t rounds = rep.amount(1'000'000);
        unbuffered there, back;
        fibers::fiber other = start_fiber(rep, [&] { pass_on(there, back); });
        std::int64_t ball = 0;
        // A fiber of its own, as the main fiber never leaves its thread.
        fibers::fiber player = start_fiber(rep, [&] {
            rep.start();
            for (std::int64_t i = 0; i < rounds; ++i) {
                there.push(ball);
                back.pop(ball);
            }
            rep.stop(rounds);
            there.close();
        });
        player.join();
        other.join();
        rep.expect(ball, rounds);
    });
}

template <class Channel>
void pass(repetition& rep, std::int64_t full, Channel& through, int producers, int consumers)
{
    run(rep, [&] {
        const std::int64_t share = rep.amount(full / producers);
        const std::int64_t items = share * producers;
        std::atomic<std::int64_t> sum = 0;
        std::atomic<int> producing = producers;
        rep.start();
        in_fibers(rep, producers + consumers, [&](int task) {
            if (task < consumers) {
                sum += sum_of(through);
                return;
            }
            const std::int64_t first = (task - consumers) * share;
            for (std::int64_t item = first; item < first + share; ++item)
                through.push(item);
            if (--producing == 0)
                through.close();
        });
        rep.stop(items);
        rep.expect(sum, items * (items - 1) / 2);
    });
}

// A buffered channel keeps one of its slots free.
void pass_buffered(repetition& rep, std::int64_t full, std::size_t capacity, int producers, int consumers)
{
    buffered through{capacity};
    pass(rep, full, through, producers, consumers);
}

void pass_unbuffered(repetition& rep)
{
    unbuffered through;
    pass(rep, 4'000'000, through, 4, 4);
}

void select_default_1(repetition& rep)
{
    const std::int64_t times = rep.amount(10'000'000);
    buffered empty{2};
    std::int64_t otherwise = 0;
    rep.start();
    for (std::int64_t i = 0, item = 0; i < times; ++i)
        otherwise += empty.try_pop(item) == fibers::channel_op_status::empty;
    rep.stop(times);
    rep.expect(otherwise, times);
}

void pipeline_5(repetition& rep)
{
    run(rep, [&] {
        const std::int64_t items = rep.amount(1'000'000);
        std::array<unbuffered, 4> between;
        std::int64_t sum = 0;
        rep.start();
        in_fibers(rep, 5, [&](int stage) {
            const auto next = static_cast<std::size_t>(stage);
            if (stage == 0)
                for (std::int64_t item = 0; item < items; ++item)
                    between[0].push(item);
            else if (stage < 4)
                pass_on(between[next - 1], between[next]);
            else
                sum = sum_of(between[3]);
            if (stage < 4)
                between[next].close();
        });
        rep.stop(items);
        rep.expect(sum, items * (items - 1) / 2 + 3 * items);
    });
}

void fan_out_in_8(repetition& rep)
{
    run(rep, [&] {
        const std::int64_t items = rep.amount(1'000'000);
        unbuffered work, results;
        std::atomic<int> working = 8;
        std::int64_t sum = 0;
        rep.start();
        in_fibers(rep, 10, [&](int task) {
            if (task == 0) {
                for (std::int64_t item = 0; item < items; ++item)
                    work.push(item);
                work.close();
            } else if (task <= 8) {
                pass_on(work, results);
                if (--working == 0)
                    results.close();
            } else {
                sum = sum_of(results);
            }
        });
        rep.stop(items);
        rep.expect(sum, items * (items - 1) / 2 + items);
    });
}

void prime_sieve(repetition& rep)
{
    run(rep, [&] {
        const std::int64_t primes = rep.depth(2000, 200, 40);
        std::vector<std::unique_ptr<unbuffered>> channels;
        for (std::int64_t i = 0; i <= primes; ++i)
            channels.push_back(std::make_unique<unbuffered>());
        std::vector<fibers::fiber> filters;
        rep.start();
        filters.push_back(start_fiber(rep, [&out = *channels[0]] {
            for (std::int64_t number = 2; out.push(number) == fibers::channel_op_status::success;)
                ++number;
        }));
        std::int64_t prime = 0;
        for (std::size_t i = 0; i < static_cast<std::size_t>(primes); ++i) {
            channels[i]->pop(prime);
            filters.push_back(start_fiber(rep, [&in = *channels[i], &out = *channels[i + 1], prime] {
                for (std::int64_t number = 0; in.pop(number) == fibers::channel_op_status::success;)
                    if (number % prime != 0 && out.push(number) != fibers::channel_op_status::success)
                        break;
                in.close();
            }));
        }
        rep.stop(1);
        channels.back()->close();
        for (fibers::fiber& each : filters)
            each.join();
        rep.expect(prime, primes == 2000 ? 17389 : primes == 200 ? 1223 : 173);
    });
}

// ---- Locks ---------------------------------------------------------------------------------------

void mutex_uncontended(repetition& rep)
{
    const std::int64_t times = rep.amount(10'000'000);
    fibers::mutex mutex;
    std::int64_t count = 0;
    rep.start();
    for (std::int64_t i = 0; i < times; ++i) {
        const std::unique_lock lock{mutex};
        ++count;
    }
    rep.stop(times);
    rep.expect(count, times);
}

void mutex_contended(repetition& rep)
{
    run(rep, [&] {
        const std::int64_t times = rep.amount(500'000);
        fibers::mutex mutex;
        std::int64_t count = 0;
        rep.start();
        in_fibers(rep, 8, [&](int) {
            for (std::int64_t i = 0; i < times; ++i) {
                const std::unique_lock lock{mutex};
                ++count;
            }
        });
        rep.stop(8 * times);
        rep.expect(count, 8 * times);
    });
}

}  // namespace

int main(int argc, char** argv)
{
    // Stacks come and go by the thousand: the heap shall not be given back to the system each time.
    mallopt(M_TRIM_THRESHOLD, 1 << 30);
    return peer::program(
        argc, argv, "boost_fiber",
        {{"spawn_join", "ns/task", spawn_join},
         {"yield", "ns", yield},
         {"chan_pingpong", "ns/round trip", pingpong},
         {"chan_spsc.cap128", "ns/item", [](repetition& rep) { pass_buffered(rep, 10'000'000, 128, 1, 1); }},
         {"chan_spsc.cap1", "ns/item", [](repetition& rep) { pass_buffered(rep, 10'000'000, 2, 1, 1); }},
         {"chan_mpmc", "ns/item", [](repetition& rep) { pass_buffered(rep, 4'000'000, 64, 4, 4); }},
         {"chan_unbuffered_mpmc", "ns/item", pass_unbuffered},
         {"select_default.1ch", "ns", select_default_1},
         {"mutex_uncontended", "ns", mutex_uncontended},
         {"mutex_contended", "ns/op", mutex_contended},
         {"pipeline_5", "ns/item", pipeline_5},
         {"fan_out_in_8", "ns/item", fan_out_in_8},
         {"prime_sieve", "ms", prime_sieve}});
}
