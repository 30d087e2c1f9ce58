// Conservation: whatever is sent is received once, or is still its owner's, however much goes wrong meanwhile.
//
// Producers and consumers meet on a few channels of different capacities, in every way that there is: plain sends and
// receives, selects of several, with time limits, with cancellations that race with them, with channels that are
// closed under way, from tasks and from threads. Each value is numbered and move-only.
#include "support/parcel.hpp"
#include "support/rounds.hpp"

#include <leat/leat.hpp>

#include <doctest/doctest.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <optional>
#include <random>
#include <thread>
#include <utility>
#include <vector>

using namespace std::chrono_literals;
using test::parcel;
using test::rounds;

namespace {

/// Cheap random numbers, one sequence for each task.
class dice {
public:
    dice(std::uint64_t seed, std::uint64_t who) noexcept
        : state_{seed * 0x9e3779b97f4a7c15U + who * 0xd1b54a32d192ed03U}
    {
    }
    std::size_t operator()(std::size_t bound) noexcept
    {
        // splitmix64
        std::uint64_t z = (state_ += 0x9e3779b97f4a7c15U);
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
        return static_cast<std::size_t>((z ^ (z >> 31)) % bound);
    }
    std::chrono::microseconds span() noexcept
    {
        return std::chrono::microseconds{(*this)(200)};
    }

private:
    std::uint64_t state_;
};

/// The ways to send or receive, which a run has to have gone through.
enum way : std::size_t {
    plain,    ///< one operation
    several,  ///< a select of several
    limited,  ///< with a time limit, as a case of a select
    at_once,  ///< select with otherwise
    timed,    ///< under a timeout
    raced,    ///< with a cancellation that races with it
    tried,    ///< try_
    blocked,  ///< from a thread of none
    drained,  ///< from the buffers, when everybody had gone
    way_count
};

/// What has become of each value.
class ledger {
public:
    explicit ledger(int values) : seen_(static_cast<std::size_t>(values))
    {
    }
    /// The owner has tried to send it and has given up or succeeded.
    void settled(bool was_sent, int value) noexcept
    {
        (was_sent ? sent_ : returned_).fetch_add(1, std::memory_order_relaxed);
        note(value, was_sent ? sent_once : returned_once);
    }
    /// One attempt to send it has been made.
    void attempted(way how, bool was_sent) noexcept
    {
        (was_sent ? sent_by_ : returned_by_)[how].fetch_add(1, std::memory_order_relaxed);
    }
    void received(const parcel& what, way how) noexcept
    {
        received_.fetch_add(1, std::memory_order_relaxed);
        received_by_[how].fetch_add(1, std::memory_order_relaxed);
        if (!what.full())
            wrong_.fetch_add(1, std::memory_order_relaxed);
        else
            note(what.value(), received_once);
    }

    void check() const
    {
        const long sent = sent_.load();
        const long returned = returned_.load();
        CHECK(sent + returned == static_cast<long>(seen_.size()));
        CHECK(received_.load() == sent);
        long wrong = wrong_.load();
        for (const std::atomic<std::uint8_t>& each : seen_) {
            const std::uint8_t how = each.load(std::memory_order_relaxed);
            wrong += how == returned_once || how == (sent_once | received_once) ? 0 : 1;
        }
        CHECK(wrong == 0);
        CHECK(parcel::live() == 0);
    }
    long sent() const noexcept
    {
        return sent_.load();
    }
    /// That values were sent in each of these ways, and in each that has to be able to fail returned; and
    /// received in each of the others.
    void check_ways(std::initializer_list<way> sent, std::initializer_list<way> returned,
                    std::initializer_list<way> received) const
    {
        CHECK(received_.load() > 0);
        CHECK(sent_.load() > 0);
        CHECK(returned_.load() > 0);
        for (const way how : sent) {
            INFO("sent, way ", how);
            CHECK(sent_by_[how].load() > 0);
        }
        for (const way how : returned) {
            INFO("returned, way ", how);
            CHECK(returned_by_[how].load() > 0);
        }
        for (const way how : received) {
            INFO("received, way ", how);
            CHECK(received_by_[how].load() > 0);
        }
    }

private:
    static constexpr std::uint8_t sent_once = 1;
    static constexpr std::uint8_t returned_once = 2;
    static constexpr std::uint8_t received_once = 4;

