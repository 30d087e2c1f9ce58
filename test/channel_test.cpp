// Channels: order, capacity, closing, cancelling, and whose a value is while it has not been sent.
//
// Much of this is what Go's own chan_test.go asks, put to leat.
#include "support/parcel.hpp"
#include "support/rounds.hpp"

#include <leat/leat.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <limits>
#include <memory>
#include <mutex>
#include <new>
#include <numeric>
#include <optional>
#include <random>
#include <ranges>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

using namespace std::chrono_literals;
using test::parcel;
using test::rounds;

namespace {

// ---- What a compiler can check -----------------------------------------------------------------

template <class H>
concept can_recv = requires(const H& h) { h.recv(); };
template <class H>
concept can_send = requires(const H& h) { h.send(1); };
template <class H>
concept can_send_lvalue = requires(const H& h, typename H::value_type& v) { h.send(v); };

static_assert(can_recv<leat::channel<int>> && can_send<leat::channel<int>>);
static_assert(can_send<leat::sender<int>> && !can_recv<leat::sender<int>>);
static_assert(can_recv<leat::receiver<int>> && !can_send<leat::receiver<int>>);
static_assert(can_send_lvalue<leat::channel<int>> && !can_send_lvalue<leat::channel<parcel>>);
static_assert(std::convertible_to<leat::channel<int>, leat::sender<int>>);
static_assert(std::convertible_to<leat::channel<int>, leat::receiver<int>>);
static_assert(!std::convertible_to<leat::sender<int>, leat::receiver<int>>);
static_assert(std::copyable<leat::channel<int>>);
static_assert(std::same_as<decltype(std::declval<leat::channel<void>>().blocking_recv()), bool>);

// ---- Values with something special about them --------------------------------------------------

/// May throw when moved, and does if asked to.
class throwing {
public:
    explicit throwing(int value) : value_{value}
    {
    }
    throwing(throwing&& other) noexcept(false) : value_{other.value_}
    {
        if (std::exchange(other.armed, false))
            throw std::runtime_error{"will not move"};
        other.value_ = -1;
    }
    throwing& operator=(throwing&& other) noexcept(false)
    {
        value_ = std::exchange(other.value_, -1);
        return *this;
    }
    int value() const noexcept
    {
        return value_;
    }
    bool armed = false;

private:
    int value_;
};

class no_default {
public:
    explicit no_default(std::string text) : text_{std::move(text)}
    {
    }
    const std::string& text() const noexcept
    {
        return text_;
    }

private:
    std::string text_;
};

struct alignas(64) aligned {
    int value = 0;

    bool is_aligned() const noexcept
    {
        return reinterpret_cast<std::uintptr_t>(this) % 64 == 0;
    }
};

/// Counts how often it is copied and moved.
class traced {
public:
    struct count {
        int copies = 0;
        int moves = 0;
    };
    explicit traced(count& to) noexcept : to_{&to}
    {
    }
    traced(const traced& other) noexcept : to_{other.to_}
    {
        ++to_->copies;
    }
    traced(traced&& other) noexcept : to_{other.to_}
    {
        ++to_->moves;
    }
    traced& operator=(const traced&) = delete;

private:
    count* to_;
};

// ---- Small tasks -------------------------------------------------------------------------------

leat::task<> send_range(leat::sender<int> to, int from, int until)
{
    for (int i = from; i < until; ++i)
        co_await to.send(i);
}

leat::task<> send_range_and_close(leat::sender<int> to, int from, int until)
{
    co_await send_range(to, from, until);
    to.close();
}

leat::task<std::vector<int>> drain(leat::receiver<int> from)
{
    std::vector<int> got;
    while (auto v = co_await from.recv())
        got.push_back(*v);
    co_return got;
}

std::vector<int> up_to(int end)
{
    std::vector<int> all(static_cast<std::size_t>(end));
    std::iota(all.begin(), all.end(), 0);
    return all;
}

/// One of every kind of capacity.
std::vector<leat::channel<int>> of_every_capacity()
{
    return {leat::channel<int>{},   leat::channel<int>{1},   leat::channel<int>{2},
            leat::channel<int>{10}, leat::channel<int>{100}, leat::channel<int>{leat::unbounded}};
}

/// How a send ended, and what was left of the value.
struct ending {
    bool ended = false;
    std::error_code error{};
    int left = -2;
};

leat::task<> send_parcel(leat::sender<parcel> to, int value, ending& out)
{
    parcel mine{value};
    const leat::result<> sent = co_await leat::as_result(to.send(std::move(mine)));
    out.ended = true;
    out.error = sent.error();
    out.left = mine.full() ? mine.value() : -1;
}

/// What a receive gave: a value, -1 for the end, or the error.
struct arrival {
    bool ended = false;
    std::error_code error{};
    int value = -2;
};

leat::task<> recv_parcel(leat::receiver<parcel> from, arrival& out)
{
    auto got = co_await leat::as_result(from.recv());
    out.ended = true;
    out.error = got.error();
    if (got)
        out.value = *got ? (*got)->value() : -1;
}

}  // namespace

// ---- Order and capacity ------------------------------------------------------------------------

TEST_CASE("channel: values arrive in the order they were sent, whatever the capacity")
{
    for (const leat::channel<int>& ch : of_every_capacity()) {
        CAPTURE(ch.capacity());
        leat::sim::world world;
        world.spawn(send_range_and_close(ch, 0, 1000));
        CHECK(world.run(drain(ch)) == up_to(1000));
        CHECK(world.live_tasks() == 0);
    }
}

