#include "support/counted.hpp"
#include "support/rounds.hpp"

#include <leat/flow/broadcast.hpp>
#include <leat/leat.hpp>

#include <doctest/doctest.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace {

using namespace std::chrono_literals;
using leat::overflow_policy;

/// Everything that can be received without waiting.
std::vector<int> drain(const leat::broadcast_subscription<int>& from)
{
    std::vector<int> got;
    while (auto next = from.try_recv())
        got.push_back(*next);
    return got;
}

void check_adds_up(const leat::subscription_stats& stats)
{
    CHECK(stats.published == stats.delivered + stats.dropped + stats.queued + stats.pending);
}

std::vector<int> up_to(int last, int first = 1)
{
    std::vector<int> all;
    for (int i = first; i <= last; ++i)
        all.push_back(i);
    return all;
}

TEST_CASE("broadcast: everybody who is subscribed gets every value, in order, from then on")
{
    leat::broadcast<int> news;
    CHECK(news.try_send(0) == 0);
    auto first = news.subscribe();
    CHECK(news.try_send(1) == 1);
    auto second = news.subscribe();
    CHECK(news.subscribers() == 2);
    for (int i = 2; i <= 5; ++i)
        CHECK(news.try_send(i) == 2);
    CHECK(drain(first) == up_to(5));
    CHECK(drain(second) == up_to(5, 2));
    CHECK(first.stats().published == 5);
    CHECK(first.delivered() == 5);
    CHECK(second.published() == 4);
    CHECK(second.dropped() == 0);
}

TEST_CASE("broadcast: each overflow policy keeps what it says, and counts the rest")
{
    struct expectation {
        overflow_policy policy;
        std::size_t capacity;
        std::vector<int> kept;
        bool ended;
    };
    const expectation table[] = {
        {overflow_policy::block, 3, {1, 2, 3}, false},
        {overflow_policy::drop_oldest, 3, {3, 4, 5}, false},
        {overflow_policy::drop_newest, 3, {1, 2, 3}, false},
        {overflow_policy::latest, 3, {5}, false},
        {overflow_policy::disconnect, 3, {1, 2, 3}, true},
        {overflow_policy::block, 0, {}, false},
        {overflow_policy::drop_oldest, 0, {}, false},
        {overflow_policy::drop_newest, 0, {}, false},
        {overflow_policy::latest, 0, {5}, false},
        {overflow_policy::disconnect, 0, {}, true},
    };
    for (const expectation& each : table) {
        CAPTURE(static_cast<int>(each.policy));
        CAPTURE(each.capacity);
        leat::broadcast<int> news;
        auto reader = news.subscribe({.capacity = each.capacity, .overflow = each.policy});
        for (int i = 1; i <= 5; ++i)
            news.try_send(i);
        check_adds_up(reader.stats());
        CHECK(drain(reader) == each.kept);
        const leat::subscription_stats stats = reader.stats();
        check_adds_up(stats);
        CHECK(stats.delivered == each.kept.size());
        CHECK(stats.disconnected == each.ended);
        CHECK(reader.closed() == each.ended);
        CHECK(reader.try_recv().error() ==
              (each.ended ? leat::errc::channel_closed : leat::errc::channel_empty));
        // A subscription that has been ended is sent nothing more.
        CHECK(stats.published == (each.ended ? each.capacity + 1 : 5));
    }
}