    void note(int value, std::uint8_t what) noexcept
    {
        if ((seen_[static_cast<std::size_t>(value)].fetch_or(what, std::memory_order_relaxed) & what) != 0)
            wrong_.fetch_add(1, std::memory_order_relaxed);
    }

    std::vector<std::atomic<std::uint8_t>> seen_;
    std::array<std::atomic<long>, way_count> sent_by_{};
    std::array<std::atomic<long>, way_count> returned_by_{};
    std::array<std::atomic<long>, way_count> received_by_{};
    std::atomic<long> sent_{0};
    std::atomic<long> returned_{0};
    std::atomic<long> received_{0};
    std::atomic<long> wrong_{0};
};

class market {
public:
    market(int values, std::uint64_t seed_) : seed{seed_}, book{values}
    {
        channels.emplace_back(0);
        channels.emplace_back(1);
        channels.emplace_back(8);
        channels.emplace_back(leat::unbounded);
    }
    void close_all() const noexcept
    {
        for (const leat::channel<parcel>& ch : channels)
            ch.close();
    }
    bool all_closed() const noexcept
    {
        for (const leat::channel<parcel>& ch : channels)
            if (!ch.closed())
                return false;
        return true;
    }
    /// What was still in the buffers when everybody had gone.
    void drain()
    {
        for (const leat::channel<parcel>& ch : channels)
            while (leat::result<parcel> left = ch.try_recv())
                book.received(*left, drained);
    }