TEST_CASE("channel: an unbuffered send is a rendezvous")
{
    leat::sim::world world;
    leat::channel<parcel> ch;
    ending sent;
    arrival got;

    world.spawn(send_parcel(ch, 7, sent));
    world.settle();
    CHECK_FALSE(sent.ended);
    CHECK(ch.size() == 0);
    CHECK(ch.capacity() == 0);

    world.spawn(recv_parcel(ch, got));
    world.settle();
    CHECK(sent.ended);
    CHECK(!sent.error);
    CHECK(sent.left == -1);
    CHECK(got.value == 7);

    // The other way round: the receiver is there first.
    sent = {};
    got = {};
    world.spawn(recv_parcel(ch, got));
    world.settle();
    CHECK_FALSE(got.ended);
    world.spawn(send_parcel(ch, 8, sent));
    world.settle();
    CHECK(sent.ended);
    CHECK(got.value == 8);
    CHECK(world.live_tasks() == 0);
}

TEST_CASE("channel: a buffer of n takes n values, and the next sender waits for the first to be received")
{
    for (const std::size_t capacity : {1U, 2U, 7U}) {
        CAPTURE(capacity);
        leat::sim::world world;
        leat::channel<parcel> ch{capacity};
        CHECK(ch.capacity() == capacity);
        CHECK(ch.empty());
        std::vector<ending> sent(capacity + 2);
        for (std::size_t i = 0; i < sent.size(); ++i) {
            world.spawn(send_parcel(ch, static_cast<int>(i), sent[i]));
            world.settle();
            CHECK(sent[i].ended == (i < capacity));
            CHECK(ch.size() == std::min(i + 1, capacity));
        }
        for (std::size_t i = 0; i < sent.size(); ++i) {
            arrival got;
            world.spawn(recv_parcel(ch, got));
            world.settle();
            CHECK(got.value == static_cast<int>(i));
            CHECK(sent[std::min(i + capacity, capacity + 1)].ended);
        }
        CHECK(ch.empty());
        CHECK(world.live_tasks() == 0);
    }
    CHECK(parcel::live() == 0);
}

