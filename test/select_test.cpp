// Select: exactly one case happens, chosen fairly; the others have had no effect.
//
// Much of this is what Go's own select tests ask, put to leat.
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
#include <functional>
#include <memory>
#include <numeric>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

using namespace std::chrono_literals;
using test::parcel;
using test::rounds;

namespace {

/// Pearson's statistic against the uniform distribution.
double chi_square(const std::vector<long>& counts)
{
    long total = 0;
    for (const long n : counts)
        total += n;
    const double expected = static_cast<double>(total) / static_cast<double>(counts.size());
    double sum = 0;
    for (const long n : counts) {
        const double off = static_cast<double>(n) - expected;
        sum += off * off / expected;
    }
    return sum;
}

/// The value that a fair choice among n exceeds once in a million times, for n - 1 degrees of freedom.
double one_in_a_million(std::size_t n)
{
    switch (n) {
    case 2: return 23.93;
    case 3: return 27.63;
    default: return 40.52;  // for 8
    }
}

/// Sends unless it is cancelled first; whether it did.
leat::task<bool> sends_within(leat::sender<parcel> to, parcel& value)
{
    const leat::result<> sent = co_await leat::as_result(to.send(std::move(value)));
    co_return sent.has_value();
}

/// What a case may refer to although it is disabled: the value, or a place that nothing is moved from.
parcel& held_or_none(std::optional<parcel>& held, parcel& none)
{
    return held ? *held : none;
}

/// Lets every other ready task run many times over.
leat::task<> wait_a_while()
{
    for (int i = 0; i < 20; ++i)
        co_await leat::this_task::yield();
}

}  // namespace

// ---- The choice --------------------------------------------------------------------------------

TEST_CASE("select: the only ready case happens, and its handler gets the value")
{
    leat::sim::world world;
    leat::channel<int> a{1};
    leat::channel<std::string> b{1};
    auto body = [&]() -> leat::task<> {
        static_cast<void>(b.try_send("here"));
        std::string got;
        const std::size_t chosen =
            co_await leat::select(leat::on(a.recv(), [](std::optional<int>) { FAIL("not ready"); }),
                                  leat::on(b.recv(), [&](std::optional<std::string> s) { got = *s; }),
                                  leat::on(leat::after(1s), [] { FAIL("too late"); }));
        CHECK(chosen == 1);
        CHECK(got == "here");
        CHECK(b.empty());
    };
    world.run(body);
    CHECK(world.now() == 0s);
}

namespace {

constexpr int choices = 100'000;

/// How often each of `n` receives is chosen that are all ready.
leat::task<> choose_receives(std::vector<long>& counts)
{
    const std::size_t n = counts.size();
    std::vector<leat::channel<int>> ch;
    for (std::size_t i = 0; i < n; ++i) {
        ch.emplace_back(1);
        co_await ch[i].send(0);
    }
    for (int i = 0; i < choices; ++i) {
        std::size_t chosen = 0;
        if (n == 2)
            chosen = (co_await leat::select(ch[0].recv(), ch[1].recv())).index;
        else if (n == 3)
            chosen = (co_await leat::select(ch[0].recv(), ch[1].recv(), ch[2].recv())).index;
        else
            chosen = (co_await leat::select(ch[0].recv(), ch[1].recv(), ch[2].recv(), ch[3].recv(),
                                            ch[4].recv(), ch[5].recv(), ch[6].recv(), ch[7].recv()))
                         .index;
        ++counts[chosen];
        co_await ch[chosen].send(0);
    }
}

/// How often each of `n` sends is chosen that are all ready.
leat::task<> choose_sends(std::vector<long>& counts)
{
    const std::size_t n = counts.size();
    std::vector<leat::channel<int>> ch;
    for (std::size_t i = 0; i < n; ++i)
        ch.emplace_back(1);
    for (int i = 0; i < choices; ++i) {
        std::size_t chosen = 0;
        if (n == 2)
            chosen = (co_await leat::select(ch[0].send(0), ch[1].send(1))).index;
        else if (n == 3)
            chosen = (co_await leat::select(ch[0].send(0), ch[1].send(1), ch[2].send(2))).index;
        else
            chosen = (co_await leat::select(ch[0].send(0), ch[1].send(1), ch[2].send(2), ch[3].send(3),
                                            ch[4].send(4), ch[5].send(5), ch[6].send(6), ch[7].send(7)))
                         .index;
        ++counts[chosen];
        const leat::result<int> sent = ch[chosen].try_recv();
        if (!sent || static_cast<std::size_t>(*sent) != chosen)
            throw std::logic_error{"another value was sent"};
    }
}

}  // namespace

TEST_CASE(
    "select: receives, or sends, that are all ready are chosen equally often, in a world and on the pool")
{
    leat::runtime pool{{.workers = 1}};
    for (const std::size_t n : {2U, 3U, 8U})
        for (const bool sends : {false, true})
            for (const bool simulated : {true, false}) {
                CAPTURE(n);
                CAPTURE(sends);
                CAPTURE(simulated);
                std::vector<long> counts(n);
                leat::sim::world world{n};
                auto body = [&] { return sends ? choose_sends(counts) : choose_receives(counts); };
                if (simulated)
                    world.run(body);
                else
                    pool.block_on(body);
                CHECK(std::accumulate(counts.begin(), counts.end(), 0L) == choices);
                CHECK(chi_square(counts) < one_in_a_million(n));
            }
}