    std::uint64_t seed;
    ledger book;
    std::vector<leat::channel<parcel>> channels;
};

leat::task<> send_to(const leat::channel<parcel>& to, parcel& what)
{
    co_await to.send(std::move(what));
}

leat::task<std::optional<parcel>> recv_from(const leat::channel<parcel>& from)
{
    co_return co_await from.recv();
}

/// Runs a task under a context that somebody cancels meanwhile, on another worker if there is one.
template <class T>
leat::task<leat::result<T>> racing_with_cancel(leat::task<T> what, std::size_t delay)
{
    leat::cancellable_context limited = leat::with_cancel();
    auto cancels = [&, delay]() -> leat::task<> {
        for (std::size_t i = 0; i < delay; ++i)
            co_await leat::this_task::yield();
        limited.second();
    };
    auto canceller = leat::spawn(cancels, {.context = leat::background()});
    leat::result<T> got = co_await leat::as_result(leat::with_context(limited.first, std::move(what)));
    co_await canceller;
    co_return got;
}

/// One attempt to get rid of a value, in one of many ways. Afterwards it is full, or it has been sent.
leat::task<> attempt(market& in, parcel& mine, dice& random)
{
    way how = tried;
    const leat::channel<parcel>& a = in.channels[random(in.channels.size())];
    const leat::channel<parcel>& b = in.channels[random(in.channels.size())];
    try {
        switch (random(7)) {
        case 0:
            how = plain;
            co_await a.send(std::move(mine));
            break;
        case 1:
            how = several;
            static_cast<void>(co_await leat::select(a.send(std::move(mine)), b.send(std::move(mine))));
            break;
        case 2:
            how = limited;
            static_cast<void>(co_await leat::select(a.send(std::move(mine)), leat::after(random.span()),
                                                    b.send(std::move(mine)), a.send(std::move(mine))));
            break;
        case 3:
            how = at_once;
            static_cast<void>(co_await leat::select(a.send(std::move(mine)), leat::otherwise()));
            break;
        case 4: {
            how = timed;
            const leat::result<> sent =
                co_await leat::as_result(leat::timeout(random.span(), send_to(a, mine)));
            static_cast<void>(sent);
            break;
        }
        case 5: {
            how = raced;
            const leat::result<> sent = co_await racing_with_cancel(send_to(a, mine), random(4));
            static_cast<void>(sent);
            break;
        }
        default: static_cast<void>(a.try_send(std::move(mine)));
        }
    } catch (const leat::channel_closed_error&) {
    }
    in.book.attempted(how, !mine.full());
}

leat::task<> produce(market& in, int from, int until, std::uint64_t who)
{
    dice random{in.seed, who};
    for (int value = from; value < until; ++value) {
        parcel mine{value};
        for (int tries = 0; tries < 3 && mine.full(); ++tries)
            co_await attempt(in, mine, random);
        in.book.settled(!mine.full(), value);
    }
}

leat::task<> consume(market& in, std::uint64_t who)
{
    dice random{in.seed, who};
    std::array<bool, 4> open{true, true, true, true};
    const std::vector<leat::channel<parcel>>& ch = in.channels;
    while (open[0] || open[1] || open[2] || open[3]) {
        const std::size_t which = random(4);
        const auto take = [&](std::size_t from, way how) {
            return [&, from, how](std::optional<parcel> got) {
                if (got)
                    in.book.received(*got, how);
                else
                    open[from] = false;
            };
        };
        switch (random(7)) {
        case 0:
        case 1:
            co_await leat::select(leat::on_if(open[0], ch[0].recv(), take(0, several)),
                                  leat::on_if(open[1], ch[1].recv(), take(1, several)),
                                  leat::on_if(open[2], ch[2].recv(), take(2, several)),
                                  leat::on_if(open[3], ch[3].recv(), take(3, several)));
            break;
        case 2:
            co_await leat::select(leat::on_if(open[which], ch[which].recv(), take(which, limited)),
                                  leat::on(leat::after(random.span()), [] {}),
                                  leat::on_if(open[0], ch[0].recv(), take(0, limited)));
            break;
        case 5:
            co_await leat::select(leat::on_if(open[which], ch[which].recv(), take(which, at_once)),
                                  leat::otherwise());
            break;
        case 3: {
            auto got = co_await leat::as_result(leat::timeout(random.span(), recv_from(ch[which])));
            if (got)
                take(which, timed)(std::move(*got));
            break;
        }
        case 4: {
            auto got = co_await racing_with_cancel(recv_from(ch[which]), random(4));
            if (got)
                take(which, raced)(std::move(*got));
            break;
        }
        default:
            if (leat::result<parcel> got = ch[which].try_recv())
                in.book.received(*got, tried);
            co_await leat::this_task::yield();
        }
    }
}

/// Takes from one channel only. (If those that take from several did that, too, all could wait on one channel
/// while all producers wait on another.)
leat::task<> consume_one(market& in, std::size_t which)
{
    const leat::channel<parcel> from = in.channels[which];
    while (std::optional<parcel> got = co_await from.recv())
        in.book.received(*got, plain);
}

/// Closes one channel after the other while the trade goes on.
leat::task<> close_now_and_then(market& in, int values)
{
    dice random{in.seed, 999};
    for (std::size_t i = 0; i < 2; ++i) {
        // After about a third, and two thirds, of what is there to be sent.
        while (in.book.sent() < values / 3 * static_cast<long>(i + 1) && !in.all_closed())
            co_await leat::sleep_for(50us);
        in.channels[random(in.channels.size())].close();
    }
}

leat::task<> trade(market& in, int values, int producers, int consumers, bool closing)
{
    const int each = values / producers;
    std::vector<leat::join_handle<>> making;
    std::vector<leat::join_handle<>> taking;
    for (int p = 0; p < producers; ++p)
        making.push_back(leat::spawn(produce(in, p * each, p + 1 == producers ? values : (p + 1) * each,
                                             static_cast<std::uint64_t>(p))));
    for (int c = 0; c < consumers; ++c)
        taking.push_back(leat::spawn(consume(in, static_cast<std::uint64_t>(100 + c))));
    taking.push_back(leat::spawn(consume_one(in, 2)));
    leat::join_handle<> closer;
    if (closing)
        closer = leat::spawn(close_now_and_then(in, values));
    for (auto& task : making)
        co_await task;
    in.close_all();
    for (auto& task : taking)
        co_await task;
    if (closer)
        co_await closer;
}

std::uint64_t fresh_seed()
{
    return std::random_device{}();
}

}  // namespace

TEST_CASE("conservation: in a world, under many seeds, everything sent is received once or returned")
{
    const int seeds = rounds(600);
    for (int seed = 1; seed <= seeds; ++seed) {
        CAPTURE(seed);
        const int values = 120;
        market in{values, static_cast<std::uint64_t>(seed)};
        {
            leat::sim::world world{static_cast<std::uint64_t>(seed)};
            world.run(trade(in, values, 1 + seed % 5, 1 + seed % 3, seed % 2 == 0));
            CHECK(world.live_tasks() == 0);
        }
        in.drain();
        in.book.check();
    }
}