TEST_CASE("channel: an unbounded one never makes a sender wait")
{
    leat::sim::world world;
    leat::channel<int> ch{leat::unbounded};
    world.run(send_range(ch, 0, 10'000));
    CHECK(ch.size() == 10'000);
    CHECK(ch.capacity() == std::numeric_limits<std::size_t>::max());
    ch.close();
    CHECK(world.run(drain(ch)) == up_to(10'000));
}

TEST_CASE("channel: the ring behaves like a deque, around and around")
{
    std::mt19937 random{20'231};
    for (int capacity = 1; capacity <= 5; ++capacity) {
        leat::channel<parcel> ch{capacity};
        std::deque<int> twin;
        int next = 0;
        for (int round = 0; round < 2000; ++round) {
            if (random() % 2 == 0) {
                parcel mine{next};
                const leat::result<> sent = ch.try_send(std::move(mine));
                REQUIRE(sent.has_value() == (twin.size() < static_cast<std::size_t>(capacity)));
                REQUIRE(mine.full() == !sent.has_value());
                if (sent)
                    twin.push_back(next++);
            } else {
                leat::result<parcel> got = ch.try_recv();
                REQUIRE(got.has_value() == !twin.empty());
                if (got) {
                    REQUIRE(got->value() == twin.front());
                    twin.pop_front();
                }
            }
            REQUIRE(ch.size() == twin.size());
            REQUIRE(parcel::live() == static_cast<long>(twin.size()));
        }
    }
    CHECK(parcel::live() == 0);
}

TEST_CASE("channel: waiting receivers are served in the order they came")
{
    leat::sim::world world;
    leat::channel<parcel> ch;
    std::vector<arrival> got(20);
    for (arrival& each : got) {
        world.spawn(recv_parcel(ch, each));
        world.settle();
    }
    for (int i = 0; i < 20; ++i)
        REQUIRE(ch.try_send(parcel{i}));
    world.settle();
    for (int i = 0; i < 20; ++i)
        CHECK(got[static_cast<std::size_t>(i)].value == i);
}

TEST_CASE("channel: waiting senders are served in the order they came")
{
    leat::sim::world world;
    leat::channel<parcel> ch{3};
    std::vector<ending> sent(20);
    for (std::size_t i = 0; i < sent.size(); ++i) {
        world.spawn(send_parcel(ch, static_cast<int>(i), sent[i]));
        world.settle();
    }
    for (int i = 0; i < 20; ++i)
        CHECK(ch.try_recv().value().value() == i);
    world.settle();
    CHECK(std::ranges::all_of(sent, [](const ending& e) { return e.ended && !e.error; }));
    CHECK(parcel::live() == 0);
}

TEST_CASE("channel: a waiter that was cancelled is passed over, and the order of the others stays")
{
    leat::sim::world world;
    leat::channel<parcel> ch;
    std::vector<arrival> got(10);
    std::vector<leat::join_handle<>> tasks;
    for (arrival& each : got) {
        tasks.push_back(world.spawn(recv_parcel(ch, each)));
        world.settle();
    }
    for (const std::size_t i : {0U, 4U, 5U, 9U})
        tasks[i].cancel();
    // Some are woken for the cancellation only after values have gone past them.
    for (int i = 0; i < 6; ++i)
        REQUIRE(ch.try_send(parcel{i}));
    world.settle();
    int next = 0;
    for (std::size_t i = 0; i < got.size(); ++i) {
        CAPTURE(i);
        REQUIRE(got[i].ended);
        if (i == 0 || i == 4 || i == 5 || i == 9)
            CHECK(got[i].error == leat::errc::cancelled);
        else
            CHECK(got[i].value == next++);
    }
    CHECK(ch.try_send(parcel{0}).error() == leat::errc::channel_full);
    CHECK(parcel::live() == 0);
}

// ---- Closing -----------------------------------------------------------------------------------

TEST_CASE("channel: after close a receiver drains the buffer, then sees the end, again and again")
{
    for (const leat::channel<int>& ch : of_every_capacity()) {
        CAPTURE(ch.capacity());
        leat::sim::world world;
        const int some = static_cast<int>(std::min<std::size_t>(ch.capacity(), 5));
        world.run(send_range(ch, 0, some));
        CHECK_FALSE(ch.closed());
        ch.close();
        ch.close();
        CHECK(ch.closed());
        CHECK(world.run(drain(ch)) == up_to(some));
        CHECK(world.run(drain(ch)).empty());
        CHECK(ch.try_recv().error() == leat::errc::channel_closed);
        CHECK(ch.blocking_recv() == std::nullopt);
    }
}

TEST_CASE("channel: a send on a closed channel throws, even if there is room, and the value stays")
{
    leat::sim::world world;
    leat::channel<parcel> ch{4};
    ch.close();
    auto body = [ch]() -> leat::task<> {
        parcel mine{5};
        bool thrown = false;
        try {
            co_await ch.send(std::move(mine));
        } catch (const leat::channel_closed_error& why) {
            thrown = why.code() == std::errc::broken_pipe;
        }
        CHECK(thrown);
        CHECK(mine.full());
    };
    world.run(body);
    parcel mine{6};
    CHECK(ch.try_send(std::move(mine)).error() == leat::errc::channel_closed);
    CHECK(mine.full());
    CHECK_THROWS_AS(ch.blocking_send(std::move(mine)), leat::channel_closed_error);
    CHECK(mine.full());
    CHECK(ch.empty());
}

TEST_CASE("channel: closing wakes every parked receiver with the end")
{
    leat::sim::world world;
    leat::channel<parcel> ch;
    std::vector<arrival> got(100);
    for (arrival& each : got)
        world.spawn(recv_parcel(ch, each));
    world.settle();
    ch.close();
    world.settle();
    CHECK(std::ranges::all_of(got, [](const arrival& a) { return a.ended && !a.error && a.value == -1; }));
    CHECK(world.live_tasks() == 0);
}

TEST_CASE("channel: closing wakes every parked sender, whose value stays its own, and keeps the buffer")
{
    leat::sim::world world;
    leat::channel<parcel> ch{2};
    std::vector<ending> sent(100);
    for (std::size_t i = 0; i < sent.size(); ++i) {
        world.spawn(send_parcel(ch, static_cast<int>(i), sent[i]));
        world.settle();
    }
    ch.close();
    world.settle();
    for (std::size_t i = 0; i < sent.size(); ++i) {
        CAPTURE(i);
        CHECK(sent[i].ended);
        if (i < 2)
            CHECK(!sent[i].error);
        else {
            CHECK(sent[i].error == leat::errc::channel_closed);
            CHECK(sent[i].left == static_cast<int>(i));
        }
    }
    CHECK(ch.try_recv().value().value() == 0);
    CHECK(ch.try_recv().value().value() == 1);
    CHECK(ch.try_recv().error() == leat::errc::channel_closed);
    CHECK(world.live_tasks() == 0);
    CHECK(parcel::live() == 0);
}

TEST_CASE("channel: when the last handle goes the channel closes, and whoever waits is told")
{
    leat::sim::world world;
    auto own = std::make_unique<leat::channel<int>>(1);
    const leat::channel<int>& ch = *own;
    std::vector<std::error_code> ends;
    // These keep no handle of their own.
    auto sends = [&]() -> leat::task<> {
        const auto sent = co_await leat::as_result(ch.send(1));
        ends.push_back(sent.error());
    };
    auto selects = [&]() -> leat::task<> {
        auto both = leat::select(ch.send(2), ch.send(3), leat::after(1h));
        bool closed = false;
        try {
            static_cast<void>(co_await std::move(both));
        } catch (const leat::channel_closed_error&) {
            closed = true;
        }
        CHECK(closed);
        ends.push_back(leat::errc::channel_closed);
    };
    for (int i = 0; i < 3; ++i) {
        world.spawn(sends);
        world.settle();
        world.spawn(selects);
        world.settle();
    }
    CHECK(ends.size() == 1);
    own.reset();
    world.settle();
    CHECK(ends.size() == 6);
    CHECK(std::count(ends.begin(), ends.end(), leat::make_error_code(leat::errc::channel_closed)) == 5);
    CHECK(world.now() == 0ns);
    CHECK(world.live_tasks() == 0);

    own = std::make_unique<leat::channel<int>>();
    int ended = 0;
    auto receives = [&]() -> leat::task<> {
        const std::optional<int> got = co_await own->recv();
        CHECK_FALSE(got.has_value());
        ++ended;
    };
    for (int i = 0; i < 3; ++i)
        world.spawn(receives);
    world.settle();
    own.reset();
    world.settle();
    CHECK(ended == 3);
}

TEST_CASE("channel: handles compare by the channel they name, and survive copying over themselves")
{
    leat::channel<int> a{1};
    leat::channel<int> b{1};
    CHECK(a != b);
    CHECK(leat::sender<int>{a} == leat::sender<int>{a});
    REQUIRE(a.try_send(1));
    leat::channel<int>& same = a;
    a = same;
    CHECK(a.size() == 1);
    b = a;
    CHECK(a == b);
    leat::channel<int> moved{std::move(b)};
    CHECK(moved.try_recv().value() == 1);
    a = leat::channel<int>{2};
    CHECK(a != moved);
    CHECK(a.capacity() == 2);
}

TEST_CASE("channel: values that nobody received go with the channel")
{
    for (const bool bounded : {true, false}) {
        leat::channel<parcel> ch =
            bounded ? leat::channel<parcel>{8} : leat::channel<parcel>{leat::unbounded};
        for (int i = 0; i < 8; ++i)
            REQUIRE(ch.try_send(parcel{i}));
        CHECK(ch.try_recv().value().value() == 0);
        CHECK(parcel::live() == 7);
    }
    CHECK(parcel::live() == 0);
}

TEST_CASE("channel: a capacity that is negative or absurd is refused")
{
    CHECK_THROWS_AS(leat::channel<int>{-1}, leat::usage_error);
    CHECK_THROWS_AS(leat::channel<void>{-1L}, leat::usage_error);
    CHECK_THROWS_AS(leat::channel<int>{std::numeric_limits<long long>::min()}, leat::usage_error);
    CHECK_THROWS_AS(leat::channel<int>{std::numeric_limits<std::size_t>::max()}, leat::usage_error);
    CHECK_THROWS_AS(leat::channel<int>{std::numeric_limits<std::ptrdiff_t>::max()}, leat::usage_error);
    CHECK(leat::channel<int>{std::int8_t{3}}.capacity() == 3);
    CHECK(leat::channel<int>{0U}.capacity() == 0);
}

// ---- Without waiting, and from threads ---------------------------------------------------------

TEST_CASE("channel: try_send and try_recv tell full and empty from closed, outside of every runtime")
{
    leat::channel<int> ch{1};
    CHECK(ch.try_recv().error() == leat::errc::channel_empty);
    CHECK(ch.try_recv().error() == std::errc::resource_unavailable_try_again);
    CHECK(ch.try_send(1));
    CHECK(ch.try_send(2).error() == leat::errc::channel_full);
    CHECK(ch.try_send(2).error() == std::errc::resource_unavailable_try_again);
    ch.close();
    CHECK(ch.try_send(2).error() == leat::errc::channel_closed);
    CHECK(ch.try_recv().value() == 1);
    CHECK(ch.try_recv().error() == leat::errc::channel_closed);

    leat::channel<int> none;
    CHECK(none.try_send(1).error() == leat::errc::channel_full);
    CHECK(none.try_recv().error() == leat::errc::channel_empty);
}

TEST_CASE("channel: try_send and try_recv meet the other side where it waits")
{
    leat::sim::world world;
    leat::channel<parcel> ch;
    arrival got;
    world.spawn(recv_parcel(ch, got));
    world.settle();
    CHECK(ch.try_send(parcel{3}));
    CHECK(ch.try_send(parcel{4}).error() == leat::errc::channel_full);
    world.settle();
    CHECK(got.value == 3);

    ending sent;
    world.spawn(send_parcel(ch, 5, sent));
    world.settle();
    CHECK(ch.try_recv().value().value() == 5);
    CHECK(ch.try_recv().error() == leat::errc::channel_empty);
    world.settle();
    CHECK(sent.ended);
    CHECK(parcel::live() == 0);
}

TEST_CASE("channel<void>: carries signals")
{
    leat::sim::world world;
    leat::channel<void> ch{2};
    CHECK(ch.try_recv().error() == leat::errc::channel_empty);
    CHECK(ch.try_send());
    CHECK(ch.try_send());
    CHECK(ch.try_send().error() == leat::errc::channel_full);
    CHECK(ch.size() == 2);
    CHECK(ch.try_recv());
    CHECK(ch.blocking_recv());
    ch.blocking_send();
    CHECK(ch.size() == 1);

    int signals = 0;
    auto listen = [&]() -> leat::task<int> {
        int heard = 0;
        while (bool more = co_await ch.recv())
            heard += more ? 1 : 0;
        signals = heard;
        co_return heard;
    };
    auto speak = [&]() -> leat::task<> {
        for (int i = 0; i < 9; ++i)
            co_await ch.send();
        ch.close();
        const leat::result<> late = co_await leat::as_result(ch.send());
        CHECK(late.error() == leat::errc::channel_closed);
    };
    world.spawn(speak);
    CHECK(world.run(listen) == 10);
    CHECK(signals == 10);
    CHECK(ch.try_recv().error() == leat::errc::channel_closed);
    CHECK_FALSE(ch.blocking_recv());
    CHECK_THROWS_AS(ch.blocking_send(), leat::channel_closed_error);
}

TEST_CASE("channel: plain threads exchange values through the blocking forms")
{
    for (const leat::channel<int>& ch : of_every_capacity()) {
        const int count = rounds(5'000);
        std::thread source{[&] {
            for (int i = 0; i < count; ++i)
                ch.blocking_send(i);
            ch.close();
        }};
        std::vector<int> got;
        while (const std::optional<int> v = ch.blocking_recv())
            got.push_back(*v);
        source.join();
        CHECK(got == up_to(count));
    }
}

TEST_CASE("channel: plain threads and tasks exchange values, both ways")
{
    leat::runtime pool{{.workers = 2}};
    leat::channel<parcel> there;
    leat::channel<parcel> back{1};
    auto echo = [&]() -> leat::task<> {
        while (auto v = co_await there.recv())
            co_await back.send(std::move(*v));
        back.close();
    };
    auto served = pool.spawn(echo);
    const int count = rounds(5'000);
    std::thread source{[&] {
        for (int i = 0; i < count; ++i)
            there.blocking_send(parcel{i});
        there.close();
    }};
    int expected = 0;
    bool in_order = true;
    while (const std::optional<parcel> v = back.blocking_recv())
        in_order = in_order && v->value() == expected++;
    source.join();
    CHECK(in_order);
    CHECK(expected == count);
    pool.block_on([&]() -> leat::task<> { co_await served; });
    CHECK(parcel::live() == 0);
}

TEST_CASE("channel: closing releases threads that block on either side, their values theirs")
{
    leat::channel<parcel> ch;
    std::vector<std::thread> threads;
    std::atomic<int> began{0};
    std::atomic<int> kept{0};
    for (int i = 0; i < 4; ++i)
        threads.emplace_back([&, i] {
            parcel mine{i};
            began.fetch_add(1);
            try {
                ch.blocking_send(std::move(mine));
            } catch (const leat::channel_closed_error&) {
                kept += mine.full() && mine.value() == i ? 1 : 0;
            }
        });
    while (began.load() != 4)
        std::this_thread::yield();
    ch.close();
    for (std::thread& each : threads)
        each.join();
    CHECK(kept.load() == 4);

    leat::channel<int> other;
    std::atomic<int> ended{0};
    threads.clear();
    for (int i = 0; i < 4; ++i)
        threads.emplace_back([&] { ended += other.blocking_recv() ? 0 : 1; });
    other.close();
    for (std::thread& each : threads)
        each.join();
    CHECK(ended.load() == 4);
}

TEST_CASE("channel: blocking in a task is refused, on the pool and in a world")
{
    leat::channel<int> ch{1};
    auto body = [&]() -> leat::task<int> {
        int refusals = 0;
        try {
            ch.blocking_send(1);
        } catch (const leat::usage_error& why) {
            refusals += std::string{why.what()}.find("co_await") != std::string::npos ? 1 : 0;
        }
        try {
            static_cast<void>(ch.blocking_recv());
        } catch (const leat::usage_error&) {
            ++refusals;
        }
        co_return refusals;
    };
    CHECK(leat::run(body, {.workers = 1}) == 2);
    leat::sim::world world;
    CHECK(world.run(body) == 2);
    CHECK(ch.empty());
}

// ---- What a value may be -----------------------------------------------------------------------

TEST_CASE("channel: values may be move-only, without default constructor, and large")
{
    struct large {
        std::array<int, 2000> numbers{};
    };
    leat::sim::world world;
    for (const int capacity : {0, 1, 3}) {
        leat::channel<std::unique_ptr<int>> pointers{capacity};
        leat::channel<no_default> texts{capacity};
        leat::channel<large> bulk{capacity};
        auto send = [&]() -> leat::task<> {
            for (int i = 0; i < 10; ++i) {
                co_await pointers.send(std::make_unique<int>(i));
                co_await texts.send(no_default{std::to_string(i)});
                auto big = std::make_unique<large>();
                big->numbers[1999] = i;
                co_await bulk.send(*big);
            }
        };
        auto recv = [&]() -> leat::task<> {
            for (int i = 0; i < 10; ++i) {
                const auto p = co_await pointers.recv();
                const auto t = co_await texts.recv();
                const auto b = co_await bulk.recv();
                CHECK(**p == i);
                CHECK(t->text() == std::to_string(i));
                CHECK(b->numbers[1999] == i);
            }
        };
        world.spawn(send);
        world.run(recv);
    }
}

TEST_CASE("channel: over-aligned values are aligned in the buffer")
{
    for (const leat::channel<aligned>& ch :
         {leat::channel<aligned>{3}, leat::channel<aligned>{leat::unbounded}}) {
        for (int round = 0; round < 5; ++round) {
            for (int i = 0; i < 3; ++i)
                REQUIRE(ch.try_send(aligned{i}));
            for (int i = 0; i < 3; ++i) {
                const leat::result<aligned> got = ch.try_recv();
                CHECK(got->is_aligned());
                CHECK(got->value == i);
            }
        }
    }
    leat::channel<aligned> direct;
    std::thread source{[&] { direct.blocking_send(aligned{9}); }};
    CHECK(direct.blocking_recv().value().value == 9);
    source.join();
}

TEST_CASE("channel: an lvalue is copied once and moved once, an rvalue only moved")
{
    leat::sim::world world;
    for (const int capacity : {0, 1}) {
        CAPTURE(capacity);
        traced::count n;
        leat::channel<traced> ch{capacity};
        const traced original{n};
        auto send = [&](bool copy) -> leat::task<> {
            traced mine{original};
            n = {};
            if (copy)
                co_await ch.send(mine);
            else
                co_await ch.send(std::move(mine));
        };
        auto recv = [&]() -> leat::task<> {
            const std::optional<traced> got = co_await ch.recv();
            CHECK(got.has_value());
        };
        for (const bool copy : {true, false}) {
            CAPTURE(copy);
            world.spawn(std::bind_front(send, copy));
            world.settle();
            world.run(recv);
            CHECK(n.copies == (copy ? 1 : 0));
            // Into the buffer or the receiver; out of the buffer; into what recv() returns.
            CHECK(n.moves <= (capacity == 0 ? 2 : 3));
        }
    }
}

TEST_CASE("channel: shared values are held exactly as often as they should be")
{
    leat::sim::world world;
    const auto value = std::make_shared<int>(1);
    {
        leat::channel<std::shared_ptr<int>> ch{2};
        CHECK(ch.try_send(value));
        CHECK(ch.try_send(value));
        CHECK(ch.try_send(value).error() == leat::errc::channel_full);
        CHECK(value.use_count() == 3);
        auto late = [&]() -> leat::task<> { co_await ch.send(value); };
        auto task = world.spawn(late);
        world.settle();
        CHECK(value.use_count() == 4);
        task.cancel();
        world.settle();
        CHECK(value.use_count() == 3);
        CHECK(ch.try_recv().value() == value);
        CHECK(value.use_count() == 2);
    }
    CHECK(value.use_count() == 1);
}

TEST_CASE("channel: values whose move may throw are never lost half way")
{
    leat::sim::world world;
    for (const bool bounded : {true, false}) {
        leat::channel<throwing> ch =
            bounded ? leat::channel<throwing>{1} : leat::channel<throwing>{leat::unbounded};
        // The move out of the caller's hands throws: nothing has been sent.
        throwing stubborn{1};
        stubborn.armed = true;
        CHECK_THROWS_AS(static_cast<void>(ch.try_send(std::move(stubborn))), std::runtime_error);
        CHECK(ch.empty());
        CHECK(stubborn.value() == 1);
        CHECK(ch.try_send(std::move(stubborn)));
        CHECK(ch.try_recv().value().value() == 1);
    }
    leat::channel<throwing> ch;
    throwing refused{2};
    CHECK(ch.try_send(std::move(refused)).error() == leat::errc::channel_full);
    CHECK(refused.value() == 2);

    // Cancelled, and closed, while it waits.
    for (const bool close : {false, true}) {
        int left = 0;
        auto send = [&]() -> leat::task<> {
            throwing mine{3};
            const auto sent = co_await leat::as_result(ch.send(std::move(mine)));
            CHECK_FALSE(sent.has_value());
            left = mine.value();
        };
        auto task = world.spawn(send);
        world.settle();
        if (close)
            ch.close();
        else
            task.cancel();
        world.settle();
        CHECK(left == 3);
    }
}

// ---- Cancelling, and whose the value is --------------------------------------------------------

TEST_CASE("channel: a send that was cancelled, timed out or refused leaves the value with its owner")
{
    leat::sim::world world;
    leat::channel<parcel> ch;
    ending by_cancel;
    auto cancelled = world.spawn(send_parcel(ch, 1, by_cancel));
    world.settle();
    cancelled.cancel();
    world.settle();
    CHECK(by_cancel.error == leat::errc::cancelled);
    CHECK(by_cancel.left == 1);

    auto in_time = [&]() -> leat::task<> {
        parcel mine{2};
        const auto sent = co_await leat::as_result(leat::timeout(5ms, ch.send(std::move(mine))));
        CHECK(sent.error() == leat::errc::deadline_exceeded);
        CHECK(mine.full());
    };
    world.run(in_time);
    CHECK(world.now() == 5ms);

    // Cancelled before it begins, although somebody waits for the value.
    arrival waiting;
    auto reader = world.spawn(recv_parcel(ch, waiting));
    world.settle();
    ending before;
    auto never = world.spawn(send_parcel(ch, 3, before));
    never.cancel();
    world.settle();
    CHECK(before.error == leat::errc::cancelled);
    CHECK(before.left == 3);
    CHECK_FALSE(waiting.ended);
    CHECK(ch.try_send(parcel{4}));
    world.settle();
    CHECK(waiting.value == 4);
    CHECK(parcel::live() == 0);
}

TEST_CASE("channel: a receive that was cancelled has taken nothing")
{
    leat::sim::world world;
    leat::channel<parcel> ch{1};
    arrival parked;
    auto reader = world.spawn(recv_parcel(ch, parked));
    world.settle();
    reader.cancel();
    CHECK(ch.try_send(parcel{1}));
    world.settle();
    CHECK(parked.error == leat::errc::cancelled);
    CHECK(ch.size() == 1);

    // Ready, but cancelled first.
    arrival ready;
    auto late = world.spawn(recv_parcel(ch, ready));
    late.cancel();
    world.settle();
    CHECK(ready.error == leat::errc::cancelled);
    CHECK(ch.size() == 1);
}

TEST_CASE("channel: a value that was delivered counts, although the receiver is cancelled before it runs")
{
    leat::sim::world world;
    leat::channel<parcel> ch;
    arrival got;
    auto reader = world.spawn(recv_parcel(ch, got));
    world.settle();
    CHECK(ch.try_send(parcel{1}));
    reader.cancel();
    world.settle();
    CHECK(got.value == 1);

    ending sent;
    auto writer = world.spawn(send_parcel(ch, 2, sent));
    world.settle();
    CHECK(ch.try_recv().value().value() == 2);
    writer.cancel();
    world.settle();
    CHECK(!sent.error);
    CHECK(sent.left == -1);
}

TEST_CASE("channel: a busy loop over a channel that is always ready notices that it is cancelled")
{
    leat::sim::world world;
    leat::channel<int> ch{1};
    long laps = 0;
    auto busy = [&]() -> leat::task<> {
        for (;;) {
            co_await ch.send(1);
            static_cast<void>(co_await ch.recv());
            ++laps;
        }
    };
    auto task = world.spawn(busy);
    auto other = [&]() -> leat::task<> {
        // It gets its turn only because the loop yields now and then.
        while (laps < 1000)
            co_await leat::this_task::yield();
        task.cancel();
        const leat::result<> end = co_await leat::as_result(task);
        CHECK(end.error() == leat::errc::cancelled);
    };
    world.run(other);
    CHECK(laps < 100'000);
}

// ---- Every schedule of small cases -------------------------------------------------------------

TEST_CASE("channel: two senders and two receivers lose and double nothing, in every schedule")
{
    for (const int capacity : {0, 1}) {
        const auto done = leat::sim::explore({.schedules = 200'000}, [&](leat::sim::world& world) {
            leat::channel<parcel> ch{capacity};
            std::array<ending, 2> sent;
            std::array<arrival, 2> got;
            for (int i = 0; i < 2; ++i) {
                world.spawn(send_parcel(ch, i, sent[static_cast<std::size_t>(i)]));
                world.spawn(recv_parcel(ch, got[static_cast<std::size_t>(i)]));
            }
            world.settle();
            REQUIRE(got[0].value + got[1].value == 1);
            REQUIRE(got[0].value != got[1].value);
            REQUIRE(world.live_tasks() == 0);
        });
        CHECK(done.exhausted);
        CHECK(done.schedules > 10);
    }
}

TEST_CASE("channel: close against two senders and a receiver, in every schedule")
{
    for (const int capacity : {0, 1, 2}) {
        const auto done = leat::sim::explore({.schedules = 200'000}, [&](leat::sim::world& world) {
            leat::channel<parcel> ch{capacity};
            std::array<ending, 2> sent;
            arrival got;
            auto closes = [&]() -> leat::task<> {
                ch.close();
                co_return;
            };
            world.spawn(send_parcel(ch, 0, sent[0]));
            world.spawn(send_parcel(ch, 1, sent[1]));
            world.spawn(recv_parcel(ch, got));
            world.spawn(closes);
            world.settle();
            int arrived = got.value >= 0 ? 1 : 0;
            while (ch.try_recv())
                ++arrived;
            int accepted = 0;
            for (int i = 0; i < 2; ++i) {
                const ending& each = sent[static_cast<std::size_t>(i)];
                REQUIRE(each.ended);
                accepted += each.error ? 0 : 1;
                REQUIRE(each.left == (each.error ? i : -1));
            }
            REQUIRE(got.ended);
            REQUIRE(arrived == accepted);
            REQUIRE(world.live_tasks() == 0);
        });
        CHECK(done.exhausted);
    }
    CHECK(parcel::live() == 0);
}

TEST_CASE("channel: cancel against a sender and a receiver, in every schedule")
{
    const auto done = leat::sim::explore({.schedules = 200'000}, [&](leat::sim::world& world) {
        leat::channel<parcel> ch;
        ending sent;
        arrival got;
        auto writer = world.spawn(send_parcel(ch, 5, sent));
        auto reader = world.spawn(recv_parcel(ch, got));
        auto cancels = [&]() -> leat::task<> {
            co_await leat::this_task::yield();
            writer.cancel();
            co_await leat::this_task::yield();
            reader.cancel();
        };
        world.spawn(cancels);
        world.settle();
        REQUIRE(sent.ended);
        REQUIRE(got.ended);
        // Either both happened or neither.
        REQUIRE(!sent.error == !got.error);
        REQUIRE(sent.left == (sent.error ? 5 : -1));
        if (!got.error)
            REQUIRE(got.value == 5);
        REQUIRE(world.live_tasks() == 0);
    });
    CHECK(done.exhausted);
    CHECK(parcel::live() == 0);
}

// ---- Under load, on the pool -------------------------------------------------------------------

TEST_CASE("channel: a million values arrive in order")
{
    const int count = rounds(1'000'000);
    for (const int capacity : {0, 1, 100}) {
        leat::channel<int> ch{capacity};
        auto all = [&]() -> leat::task<bool> {
            leat::spawn(send_range_and_close(ch, 0, count));
            int expected = 0;
            bool in_order = true;
            while (auto v = co_await ch.recv())
                in_order = in_order && *v == expected++;
            co_return in_order&& expected == count;
        };
        CHECK(leat::run(all, {.workers = 2}));
    }
}

TEST_CASE("channel: many producers and consumers on a few workers receive each value once")
{
    const int each = rounds(20'000);
    constexpr int producers = 8;
    for (const std::ptrdiff_t workers : {1, 2, 4}) {
        leat::channel<int> ch{16};
        std::vector<std::vector<int>> got(6);
        auto all = [&]() -> leat::task<> {
            std::vector<leat::join_handle<>> sending;
            std::vector<leat::join_handle<std::vector<int>>> receiving;
            for (int p = 0; p < producers; ++p)
                sending.push_back(leat::spawn(send_range(ch, p * each, (p + 1) * each)));
            for (std::size_t c = 0; c < got.size(); ++c)
                receiving.push_back(leat::spawn(drain(ch)));
            for (auto& task : sending)
                co_await task;
            ch.close();
            for (std::size_t c = 0; c < got.size(); ++c)
                got[c] = co_await receiving[c];
        };
        leat::run(all, {.workers = workers});
        std::vector<int> together;
        bool in_order = true;
        for (const std::vector<int>& part : got) {
            std::array<int, producers> last;
            last.fill(-1);
            for (const int v : part) {
                int& before = last[static_cast<std::size_t>(v / each)];
                in_order = in_order && before < v;
                before = v;
            }
            together.insert(together.end(), part.begin(), part.end());
        }
        CHECK(in_order);
        std::ranges::sort(together);
        CHECK(together == up_to(producers * each));
    }
}

TEST_CASE("channel: a value that is in the buffer is received although the channel is closed that moment")
{
    // Go's TestNonblockRecvRace.
    leat::runtime pool{{.workers = 2}};
    auto body = [&]() -> leat::task<int> {
        int missed = 0;
        for (int i = 0; i < rounds(20'000); ++i) {
            leat::channel<int> ch{1};
            static_cast<void>(ch.try_send(1));
            auto take = [](leat::receiver<int> from) -> leat::task<bool> {
                co_return from.try_recv().has_value();
            };
            auto taking = leat::spawn(take(ch));
            ch.close();
            const bool got = co_await taking;
            missed += got ? 0 : 1;
        }
        co_return missed;
    };
    CHECK(pool.block_on(body) == 0);
}

TEST_CASE("channel: a prime sieve, a chain of channels that grows as it goes")
{
    auto generate = [](leat::sender<int> to) -> leat::task<> {
        for (int i = 2;; ++i)
            co_await to.send(i);
    };
    auto filter = [](leat::receiver<int> in, leat::sender<int> out, int prime) -> leat::task<> {
        while (auto v = co_await in.recv())
            if (*v % prime != 0)
                co_await out.send(*v);
    };
    auto sieve = [&]() -> leat::task<int> {
        leat::channel<int> in;
        leat::spawn(generate(in));
        int prime = 0;
        for (int i = 0; i < 100; ++i) {
            prime = (co_await in.recv()).value();
            leat::channel<int> out;
            leat::spawn(filter(in, out, prime));
            in = out;
        }
        co_return prime;
    };
    leat::sim::world world;
    CHECK(world.run(sieve) == 541);
    CHECK(leat::run(sieve, {.workers = 2}) == 541);
}

TEST_CASE("channel: one close wakes a great many waiters without growing the stack")
{
    constexpr int waiters = rounds(1'000'000);
    for (const bool sending : {false, true}) {
        leat::channel<int> ch;
        std::atomic<int> ended{0};
        auto wait = [&]() -> leat::task<> {
            if (sending) {
                const auto sent = co_await leat::as_result(ch.send(1));
                ended.fetch_add(sent ? 0 : 1, std::memory_order_relaxed);
            } else {
                const auto got = co_await ch.recv();
                ended.fetch_add(got ? 0 : 1, std::memory_order_relaxed);
            }
        };
        auto all = [&]() -> leat::task<> {
            co_await leat::with_group([&](leat::task_group& group) -> leat::task<> {
                for (int i = 0; i < waiters; ++i)
                    static_cast<void>(group.try_spawn(wait));
                co_await leat::this_task::yield();
                ch.close();
            });
        };
        leat::run(all, {.workers = 2});
        CHECK(ended.load() == waiters);
    }
}

TEST_CASE("channel: close and cancel race for a receiver that is about to park, and one of them gets it")
{
    leat::runtime pool{{.workers = 2}};
    const int races = rounds(20'000);
    std::array<int, 3> outcomes{};
    auto body = [&]() -> leat::task<> {
        for (int i = 0; i < races; ++i) {
            leat::channel<int> ch;
            auto [ctx, cancel] = leat::with_cancel(leat::background());
            std::atomic<bool> begun{false};
            auto wait = [&]() -> leat::task<std::size_t> {
                begun.store(true, std::memory_order_release);
                const auto got = co_await leat::as_result(ch.recv());
                co_return got ? std::size_t{1} : std::size_t{2};
            };
            auto waiting = leat::spawn(wait, {.context = ctx});
            while (!begun.load(std::memory_order_acquire))
                co_await leat::this_task::yield();
            if (i % 2 != 0) {
                cancel();
                ch.close();
            } else {
                ch.close();
                cancel();
            }
            ++outcomes[co_await waiting];
        }
    };
    pool.block_on(body);
    CHECK(outcomes[1] + outcomes[2] == races);
}

// What the lock orders the look without it has to order as well: of two threads that each make a channel ready and then
// look at the other's, at least one finds what the other has done.
TEST_CASE("channel: two that each make one ready and then look at the other's do not both find nothing")
{
    enum class way { send, receive, close };
    // Races for as long as this, on a busy machine fewer.
    constexpr auto span = 300ms;
    for (const way how : {way::send, way::receive, way::close}) {
        std::atomic<int> at_start{0};
        std::atomic<int> missed_by_both{0};
        std::atomic<bool> enough{false};
        std::array<bool, 2> found{};
        std::array<std::optional<leat::channel<int>>, 2> ch;
        const auto wait_for_other = [&](int round) {
            at_start.fetch_add(1);
            while (at_start.load() < 2 * round)
                std::this_thread::yield();
        };
        const auto side = [&](std::size_t mine) {
            int barrier = 0;
            const auto end = std::chrono::steady_clock::now() + span;
            while (!enough) {
                ch[mine].emplace(1);
                if (how == way::receive)
                    static_cast<void>(ch[mine]->try_send(1));
                wait_for_other(++barrier);
                const leat::channel<int>& own = *ch[mine];
                const leat::channel<int>& other = *ch[1 - mine];
                switch (how) {
                case way::send:
                    static_cast<void>(own.try_send(1));
                    found[mine] = other.try_recv().has_value();
                    break;
                case way::receive:
                    static_cast<void>(own.try_recv());
                    found[mine] = other.try_send(2).has_value();
                    break;
                case way::close:
                    own.close();
                    found[mine] = other.try_recv().error() == leat::errc::channel_closed;
                    break;
                }
                wait_for_other(++barrier);
                if (mine == 0 && !found[0] && !found[1])
                    missed_by_both.fetch_add(1);
                if (mine == 0 && std::chrono::steady_clock::now() >= end)
                    enough = true;
                wait_for_other(++barrier);
            }
        };
        std::thread first{side, 0};
        std::thread second{side, 1};
        first.join();
        second.join();
        CAPTURE(static_cast<int>(how));
        CHECK(missed_by_both.load() == 0);
    }
}