TEST_CASE("select: sends to one channel are chosen equally often, on the pool too")
{
    leat::runtime pool{{.workers = 1}};
    leat::sim::world world{7};
    for (const bool simulated : {true, false}) {
        std::vector<long> counts(8);
        auto body = [&]() -> leat::task<> {
            leat::channel<std::size_t> one{1};
            for (int i = 0; i < 100'000; ++i) {
                const auto done =
                    co_await leat::select(one.send(0U), one.send(1U), one.send(2U), one.send(3U),
                                          one.send(4U), one.send(5U), one.send(6U), one.send(7U));
                const std::size_t value = one.try_recv().value();
                if (value != done.index)
                    throw std::logic_error{"another value was sent"};
                ++counts[value];
            }
        };
        if (simulated)
            world.run(body);
        else
            pool.block_on(body);
        CAPTURE(simulated);
        CHECK(chi_square(counts) < one_in_a_million(8));
    }
}

TEST_CASE("select: no ready case waits for ever while others are ready too")
{
    // Go's TestSelectFairness: the channels are always ready, the timer once.
    leat::runtime pool{{.workers = 2}};
    auto feed = [](leat::sender<int> to, leat::context until) -> leat::task<> {
        for (bool more = true; more;)
            co_await leat::select(leat::on(to.send(1), [] {}), leat::on(until.done(), [&] { more = false; }));
    };
    auto body = [&]() -> leat::task<> {
        leat::channel<int> a;
        leat::channel<int> b;
        auto [ctx, cancel] = leat::with_cancel();
        auto first = leat::spawn(feed(a, ctx));
        auto second = leat::spawn(feed(b, ctx));
        std::array<int, 2> counts{};
        const int total = rounds(20'000);
        // A feeder whose thread does not run for a while has nothing ready: then it takes more rounds.
        for (int i = 0; i < total || (i < 200 * total && std::min(counts[0], counts[1]) <= total / 100);
             ++i) {
            const auto got = co_await leat::select(a.recv(), b.recv());
            ++counts[got.index];
        }
        cancel();
        co_await first;
        co_await second;
        CHECK(counts[0] > total / 100);
        CHECK(counts[1] > total / 100);
    };
    pool.block_on(body);
}

TEST_CASE("select_biased: the first of the ready cases happens, always")
{
    leat::sim::world world;
    leat::channel<int> a{1};
    leat::channel<int> b{1};
    leat::channel<int> c{1};
    auto body = [&]() -> leat::task<> {
        static_cast<void>(b.try_send(1));
        static_cast<void>(c.try_send(2));
        for (int i = 0; i < 1000; ++i) {
            const auto got = co_await leat::select_biased(a.recv(), b.recv(), c.recv());
            CHECK(got.index == 1);
            static_cast<void>(b.try_send(1));
        }
        static_cast<void>(co_await b.recv());
        const auto last = co_await leat::select_biased(a.recv(), b.recv(), c.recv());
        CHECK(last.index == 2);
        int handled = 0;
        const std::size_t none = co_await leat::select_biased(leat::on(a.recv(), [&] { handled = 1; }),
                                                              leat::otherwise([&] { handled = 2; }));
        CHECK(none == 1);
        CHECK(handled == 2);
    };
    world.run(body);
}

TEST_CASE("select: otherwise happens if, and only if, no case is ready")
{
    leat::sim::world world;
    leat::channel<int> a{1};
    auto body = [&]() -> leat::task<> {
        std::string log;
        for (const bool ready : {false, true, false, true}) {
            if (ready)
                static_cast<void>(a.try_send(1));
            co_await leat::select(leat::otherwise([&] { log += 'o'; }),
                                  leat::on(a.recv(), [&] { log += 'r'; }));
        }
        const auto first = co_await leat::select(a.recv(), leat::otherwise());
        CHECK(first.index == 1);
        const std::size_t alone = co_await leat::select(leat::otherwise([&] { log += 'x'; }));
        CHECK(alone == 0);
        CHECK(log == "ororx");
    };
    world.run(body);
    CHECK(world.now() == 0s);
}

TEST_CASE("select: a loop with otherwise lets others run")
{
    leat::sim::world world;
    auto body = [&]() -> leat::task<> {
        leat::channel<int> ch;
        auto other = [&]() -> leat::task<> { co_await ch.send(1); };
        leat::spawn(other);
        bool got = false;
        while (!got)
            co_await leat::select(leat::on(ch.recv(), [&] { got = true; }), leat::otherwise([] {}));
    };
    world.run(body);
}

TEST_CASE("select: a case whose condition does not hold takes no part")
{
    leat::sim::world world;
    leat::channel<int> a{1};
    leat::channel<parcel> b{1};
    auto body = [&]() -> leat::task<> {
        static_cast<void>(a.try_send(1));
        parcel mine{3};
        int handled = 0;
        for (int i = 0; i < 100; ++i) {
            const std::size_t chosen =
                co_await leat::select(leat::on_if(false, a.recv(), [&] { handled = 1; }),
                                      leat::on_if(false, b.send(std::move(mine)), [&] { handled = 2; }),
                                      leat::otherwise([&] { handled = 3; }));
            CHECK(chosen == 2);
        }
        CHECK(handled == 3);
        CHECK(mine.full());
        CHECK(a.size() == 1);
        const auto got = co_await leat::select(leat::on_if(true, a.recv()), leat::on_if(false, b.recv()));
        CHECK(got.index == 0);
        CHECK(std::get<0>(got.value) == 1);
    };
    world.run(body);
    CHECK(parcel::live() == 0);
}

// ---- Handlers and results ----------------------------------------------------------------------

TEST_CASE("select: without handlers it gives the index and a variant")
{
    leat::sim::world world;
    leat::channel<int> a{1};
    leat::channel<void> v{1};
    leat::channel<std::unique_ptr<int>> p{1};
    auto body = [&]() -> leat::task<> {
        static_cast<void>(p.try_send(std::make_unique<int>(4)));
        auto got = co_await leat::select(a.recv(), v.recv(), p.recv(), a.send(9), leat::after(1s));
        using type = decltype(got);
        static_assert(std::same_as<decltype(type::value),
                                   std::variant<std::optional<int>, bool, std::optional<std::unique_ptr<int>>,
                                                std::monostate, std::monostate>>);
        // The send was ready as well.
        if (got.index == 2)
            CHECK(**std::get<2>(got.value) == 4);
        else {
            CHECK(got.index == 3);
            CHECK(a.size() == 1);
        }
        CHECK(got.index == got.value.index());
    };
    world.run(body);
}

TEST_CASE("select: handlers take the value or not, are plain or coroutines, and are awaited")
{
    leat::sim::world world;
    leat::channel<int> ch{1};
    int sum = 0;
    auto body = [&]() -> leat::task<> {
        auto slow = [&](std::optional<int> v) -> leat::task<> {
            co_await leat::sleep_for(10ms);
            sum += v.value_or(0);
        };
        auto slower = [&]() -> leat::task<int> {
            co_await leat::sleep_for(20ms);
            sum += 100;
            co_return 5;
        };
        static_cast<void>(ch.try_send(1));
        std::size_t chosen =
            co_await leat::select(leat::on(ch.recv(), slow), leat::on(leat::after(1s), slower));
        CHECK(chosen == 0);
        CHECK(sum == 1);
        CHECK(world.now() == 10ms);
        chosen = co_await leat::select(leat::on(ch.recv(), slow), leat::on(leat::after(1s), slower));
        CHECK(chosen == 1);
        CHECK(sum == 101);
        CHECK(world.now() == 1030ms);
        static_cast<void>(ch.try_send(2));
        chosen = co_await leat::select(leat::on(ch.recv(), [&] { sum += 1000; }),
                                       leat::on(leat::after(1s), slower));
        CHECK(sum == 1101);
        static_cast<void>(ch.try_send(3));
        // One with a handler, the others without: their values are dropped.
        chosen = co_await leat::select(ch.recv(), leat::on(leat::after(1s), [] { FAIL("too late"); }));
        CHECK(chosen == 0);
        CHECK(ch.empty());
        // A coroutine in otherwise.
        chosen = co_await leat::select(ch.recv(), leat::otherwise(slower));
        CHECK(chosen == 1);
        CHECK(sum == 1201);
    };
    world.run(body);
    CHECK(world.live_tasks() == 0);
}

TEST_CASE("select: what a handler throws is thrown, and the case has happened")
{
    leat::sim::world world;
    leat::channel<int> ch{1};
    auto body = [&]() -> leat::task<> {
        auto coroutine = [](std::optional<int>) -> leat::task<> {
            co_await leat::this_task::yield();
            throw std::runtime_error{"later"};
        };
        int caught = 0;
        for (const bool plain : {true, false}) {
            static_cast<void>(ch.try_send(1));
            try {
                if (plain)
                    co_await leat::select(leat::on(ch.recv(), [] { throw std::runtime_error{"at once"}; }));
                else
                    co_await leat::select(leat::on(ch.recv(), coroutine));
            } catch (const std::runtime_error&) {
                ++caught;
            }
            CHECK(ch.empty());
        }
        CHECK(caught == 2);
    };
    world.run(body);
}

TEST_CASE("select: every operation that can wait is a case")
{
    leat::sim::world world;
    auto body = [&]() -> leat::task<> {
        leat::channel<int> ch;
        leat::channel<void> signals;
        leat::timer once{40ms};
        leat::ticker often{30ms};
        auto [ctx, cancel] = leat::with_timeout(50ms);
        auto work = []() -> leat::task<int> {
            co_await leat::sleep_for(20ms);
            co_return 8;
        };
        auto job = leat::spawn(work);
        auto sends = [&]() -> leat::task<> {
            co_await leat::sleep_for(10ms);
            co_await ch.send(7);
        };
        leat::spawn(sends);
        std::string log;
        bool over = false;
        bool joined = false;
        while (!over)
            co_await leat::select(
                leat::on(ch.recv(), [&](std::optional<int> v) { log += "recv" + std::to_string(*v) + ' '; }),
                leat::on(signals.recv(), [](bool) { FAIL("nobody sends"); }),
                leat::on_if(!joined, job.join(),
                            [&](int v) {
                                joined = true;
                                log += "join" + std::to_string(v) + ' ';
                            }),
                leat::on(often.tick(), [&](leat::clock::time_point) { log += "tick "; }),
                leat::on(once.wait(), [&] { log += "timer "; }),
                leat::on(leat::after(1h), [] { FAIL("too late"); }), leat::on(ctx.done(), [&] {
                    log += "done";
                    over = true;
                }));
        CHECK(log == "recv7 join8 tick timer done");
        CHECK(world.now() == 50ms);
    };
    world.run(body);
    CHECK(world.live_tasks() == 0);
}

TEST_CASE("select: a join handle stands for its join, and what the task threw is thrown")
{
    leat::sim::world world;
    auto body = [&]() -> leat::task<> {
        auto fails = []() -> leat::task<int> {
            co_await leat::sleep_for(1ms);
            throw std::runtime_error{"job"};
        };
        auto job = leat::spawn(fails);
        bool thrown = false;
        try {
            static_cast<void>(co_await leat::select(leat::on(job), leat::after(1s)));
        } catch (const std::runtime_error&) {
            thrown = true;
        }
        CHECK(thrown);

        // A join that lost has not taken the result.
        auto works = []() -> leat::task<int> {
            co_await leat::sleep_for(5ms);
            co_return 3;
        };
        auto later = leat::spawn(works);
        const auto first = co_await leat::select(later.join(), leat::after(1ms));
        CHECK(first.index == 1);
        const int got = co_await later;
        CHECK(got == 3);
    };
    world.run(body);
}

TEST_CASE("select: a place in a group is a case; the child starts only if that case happens")
{
    leat::sim::world world;
    int started = 0;
    auto body = [&]() -> leat::task<> {
        auto child = [&]() -> leat::task<> {
            ++started;
            co_await leat::sleep_for(10ms);
        };
        auto fill = [&](leat::task_group& group) -> leat::task<> {
            CHECK(group.try_spawn(child));
            const std::size_t full = co_await leat::select(
                leat::on(group.spawn(child), [] { FAIL("no place yet"); }), leat::on(leat::after(1ms)));
            CHECK(full == 1);
            const std::size_t free =
                co_await leat::select(leat::on(group.spawn(child), [] {}), leat::on(leat::after(1h)));
            CHECK(free == 0);
        };
        co_await leat::with_group({.limit = 1}, fill);
    };
    world.run(body);
    CHECK(started == 2);
    CHECK(world.now() == 20ms);
}

// ---- The same channel more than once -----------------------------------------------------------

TEST_CASE("select: the same channel may stand in several cases")
{
    // Go's TestSelectDuplicateChannel: removing the duplicates must not take anybody else's waiter away.
    leat::sim::world world;
    leat::channel<int> c;
    leat::channel<int> d;
    leat::channel<int> e;
    std::string log;
    auto first = [&]() -> leat::task<> {
        const auto got = co_await leat::select(c.recv(), c.recv(), d.recv());
        log += got.index == 2 ? "d" : "c";
        co_await e.send(9);
    };
    auto second = [&]() -> leat::task<> {
        const std::optional<int> got = co_await c.recv();
        log += std::to_string(*got);
    };
    world.spawn(first);
    world.settle();
    world.spawn(second);
    world.settle();
    CHECK(d.try_send(7));
    CHECK(e.try_recv().error() == leat::errc::channel_empty);
    world.settle();
    CHECK(e.try_recv().value() == 9);
    CHECK(c.try_send(8));
    world.settle();
    CHECK(log == "d8");
    CHECK(world.live_tasks() == 0);
}

TEST_CASE("select: sending and receiving on one unbuffered channel does not meet itself")
{
    leat::sim::world world;
    leat::channel<int> ch;
    int happened = 0;
    auto both = [&]() -> leat::task<> {
        const std::size_t chosen = co_await leat::select(
            leat::on(ch.send(1), [] {}), leat::on(ch.recv(), [] {}), leat::on(leat::after(1s), [] {}));
        CHECK(chosen == 2);
        const auto now = co_await leat::select(ch.send(1), ch.recv(), leat::otherwise());
        CHECK(now.index == 2);
        ++happened;
    };
    world.run(both);
    CHECK(happened == 1);
    CHECK(world.now() == 1s);
}

TEST_CASE("select: tasks that all send and receive on one channel pair off")
{
    // Go's TestSelfSelect, for capacity zero and more, in a world and on the pool.
    for (const int capacity : {0, 1, 3}) {
        std::atomic<long> sent{0};
        std::atomic<long> received{0};
        auto all = [&](int count) -> leat::task<> {
            leat::channel<int> ch{capacity};
            auto one = [&](int self) -> leat::task<> {
                for (int i = 0; i < count; ++i) {
                    int got = -1;
                    const std::size_t chosen =
                        co_await leat::select(leat::on(ch.send(int{self}), [] {}),
                                              leat::on(ch.recv(), [&](std::optional<int> v) { got = *v; }));
                    (chosen == 0 ? sent : received).fetch_add(1, std::memory_order_relaxed);
                    if (chosen == 1 && capacity == 0 && got == self)
                        throw std::logic_error{"met itself"};
                }
            };
            // An even number of operations in all, so that unbuffered they come out even unless one is left.
            std::vector<leat::join_handle<>> tasks;
            for (int i = 0; i < 4; ++i)
                tasks.push_back(leat::spawn(one, i));
            auto left = [&]() -> leat::task<> {
                for (auto& task : tasks)
                    co_await task;
                ch.close();
            };
            auto rest = leat::spawn(left);
            // Whoever is left over at the end finds somebody here.
            for (bool more = true; more;) {
                co_await leat::select(leat::on(ch.recv(),
                                               [&](std::optional<int> v) {
                                                   more = v.has_value();
                                                   if (v)
                                                       received.fetch_add(1, std::memory_order_relaxed);
                                               }),
                                      leat::on_if(false, leat::after(1s)));
            }
            co_await rest;
        };
        leat::sim::world world;
        world.run(std::bind_front(all, 100));
        CHECK(sent.load() == received.load());
        leat::run(std::bind_front(all, rounds(10'000)), {.workers = 2});
        CHECK(sent.load() == received.load());
    }
}

TEST_CASE("select: two selects that face each other on the same channels meet, in every schedule")
{
    for (const bool crossed : {false, true}) {
        const auto done = leat::sim::explore({.schedules = 300'000}, [&](leat::sim::world& world) {
            leat::channel<int> a;
            leat::channel<int> b;
            std::array<std::size_t, 2> chosen{9, 9};
            auto left = [&]() -> leat::task<> {
                chosen[0] = (co_await leat::select(a.send(1), b.recv())).index;
            };
            auto right = [&]() -> leat::task<> {
                if (crossed)
                    chosen[1] = 1 - (co_await leat::select(b.send(2), a.recv())).index;
                else
                    chosen[1] = (co_await leat::select(a.recv(), b.send(2))).index;
            };
            world.spawn(left);
            world.spawn(right);
            world.settle();
            REQUIRE(chosen[0] != 9);
            REQUIRE(chosen[0] == chosen[1]);
            REQUIRE(world.live_tasks() == 0);
        });
        CHECK(done.exhausted);
    }
}

TEST_CASE("select: two senders and two selects lose and double nothing, in every schedule")
{
    for (const int capacity : {0, 1}) {
        const auto done = leat::sim::explore({.schedules = 300'000}, [&](leat::sim::world& world) {
            leat::channel<parcel> a{capacity};
            leat::channel<parcel> b{capacity};
            std::array<int, 2> got{-1, -1};
            auto sends = [&](leat::sender<parcel> to, int value) -> leat::task<> {
                parcel mine{value};
                co_await to.send(std::move(mine));
                REQUIRE_FALSE(mine.full());
            };
            auto receives = [&](std::size_t me) -> leat::task<> {
                co_await leat::select(
                    leat::on(a.recv(), [&](std::optional<parcel> v) { got[me] = v->value(); }),
                    leat::on(b.recv(), [&](std::optional<parcel> v) { got[me] = v->value(); }));
            };
            world.spawn(std::bind_front(sends, leat::sender<parcel>{a}, 0));
            world.spawn(std::bind_front(sends, leat::sender<parcel>{b}, 1));
            world.spawn(std::bind_front(receives, 0U));
            world.spawn(std::bind_front(receives, 1U));
            world.settle();
            REQUIRE(got[0] + got[1] == 1);
            REQUIRE(got[0] * got[1] == 0);
            REQUIRE(world.live_tasks() == 0);
            REQUIRE(parcel::live() == 0);
        });
        CHECK(done.exhausted);
        CHECK(done.schedules > 100);
    }
}

TEST_CASE("select: close against selects on both sides, in every schedule")
{
    const auto done = leat::sim::explore({.schedules = 300'000}, [&](leat::sim::world& world) {
        leat::channel<parcel> ch;
        int received = -2;
        int closed = 0;
        bool sent = false;
        bool kept = false;
        auto receives = [&]() -> leat::task<> {
            auto got = co_await leat::select(ch.recv());
            received = std::get<0>(got.value) ? std::get<0>(got.value)->value() : -1;
        };
        auto sends = [&]() -> leat::task<> {
            parcel mine{4};
            try {
                static_cast<void>(co_await leat::select(ch.send(std::move(mine))));
                sent = true;
            } catch (const leat::channel_closed_error&) {
                ++closed;
            }
            kept = mine.full();
        };
        auto closes = [&]() -> leat::task<> {
            ch.close();
            co_return;
        };
        world.spawn(receives);
        world.spawn(sends);
        world.spawn(closes);
        world.settle();
        REQUIRE((received == 4) == sent);
        REQUIRE((received == -1) == !sent);
        REQUIRE(closed == (sent ? 0 : 1));
        REQUIRE(kept == !sent);
        REQUIRE(world.live_tasks() == 0);
    });
    CHECK(done.exhausted);
    CHECK(parcel::live() == 0);
}

TEST_CASE("select: cancel against a select and its peer, in every schedule")
{
    for (const bool with_done : {false, true}) {
        const auto done = leat::sim::explore({.schedules = 300'000}, [&](leat::sim::world& world) {
            leat::channel<parcel> a;
            leat::channel<parcel> b;
            int outcome = -1;  // 0: received, 1: done, 2: thrown
            bool kept = true;
            auto [ctx, cancel] = leat::with_cancel(leat::background());
            auto selects = [&, &own = ctx]() -> leat::task<> {
                parcel mine{2};
                try {
                    if (with_done)
                        outcome = static_cast<int>(
                            (co_await leat::select(a.recv(), own.done(), b.send(std::move(mine)))).index);
                    else
                        outcome = static_cast<int>(
                            (co_await leat::select(a.recv(), b.send(std::move(mine)))).index);
                } catch (const leat::cancelled_error&) {
                    outcome = 2;
                }
                kept = mine.full();
            };
            parcel theirs{1};
            bool sent = false;
            auto peer = [&]() -> leat::task<> { sent = co_await sends_within(a, theirs); };
            world.spawn(selects, {.context = ctx});
            auto sending = world.spawn(peer);
            auto cancels = [&, &stop = cancel]() -> leat::task<> {
                stop();
                co_return;
            };
            world.spawn(cancels);
            world.settle();
            REQUIRE(kept);
            REQUIRE(outcome == (sent ? 0 : with_done ? 1 : 2));
            REQUIRE(theirs.full() == !sent);
            sending.cancel();
            world.settle();
            REQUIRE(world.live_tasks() == 0);
        });
        CHECK(done.exhausted);
    }
    CHECK(parcel::live() == 0);
}

// ---- Losing ------------------------------------------------------------------------------------

TEST_CASE("select: cases that lose have had no effect")
{
    leat::sim::world world;
    leat::channel<parcel> out;
    leat::channel<parcel> in{1};
    leat::channel<int> other{1};
    auto body = [&]() -> leat::task<> {
        parcel mine{1};
        for (int i = 0; i < 200; ++i) {
            static_cast<void>(other.try_send(i));
            // Parked in half of the rounds.
            if (i % 2 == 0)
                static_cast<void>(other.try_recv());
            co_await leat::select(leat::on(out.send(std::move(mine)), [] { FAIL("nobody receives"); }),
                                  leat::on(in.recv(), [] { FAIL("nobody sends"); }),
                                  leat::on(other.recv(), [] {}), leat::on(leat::after(1ms), [] {}),
                                  leat::on(leat::after(1h), [] { FAIL("late"); }));
            CHECK(mine.full());
        }
        // No waiter is left behind that could take a value.
        CHECK(out.try_recv().error() == leat::errc::channel_empty);
        CHECK(in.try_send(parcel{2}));
        CHECK(in.size() == 1);
    };
    world.run(body);
    CHECK(world.now() == 100ms);
    // No timer is left behind either: nothing is to come.
    CHECK_FALSE(world.step());
    CHECK(world.now() == 100ms);
}

TEST_CASE("select: a tick and a firing that lost are still there to be taken")
{
    leat::sim::world world;
    auto body = [&]() -> leat::task<> {
        leat::timer once{1ms};
        leat::ticker often{2ms};
        leat::channel<int> ch{1};
        co_await leat::sleep_for(5ms);
        int happened = 0;
        bool timer = false;
        bool tick = false;
        static_cast<void>(ch.try_send(1));
        for (; happened < 3; ++happened)
            co_await leat::select(leat::on(once.wait(), [&] { timer = true; }),
                                  leat::on(often.tick(), [&] { tick = true; }), leat::on(ch.recv(), [] {}));
        CHECK(timer);
        CHECK(tick);
        CHECK(ch.empty());
        CHECK(world.now() == 5ms);
    };
    world.run(body);
}

TEST_CASE("select: after() counts from when the select begins")
{
    leat::sim::world world;
    auto body = [&]() -> leat::task<> {
        auto later = leat::select(leat::after(10ms));
        co_await leat::sleep_for(100ms);
        const auto got = co_await std::move(later);
        CHECK(got.index == 0);
        CHECK(world.now() == 110ms);
    };
    world.run(body);
}

// ---- Closed channels, ended contexts -----------------------------------------------------------

TEST_CASE("select: a send case on a closed channel throws when it is chosen, parked or not")
{
    leat::sim::world world;
    leat::channel<parcel> ch;
    auto body = [&]() -> leat::task<> {
        parcel mine{1};
        int thrown = 0;
        for (const bool parked : {true, false}) {
            if (parked) {
                auto closes = [&]() -> leat::task<> {
                    ch.close();
                    co_return;
                };
                leat::spawn(closes);
            }
            try {
                co_await leat::select(leat::on(ch.send(std::move(mine)), [] { FAIL("closed"); }),
                                      leat::on(leat::after(1s), [] { FAIL("late"); }));
            } catch (const leat::channel_closed_error&) {
                ++thrown;
            }
            CHECK(mine.full());
        }
        CHECK(thrown == 2);
        const auto got = co_await leat::select(ch.recv());
        CHECK_FALSE(std::get<0>(got.value).has_value());
    };
    world.run(body);
    CHECK(world.now() == 0s);
}

TEST_CASE("select: an empty one, or one with no case enabled, waits until it is cancelled")
{
    for (const int kind : {0, 1, 2}) {
        leat::sim::world world;
        leat::channel<int> ch{1};
        CHECK(ch.try_send(1));
        auto waits = [&]() -> leat::task<> {
            if (kind == 0)
                static_cast<void>(co_await leat::select());
            else if (kind == 1)
                static_cast<void>(co_await leat::select(leat::on_if(false, ch.recv())));
            else
                static_cast<void>(co_await leat::select_range(std::vector<leat::channel<int>>{}));
        };
        auto body = [&]() -> leat::task<> {
            const leat::result<> got = co_await leat::as_result(leat::timeout(3s, waits()));
            CHECK(got.error() == leat::errc::deadline_exceeded);
            auto task = leat::spawn(waits);
            co_await wait_a_while();
            CHECK_FALSE(task.done());
            task.cancel();
            const leat::result<> end = co_await leat::as_result(task);
            CHECK(end.error() == leat::errc::cancelled);
        };
        world.run(body);
        CHECK(world.now() == 3s);
        CHECK_THROWS_AS(world.run(waits), leat::deadlock_error);
    }
}

TEST_CASE("select: an empty one may be cancelled from another worker the moment it parks")
{
    leat::runtime pool{{.workers = 2}};
    auto body = [&]() -> leat::task<int> {
        int ended = 0;
        for (int i = 0; i < rounds(20'000); ++i) {
            std::atomic<bool> begun{false};
            auto waits = [&]() -> leat::task<> {
                begun.store(true, std::memory_order_release);
                static_cast<void>(co_await leat::select());
            };
            auto task = leat::spawn(waits);
            while (!begun.load(std::memory_order_acquire))
                co_await leat::this_task::yield();
            task.cancel();
            const leat::result<> end = co_await leat::as_result(task);
            ended += end.error() == leat::errc::cancelled ? 1 : 0;
        }
        co_return ended;
    };
    CHECK(pool.block_on(body) == rounds(20'000));
}

TEST_CASE("select: when its own context ends it throws, even if a case is ready")
{
    leat::sim::world world;
    leat::channel<int> ch{1};
    CHECK(ch.try_send(1));
    auto body = [&]() -> leat::task<> {
        auto [ctx, cancel] = leat::with_cancel();
        auto inner = [&]() -> leat::task<> {
            static_cast<void>(co_await leat::select(ch.recv(), leat::otherwise()));
        };
        cancel();
        const leat::result<> got = co_await leat::as_result(leat::with_context(ctx, inner()));
        CHECK(got.error() == leat::errc::cancelled);
        CHECK(ch.size() == 1);
    };
    world.run(body);
}

TEST_CASE(
    "select: a done() case is preferred to the throw when the own context ends, before or while it waits")
{
    leat::sim::world world;
    leat::channel<int> never;
    auto body = [&]() -> leat::task<> {
        auto inner = [&](int& dones) -> leat::task<> {
            const leat::context mine = leat::this_task::context();
            for (int i = 0; i < 3; ++i)
                co_await leat::select(leat::on(never.recv(), [] { FAIL("nobody sends"); }),
                                      leat::on(mine.done(), [&] { ++dones; }));
        };
        int dones = 0;
        co_await leat::timeout(5ms, inner(dones));
        CHECK(dones == 3);
        CHECK(world.now() == 5ms);

        dones = 0;
        auto task = leat::spawn(inner, std::ref(dones));
        co_await wait_a_while();
        task.cancel();
        co_await task;
        CHECK(dones == 3);

        // Somebody else's end is a case like any other.
        auto [other, cancel] = leat::with_cancel(leat::background());
        cancel();
        const auto got = co_await leat::select(never.recv(), other.done());
        CHECK(got.index == 1);
    };
    world.run(body);
}

TEST_CASE("select: a time limit ends it, and a case that is in time wins")
{
    leat::sim::world world;
    leat::channel<int> ch;
    auto body = [&]() -> leat::task<> {
        auto waits = [&]() -> leat::task<int> {
            auto got = co_await leat::select(ch.recv(), leat::after(1h));
            co_return *std::get<0>(got.value);
        };
        auto late = co_await leat::as_result(leat::timeout(10ms, waits()));
        CHECK(late.error() == leat::errc::deadline_exceeded);
        auto sends = [&]() -> leat::task<> {
            co_await leat::sleep_for(5ms);
            co_await ch.send(6);
        };
        leat::spawn(sends);
        const int got = co_await leat::timeout(10ms, waits());
        CHECK(got == 6);
        // A select as it is.
        bool thrown = false;
        try {
            static_cast<void>(co_await leat::timeout(10ms, leat::select(ch.recv(), ch.recv())));
        } catch (const leat::timed_out_error&) {
            thrown = true;
        }
        CHECK(thrown);
    };
    world.run(body);
    CHECK(world.now() == 25ms);
    CHECK_FALSE(world.step());
}

// ---- Ranges ------------------------------------------------------------------------------------

TEST_CASE("select_range: receives from one of many channels, which the index names")
{
    leat::sim::world world;
    for (const std::size_t n : {1U, 2U, 100U}) {
        std::vector<leat::channel<int>> channels;
        std::vector<leat::receiver<int>> receivers;
        for (std::size_t i = 0; i < n; ++i) {
            channels.emplace_back(1);
            receivers.emplace_back(channels.back());
        }
        auto body = [&]() -> leat::task<> {
            for (std::size_t i = 0; i < n; ++i) {
                static_cast<void>(channels[i].try_send(static_cast<int>(i)));
                const auto ready = co_await leat::select_range(channels);
                CHECK(ready.index == i);
                CHECK(ready.value == static_cast<int>(i));
                // Parked, through receivers.
                auto sends = [&]() -> leat::task<> {
                    co_await wait_a_while();
                    co_await channels[i].send(-1);
                };
                leat::spawn(sends);
                const auto parked = co_await leat::select_range(receivers);
                CHECK(parked.index == i);
                CHECK(parked.value == -1);
            }
            channels[n / 2].close();
            const auto closed = co_await leat::select_range(channels);
            CHECK(closed.index == n / 2);
            CHECK_FALSE(closed.value.has_value());
        };
        world.run(body);
    }
}

TEST_CASE("select_range: chooses fairly, takes duplicates, and move-only values")
{
    leat::sim::world world{3};
    std::vector<long> counts(3);
    auto body = [&]() -> leat::task<> {
        std::vector<leat::channel<parcel>> channels;
        for (int i = 0; i < 3; ++i) {
            channels.emplace_back(1);
            co_await channels.back().send(parcel{i});
        }
        for (int i = 0; i < 100'000; ++i) {
            auto got = co_await leat::select_range(channels);
            ++counts[got.index];
            co_await channels[got.index].send(std::move(*got.value));
        }
        leat::channel<int> same;
        std::vector<leat::channel<int>> twice(4, same);
        auto sends = [&]() -> leat::task<> { co_await same.send(5); };
        leat::spawn(sends);
        const auto got = co_await leat::select_range(twice);
        CHECK(got.value == 5);
        CHECK(same.try_send(1).error() == leat::errc::channel_full);
    };
    world.run(body);
    CHECK(chi_square(counts) < one_in_a_million(3));
    CHECK(parcel::live() == 0);
}

TEST_CASE("select_range: awaited again it has nothing left of the time before")
{
    leat::sim::world world;
    world.run([]() -> leat::task<> {
        std::vector<leat::channel<std::unique_ptr<int>>> channels;
        channels.emplace_back(1);
        co_await channels[0].send(std::make_unique<int>(7));
        channels[0].close();
        auto next = leat::select_range(channels);
        const auto first = co_await next;
        REQUIRE(first.value.has_value());
        CHECK(**first.value == 7);
        const auto second = co_await next;
        CHECK(second.index == 0);
        CHECK_FALSE(second.value.has_value());
    });
}

TEST_CASE("select_range: as_result gives what was received, and the end of the context, as values")
{
    leat::sim::world world;
    world.run([]() -> leat::task<> {
        const std::vector<leat::channel<int>> channels(2, leat::channel<int>{1});
        co_await channels[1].send(7);
        const auto got = co_await leat::as_result(leat::select_range(channels));
        REQUIRE(got.has_value());
        CHECK(got->value == 7);
        auto waits = [&]() -> leat::task<std::error_code> {
            const auto none = co_await leat::as_result(leat::select_range(channels));
            co_return none.error();
        };
        auto waiter = leat::spawn(waits());
        co_await leat::this_task::yield();
        waiter.cancel();
        const std::error_code told = co_await waiter;
        CHECK(told == leat::errc::cancelled);
        const auto [late, cancel] = leat::with_timeout(leat::this_task::context(), -1s);
        const std::error_code at_once = co_await leat::with_context(late, waits());
        CHECK(at_once == leat::errc::deadline_exceeded);
    });
}

// ---- Under load, on the pool -------------------------------------------------------------------

TEST_CASE("select: thousands race around a ring of channels, and every token survives")
{
    // Each node selects between passing its token on and taking one from behind, so that every park has two
    // channels, which its neighbours lock in other orders.
    for (const std::ptrdiff_t workers : {1, 2, 4}) {
        constexpr int nodes = 2000;
        const int steps = std::max(rounds(200), 5);
        std::atomic<long> sum{0};
        std::atomic<long> moves{0};
        auto all = [&]() -> leat::task<> {
            std::vector<leat::channel<parcel>> ring(nodes);
            auto node = [&](std::size_t me) -> leat::task<> {
                const leat::channel<parcel>& in = ring[me];
                const leat::channel<parcel>& out = ring[(me + 1) % nodes];
                std::optional<parcel> held;
                parcel none{0};
                if (me % 2 == 0)
                    held.emplace(static_cast<int>(me));
                for (int i = 0; i < steps; ++i)
                    co_await leat::select(
                        leat::on_if(!held, in.recv(),
                                    [&](std::optional<parcel> v) {
                                        held.emplace(std::move(*v));
                                        moves.fetch_add(1, std::memory_order_relaxed);
                                    }),
                        leat::on_if(held.has_value(), out.send(std::move(held_or_none(held, none))),
                                    [&] { held.reset(); }),
                        leat::otherwise([]() -> leat::task<> { co_await leat::this_task::yield(); }));
                if (held)
                    sum.fetch_add(held->value(), std::memory_order_relaxed);
            };
            std::vector<leat::join_handle<>> tasks;
            for (std::size_t i = 0; i < nodes; ++i)
                tasks.push_back(leat::spawn(node, i));
            for (auto& task : tasks)
                co_await task;
        };
        leat::run(all, {.workers = workers});
        CHECK(sum.load() == static_cast<long>(nodes / 2) * (nodes / 2 - 1));
        CHECK(parcel::live() == 0);
    }
}

TEST_CASE("select: parks that lock two channels in opposite orders do not block each other")
{
    leat::runtime pool{{.workers = 4}};
    auto body = [&]() -> leat::task<> {
        constexpr std::size_t size = 16;
        std::vector<leat::channel<int>> ring(size);
        auto [ctx, cancel] = leat::with_cancel();
        std::atomic<long> sent{0};
        std::atomic<long> received{0};
        auto node = [&, until = ctx](std::size_t me) -> leat::task<> {
            const leat::channel<int>& left = ring[me % size];
            const leat::channel<int>& right = ring[(me * 7 + 1) % size];
            for (bool more = true; more;)
                co_await leat::select(leat::on(left.recv(), [&] { received.fetch_add(1); }),
                                      leat::on(right.send(1), [&] { sent.fetch_add(1); }),
                                      leat::on(right.recv(), [&] { received.fetch_add(1); }),
                                      leat::on(left.send(2), [&] { sent.fetch_add(1); }),
                                      leat::on(until.done(), [&] { more = false; }));
        };
        std::vector<leat::join_handle<>> tasks;
        for (std::size_t i = 0; i < 200; ++i)
            tasks.push_back(leat::spawn(node, i));
        while (sent.load() < rounds(200'000))
            co_await leat::this_task::yield();
        cancel();
        for (auto& task : tasks)
            co_await task;
        CHECK(sent.load() == received.load());
    };
    pool.block_on(body);
}

TEST_CASE("select: a timer that another worker sets and stops while a select waits for it blocks nobody")
{
    // The select locks the timer and the wheel in which it is set, in the order of their addresses; stopping the
    // timer locks the one inside the other.
    leat::runtime pool{{.workers = 2}};
    auto body = [&]() -> leat::task<> {
        constexpr int races = 1'000;
        std::atomic<leat::timer*> armed{nullptr};
        std::atomic<bool> stopped{false};
        auto waits = [&]() -> leat::task<> {
            for (int i = 0; i < races; ++i) {
                leat::timer alarm{1h};
                stopped.store(false);
                armed.store(&alarm);
                co_await leat::select(leat::on(alarm.wait(), [] { FAIL("it was stopped"); }),
                                      leat::on(leat::after(1us), [] {}), leat::on(leat::after(1h), [] {}));
                while (!stopped.load())
                    co_await leat::this_task::yield();
            }
        };
        auto waiting = leat::spawn(waits);
        for (int i = 0; i < races; ++i) {
            leat::timer* alarm = nullptr;
            while ((alarm = armed.exchange(nullptr)) == nullptr)
                co_await leat::this_task::yield();
            alarm->stop();
            stopped.store(true);
        }
        co_await waiting;
    };
    pool.block_on(body);
}

namespace {

leat::task<std::vector<std::error_code>> select_as_result()
{
    std::vector<std::error_code> errors;
    leat::channel<int> silent;
    auto throwing = co_await leat::as_result(
        leat::select(leat::on(silent.recv(), [](std::optional<int>) {}), leat::on(leat::after(1s), [] {
                         throw std::system_error{std::make_error_code(std::errc::io_error)};
                     })));
    errors.push_back(throwing.error());
    auto plain = co_await leat::as_result(leat::select(silent.recv(), leat::after(1s)));
    errors.push_back(plain.error());
    CHECK(plain->index == 1);
    const leat::cancellable_context ended = leat::with_cancel();
    ended.second();
    auto stopped = [](leat::channel<int> from) -> leat::task<std::error_code> {
        auto got = co_await leat::as_result(leat::select(from.recv(), leat::after(1s)));
        co_return got.error();
    };
    errors.push_back(co_await leat::with_context(ended.first, stopped(silent)));
    co_return errors;
}

}  // namespace

TEST_CASE("select: as_result gives what a handler threw, and the end of the context, as values")
{
    leat::sim::world world;
    const std::vector<std::error_code> errors = world.run(select_as_result());
    REQUIRE(errors.size() == 3);
    CHECK(errors[0] == std::errc::io_error);
    CHECK(!errors[1]);
    CHECK(errors[2] == leat::errc::cancelled);
    CHECK(world.live_tasks() == 0);
}