TEST_CASE(
    "conservation: on a pool of 1, 2, 4 and 8 workers a million values are each received once or returned")
{
    for (const std::ptrdiff_t workers : {1, 2, 4, 8}) {
        const std::uint64_t seed = fresh_seed();
        CAPTURE(workers);
        CAPTURE(seed);
        const int values = rounds(1'000'000);
        market in{values, seed};
        leat::run(trade(in, values, 16, 8, workers != 2), {.workers = workers});
        in.drain();
        in.book.check();
        in.book.check_ways({plain, several, limited, at_once, timed, raced, tried},
                           {limited, at_once, timed, raced, tried},
                           {plain, several, limited, at_once, timed, raced, tried});
        if (workers != 2)
            in.book.check_ways({}, {plain, several}, {});
    }
}

TEST_CASE("conservation: between threads and tasks values are received once or returned")
{
    for (const std::ptrdiff_t workers : {1, 4}) {
        const std::uint64_t seed = fresh_seed();
        CAPTURE(workers);
        CAPTURE(seed);
        const int values = rounds(600'000);
        const int outside = values / 3;
        market in{values, seed};
        leat::runtime pool{{.workers = workers}};
        std::vector<std::thread> threads;
        std::array<std::atomic<long>, way_count> outside_sent{};
        std::atomic<long> outside_returned{0};
        std::atomic<int> producing{2};
        for (int t = 0; t < 2; ++t)
            threads.emplace_back([&, t] {
                dice random{seed, static_cast<std::uint64_t>(200 + t)};
                const int from = t == 0 ? 0 : outside / 2;
                const int until = t == 0 ? outside / 2 : outside;
                for (int value = from; value < until; ++value) {
                    parcel mine{value};
                    const leat::channel<parcel>& to = in.channels[random(in.channels.size())];
                    const way how = random(3) == 0 ? tried : blocked;
                    try {
                        if (how == tried)
                            static_cast<void>(to.try_send(std::move(mine)));
                        else
                            to.blocking_send(std::move(mine));
                    } catch (const leat::channel_closed_error&) {
                    }
                    outside_sent[how].fetch_add(!mine.full());
                    outside_returned.fetch_add(mine.full());
                    in.book.attempted(how, !mine.full());
                    in.book.settled(!mine.full(), value);
                }
                producing.fetch_sub(1);
            });
        for (std::size_t t = 0; t < 2; ++t)
            threads.emplace_back([&, t] {
                dice random{seed, 300 + t};
                while (std::optional<parcel> got = in.channels[t].blocking_recv()) {
                    in.book.received(*got, blocked);
                    if (random(4) == 0)
                        if (leat::result<parcel> more = in.channels[random(in.channels.size())].try_recv())
                            in.book.received(*more, tried);
                }
            });
        auto inside = [&]() -> leat::task<> {
            std::vector<leat::join_handle<>> making;
            std::vector<leat::join_handle<>> taking;
            for (int p = 0; p < 4; ++p) {
                const int share = (values - outside) / 4;
                const int from = outside + p * share;
                making.push_back(leat::spawn(
                    produce(in, from, p == 3 ? values : from + share, static_cast<std::uint64_t>(p))));
                taking.push_back(leat::spawn(consume(in, static_cast<std::uint64_t>(100 + p))));
            }
            for (auto& task : making)
                co_await task;
            while (producing.load() != 0)
                co_await leat::this_task::yield();
            in.close_all();
            for (auto& task : taking)
                co_await task;
        };
        pool.block_on(inside);
        for (std::thread& each : threads)
            each.join();
        in.drain();
        in.book.check();
        CHECK(outside_sent[tried] > 0);
        CHECK(outside_sent[blocked] > 0);
        CHECK(outside_returned > 0);
        in.book.check_ways({plain, several, limited, at_once, timed, raced, tried, blocked},
                           {limited, at_once, timed, raced, tried},
                           {several, limited, at_once, timed, raced, tried, blocked});
    }
}

TEST_CASE("conservation: closing at any moment leaves nothing in between")
{
    leat::runtime pool{{.workers = 4}};
    const int races = rounds(2'000);
    for (int i = 0; i < races; ++i) {
        const std::uint64_t seed = static_cast<std::uint64_t>(i) + 1;
        market in{8, seed};
        auto body = [&]() -> leat::task<> {
            auto first = leat::spawn(produce(in, 0, 4, 1));
            auto second = leat::spawn(produce(in, 4, 8, 2));
            auto taker = leat::spawn(consume(in, 3));
            dice random{seed, 4};
            for (std::size_t n = random(6); n != 0; --n)
                co_await leat::this_task::yield();
            in.close_all();
            co_await first;
            co_await second;
            co_await taker;
        };
        pool.block_on(body);
        in.drain();
        CAPTURE(seed);
        in.book.check();
    }
}