TEST_CASE("broadcast: a sender waits for a slow subscriber, and a fast one has the value before")
{
    leat::sim::world world{7};
    std::vector<std::pair<int, leat::clock::duration>> fast_got, slow_got, sent;
    world.run([&]() -> leat::task<> {
        leat::broadcast<int> news;
        auto fast = news.subscribe({.capacity = 1});
        auto slow = news.subscribe({.capacity = 1});
        co_await leat::with_group([&](leat::task_group& group) -> leat::task<> {
            co_await group.spawn([&]() -> leat::task<> {
                while (auto got = co_await fast.recv())
                    fast_got.emplace_back(*got, world.now());
            });
            co_await group.spawn([&]() -> leat::task<> {
                while (auto got = co_await slow.recv()) {
                    slow_got.emplace_back(*got, world.now());
                    co_await leat::sleep_for(10s);
                }
            });
            co_await leat::sleep_for(1ms);
            for (int i = 1; i <= 4; ++i) {
                const std::size_t had = co_await news.send(i);
                CHECK(had == 2);
                sent.emplace_back(i, world.now());
            }
            news.close();
        });
        check_adds_up(slow.stats());
        CHECK(slow.delivered() == 4);
    });
    // 1 is had at once, 2 waits in the queue, 3 for room: until 10 s, when 2 is had.
    using list = std::vector<std::pair<int, leat::clock::duration>>;
    CHECK(fast_got == list{{1, 1ms}, {2, 1ms}, {3, 1ms}, {4, 10'001ms}});
    CHECK(slow_got == list{{1, 1ms}, {2, 10'001ms}, {3, 20'001ms}, {4, 30'001ms}});
    CHECK(sent == list{{1, 1ms}, {2, 1ms}, {3, 10'001ms}, {4, 20'001ms}});
    CHECK(world.live_tasks() == 0);
}

TEST_CASE("broadcast: who was full for a moment does not wait for those who are full for long")
{
    leat::sim::world world{8};
    leat::clock::duration had{};
    world.run([&]() -> leat::task<> {
        leat::broadcast<int> news;
        auto slow = news.subscribe({.capacity = 1});
        auto brief = news.subscribe({.capacity = 1});
        news.try_send(1);
        co_await leat::with_group([&](leat::task_group& group) -> leat::task<> {
            co_await group.spawn([&]() -> leat::task<> {
                const std::size_t to = co_await news.send(2);
                CHECK(to == 2);
                CHECK(world.now() == 10s);
            });
            co_await leat::sleep_for(1s);
            CHECK(brief.stats().pending == 1);
            auto one = co_await brief.recv();
            auto two = co_await brief.recv();
            CHECK(one == 1);
            CHECK(two == 2);
            had = world.now();
            co_await leat::sleep_for(9s);
            static_cast<void>(co_await slow.recv());
        });
    });
    CHECK(had == 1s);
}

TEST_CASE(
    "broadcast: a sender who gives up has given the value to those that had room, and the others count it")
{
    leat::sim::world world{9};
    world.run([&]() -> leat::task<> {
        leat::broadcast<int> news;
        auto open = news.subscribe({.capacity = 2});
        auto full = news.subscribe({.capacity = 1});
        news.try_send(1);
        auto late = co_await leat::as_result(leat::timeout(5s, news.send(2)));
        CHECK(late.error() == leat::errc::deadline_exceeded);
        CHECK(world.now() == 5s);
        CHECK(drain(open) == up_to(2));
        CHECK(drain(full) == up_to(1));
        CHECK(full.dropped() == 1);
        check_adds_up(full.stats());

        // Cancelled before: nobody gets it.
        auto [ended, cancel] = leat::with_cancel();
        cancel();
        auto never = co_await leat::as_result(leat::with_context(ended, news.send(3)));
        CHECK(never.error() == leat::errc::cancelled);
        CHECK(open.published() == 2);
    });
    CHECK(world.live_tasks() == 0);
}

TEST_CASE("broadcast: closing ends every subscription after its queue, and wakes senders with an error")
{
    leat::sim::world world{10};
    world.run([&]() -> leat::task<> {
        leat::broadcast<int> news;
        auto full = news.subscribe({.capacity = 2});
        auto idle = news.subscribe();
        static_cast<void>(news.try_send(1));
        static_cast<void>(news.try_send(2));
        CHECK(drain(idle) == up_to(2));
        co_await leat::with_group([&](leat::task_group& group) -> leat::task<> {
            co_await group.spawn([&]() -> leat::task<> {
                auto refused = co_await leat::as_result(news.send(3));
                CHECK(refused.error() == leat::errc::channel_closed);
            });
            co_await group.spawn([&]() -> leat::task<> {
                const auto third = co_await idle.recv();
                CHECK(third == 3);  // it had room
                const auto end = co_await idle.recv();
                CHECK(!end.has_value());
            });
            co_await leat::sleep_for(1s);
            news.close();
            news.close();
        });
        CHECK(news.closed());
        CHECK(drain(full) == up_to(2));
        CHECK(full.dropped() == 1);
        check_adds_up(full.stats());
        CHECK_THROWS_AS(news.try_send(4), leat::channel_closed_error);
        auto refused = co_await leat::as_result(news.send(4));
        CHECK(refused.error() == leat::errc::channel_closed);
        auto late = news.subscribe();
        const auto end = co_await late.recv();
        CHECK(!end.has_value());
        CHECK(news.subscribers() == 0);
    });
}

TEST_CASE("broadcast: it closes when its last handle goes")
{
    auto news = std::make_unique<leat::broadcast<int>>();
    auto copy = std::make_unique<leat::broadcast<int>>(*news);
    CHECK(*copy == *news);
    auto reader = news->subscribe();
    news->try_send(1);
    news.reset();
    CHECK(!reader.closed());
    copy.reset();
    CHECK(reader.closed());
    CHECK(drain(reader) == up_to(1));
}

TEST_CASE("broadcast: unsubscribing frees the sender who waits, and ends whoever receives")
{
    leat::sim::world world{11};
    world.run([&]() -> leat::task<> {
        leat::broadcast<int> news;
        auto stays = news.subscribe();
        co_await leat::with_group([&](leat::task_group& group) -> leat::task<> {
            auto full = news.subscribe({.capacity = 0});
            co_await group.spawn([&]() -> leat::task<> {
                const std::size_t had = co_await news.send(1);
                CHECK(had == 1);
                CHECK(world.now() == 3s);
            });
            co_await leat::sleep_for(3s);
            full = news.subscribe();
            co_await group.spawn([&]() -> leat::task<> {
                const auto end = co_await full.recv();
                CHECK(!end.has_value());
                CHECK(world.now() == 5s);
            });
            co_await leat::sleep_for(2s);
            full.unsubscribe();
            full.unsubscribe();
            CHECK(full.closed());
            CHECK(news.subscribers() == 1);
            co_await leat::this_task::yield();
        });
        CHECK(drain(stays) == up_to(1));
        auto moved = std::move(stays);
        CHECK(!stays);
        CHECK_THROWS_AS(static_cast<void>(stays.recv()), leat::usage_error);
        CHECK(moved.published() == 1);
    });
    CHECK(world.live_tasks() == 0);
}

TEST_CASE("broadcast: without a buffer a value is handed over, or dropped by the policy")
{
    leat::sim::world world{12};
    world.run([&]() -> leat::task<> {
        leat::broadcast<int> news;
        auto waits = news.subscribe({.capacity = 0});
        auto drops = news.subscribe({.capacity = 0, .overflow = overflow_policy::drop_newest});
        co_await leat::with_group([&](leat::task_group& group) -> leat::task<> {
            co_await group.spawn([&]() -> leat::task<> {
                const std::size_t had = co_await news.send(1);
                CHECK(had == 1);
                CHECK(world.now() == 1s);
            });
            co_await leat::sleep_for(1s);
            auto got = co_await waits.recv();
            CHECK(got == 1);
            co_await group.spawn([&]() -> leat::task<> {
                auto two = co_await drops.recv();
                CHECK(two == 2);
            });
            co_await group.spawn([&]() -> leat::task<> {
                auto two = co_await waits.recv();
                CHECK(two == 2);
            });
            co_await leat::sleep_for(1s);
            CHECK(news.try_send(2) == 2);
        });
        CHECK(drops.dropped() == 1);
        check_adds_up(drops.stats());
    });
}

TEST_CASE("broadcast: receiving is a case for select, and a cancelled receive has taken nothing")
{
    leat::sim::world world{13};
    world.run([&]() -> leat::task<> {
        leat::broadcast<std::string> news;
        auto reader = news.subscribe();
        const auto none = co_await leat::select(reader.recv(), leat::after(1s));
        CHECK(none.index == 1);
        news.try_send("hello");
        const auto some = co_await leat::select(reader.recv(), leat::after(1s));
        CHECK(some.index == 0);
        CHECK(std::get<0>(some.value) == "hello");
        auto late = co_await leat::as_result(leat::timeout(1s, reader.recv()));
        CHECK(late.error() == leat::errc::deadline_exceeded);
        CHECK(reader.delivered() == 1);
    });
}

TEST_CASE("broadcast: a value is stored once; each receiver gets a copy, and the last one the value itself")
{
    const test::no_more_than_before before;
    {
        leat::broadcast<test::counted> news;
        std::vector<leat::broadcast_subscription<test::counted>> readers;
        for (int i = 0; i < 10; ++i)
            readers.push_back(news.subscribe({.capacity = 8}));
        const int copies = test::counted::copies();
        news.try_send(test::counted{1});
        CHECK(before.excess() == 1);
        for (auto& each : readers)
            CHECK(each.try_recv().value().value == 1);
        CHECK(test::counted::copies() - copies == 9);
        CHECK(before.excess() == 0);

        for (int i = 0; i < 5; ++i)
            news.try_send(test::counted{i});
        CHECK(before.excess() == 5);
        readers.clear();
        CHECK(before.excess() == 0);  // though nothing has been sent since
        readers.push_back(news.subscribe({.capacity = 2, .overflow = overflow_policy::drop_oldest}));
        for (int i = 0; i < 5; ++i)
            news.try_send(test::counted{i});
        CHECK(before.excess() == 2);
    }
    CHECK(before.excess() == 0);
}

TEST_CASE("broadcast: threads of no runtime send and receive by blocking")
{
    leat::broadcast<int> news;
    auto reader = news.subscribe({.capacity = 1});
    std::vector<int> got;
    std::thread consumer{[&] {
        while (auto next = reader.blocking_recv())
            got.push_back(*next);
    }};
    for (int i = 1; i <= 100; ++i)
        CHECK(news.blocking_send(i) == 1);
    news.close();
    consumer.join();
    CHECK(got == up_to(100));
}

TEST_CASE("broadcast: a task that sends by blocking is refused before anybody has the value")
{
    leat::sim::world world{1};
    world.run([]() -> leat::task<> {
        const leat::broadcast<int> all;
        const auto sub = all.subscribe();
        CHECK_THROWS_AS(all.blocking_send(1), leat::usage_error);
        CHECK(sub.stats().published == 0);
        co_return;
    });
}

TEST_CASE("broadcast: a capacity that does not fit into memory is refused")
{
    leat::broadcast<int> news;
    CHECK_THROWS_AS(static_cast<void>(news.subscribe({.capacity = static_cast<std::size_t>(-1)})),
                    leat::usage_error);
    CHECK_THROWS_AS(static_cast<void>(news.subscribe({.capacity = static_cast<std::size_t>(-1) / 2})),
                    leat::usage_error);
    CHECK(news.subscribers() == 0);
}

/// A subscription as one would write it without a thought for speed.
class naive_subscription {
public:
    naive_subscription(std::size_t capacity, overflow_policy policy) : capacity_{capacity}, policy_{policy}
    {
    }
    void send(int value)
    {
        if (ended)
            return;
        ++published;
        if (policy_ == overflow_policy::latest) {
            dropped += queue.size();
            queue = {value};
        } else if (queue.size() < capacity_) {
            queue.push_back(value);
        } else {
            ++dropped;
            ended = policy_ == overflow_policy::disconnect;
            if (policy_ == overflow_policy::drop_oldest && capacity_ != 0) {
                queue.pop_front();
                queue.push_back(value);
            }
        }
    }
    std::deque<int> queue;
    std::uint64_t published = 0;
    std::uint64_t dropped = 0;
    bool ended = false;

private:
    std::size_t capacity_;
    overflow_policy policy_;
};

TEST_CASE("broadcast: random use agrees with the naive twin")
{
    const std::uint64_t seed = 20240607;
    CAPTURE(seed);
    std::mt19937_64 dice{seed};
    leat::broadcast<int> news;
    std::vector<std::pair<leat::broadcast_subscription<int>, naive_subscription>> readers;
    for (int step = 0; step < test::rounds(200'000); ++step) {
        const auto what = dice() % 16;
        if (what == 0 && readers.size() < 12) {
            const std::size_t capacity = dice() % 5;
            const auto policy = static_cast<overflow_policy>(dice() % 5);
            readers.emplace_back(news.subscribe({.capacity = capacity, .overflow = policy}),
                                 naive_subscription{capacity, policy});
        } else if (what == 1 && !readers.empty() && dice() % 4 == 0) {
            readers.erase(readers.begin() + static_cast<std::ptrdiff_t>(dice() % readers.size()));
        } else if (what < 9) {
            news.try_send(step);
            for (auto& each : readers)
                each.second.send(step);
        } else if (!readers.empty()) {
            auto& [reader, twin] = readers[dice() % readers.size()];
            const leat::result<int> got = reader.try_recv();
            REQUIRE(got.has_value() == !twin.queue.empty());
            if (got) {
                REQUIRE(*got == twin.queue.front());
                twin.queue.pop_front();
            } else {
                REQUIRE((got.error() == leat::errc::channel_closed) == twin.ended);
            }
            const leat::subscription_stats stats = reader.stats();
            REQUIRE(stats.published == twin.published);
            REQUIRE(stats.dropped == twin.dropped);
            REQUIRE(stats.queued == twin.queue.size());
        }
    }
}

TEST_CASE(
    "broadcast: senders, subscribers that come and go, and the end race; every subscription's sums are right")
{
    const int rounds = test::rounds(40);
    for (int round = 0; round < rounds; ++round) {
        CAPTURE(round);
        leat::runtime pool{{.workers = 4}};
        std::atomic<long> wrong_order{0};
        std::atomic<long> wrong_sum{0};
        std::atomic<long> received{0};
        pool.block_on([&]() -> leat::task<> {
            leat::broadcast<std::pair<int, int>> news;
            co_await leat::with_group([&](leat::task_group& group) -> leat::task<> {
                for (int sender = 0; sender < 3; ++sender)
                    co_await group.spawn([&, sender]() -> leat::task<> {
                        for (int i = 1; i <= 400; ++i) {
                            if (i % 50 == 0) {
                                // Gives up now and then, at once.
                                auto sending = leat::timeout(0s, news.send({sender, i}));
                                static_cast<void>(co_await leat::as_result(std::move(sending)));
                                continue;
                            }
                            const auto sent = co_await leat::as_result(news.send({sender, i}));
                            if (!sent)
                                break;
                        }
                        if (sender == 0)
                            news.close();
                    });
                for (int reader = 0; reader < 8; ++reader)
                    co_await group.spawn([&, reader]() -> leat::task<> {
                        for (int life = 0; life < 20; ++life) {
                            auto mine =
                                news.subscribe({.capacity = static_cast<std::size_t>(reader % 4),
                                                .overflow = static_cast<overflow_policy>(reader % 5)});
                            std::array<int, 3> last{};
                            bool ended = false;
                            for (int i = 0; i < 40 + 20 * reader; ++i) {
                                const auto got = co_await mine.recv();
                                if (!got) {
                                    ended = true;
                                    break;
                                }
                                received.fetch_add(1, std::memory_order_relaxed);
                                int& before = last[static_cast<std::size_t>(got->first)];
                                wrong_order += got->second <= before;
                                before = got->second;
                            }
                            mine.unsubscribe();
                            const leat::subscription_stats stats = mine.stats();
                            wrong_sum += stats.published != stats.delivered + stats.dropped ||
                                         stats.queued != 0 || stats.pending != 0;
                            if (ended && news.closed())
                                break;
                        }
                    });
            });
        });
        CHECK(wrong_order.load() == 0);
        CHECK(wrong_sum.load() == 0);
    }
}

TEST_CASE("broadcast: many messages for many, without losing one")
{
    leat::runtime pool{{.workers = 2}};
    const long messages = test::rounds(20'000);
    long sum = 0;
    pool.block_on([&]() -> leat::task<> {
        leat::broadcast<long> news;
        std::vector<leat::join_handle<long>> sums;
        co_await leat::with_group([&](leat::task_group& group) -> leat::task<> {
            for (int i = 0; i < 50; ++i) {
                auto reader =
                    std::make_shared<leat::broadcast_subscription<long>>(news.subscribe({.capacity = 16}));
                auto read = [reader]() -> leat::task<long> {
                    long mine = 0;
                    while (auto got = co_await reader->recv())
                        mine += *got;
                    co_return mine;
                };
                sums.push_back(co_await group.spawn(std::move(read)));
            }
            for (long i = 0; i < messages; ++i) {
                const std::size_t had = co_await news.send(i);
                REQUIRE(had == 50);
            }
            news.close();
            for (auto& each : sums)
                sum += co_await each;
        });
    });
    CHECK(sum == 50 * (messages * (messages - 1) / 2));
}

TEST_CASE("broadcast: the end of a runtime destroys those who wait, in either order")
{
    const test::no_more_than_before before;
    for (int i = 0; i < 20; ++i) {
        leat::broadcast<test::counted> news;
        auto full = news.subscribe({.capacity = 1});
        auto empty = news.subscribe();
        news.try_send(test::counted{1});
        static_cast<void>(empty.try_recv());
        leat::runtime pool{{.workers = 2}};
        pool.spawn([&]() -> leat::task<> { co_await news.send(test::counted{2}); }).detach();
        pool.spawn([&]() -> leat::task<> {
                for (;;)
                    static_cast<void>(co_await empty.recv());
            })
            .detach();
        if (i % 2 == 0)
            while (full.stats().pending == 0)
                std::this_thread::yield();
        pool.stop();
    }
    CHECK(before.excess() == 0);
}

}  // namespace
